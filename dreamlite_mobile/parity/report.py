"""Parity rows as a table for the terminal and as data for `--json`."""

import math
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from dreamlite_mobile.parity.rows import Row
from dreamlite_mobile.parity.thresholds import complaint, measured_and_floor

EXACT = "exact"
_ROUNDING = 1e-15
"""Of a cosine in float64."""


def decibels(value: float) -> str:
    """`104.2`; equal results are called exact."""
    return EXACT if value == math.inf else f"{value:.1f}"


def tiny_number(value: float) -> str:
    """`4.5e-07`; zero is written 0."""
    return "0" if value == 0 else f"{value:.1e}"


def one_minus_cosine(row: Row) -> str:
    """The cosine as its distance from 1, which is what differs between good results."""
    distance = 1.0 - row.metrics.cosine
    return tiny_number(distance if distance > _ROUNDING else 0.0)


def parity_table(rows: Sequence[Row]) -> Table:
    """A rich table with one line per row; lines below their floor are red and say so."""
    table = Table(title="Parity")
    for heading in ("component", "method", "output", "precision", "pair", "input"):
        table.add_column(heading, no_wrap=True)
    for heading in ("SNR dB", "PSNR dB", "floor", "rel. RMS", "1 - cosine", "max error", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in rows:
        failed = complaint(row) is not None
        psnr = row.metrics.psnr_db
        table.add_row(
            row.component,
            row.method,
            row.output,
            row.precision,
            row.pair,
            row.origin,
            decibels(row.metrics.snr_db),
            "" if psnr is None else decibels(psnr),
            f"{measured_and_floor(row)[2]:g}",
            tiny_number(row.metrics.relative_rms),
            one_minus_cosine(row),
            tiny_number(row.metrics.max_error),
            f"{row.seconds:.3f}",
            "FAIL" if failed else "ok",
            style="red" if failed else None,
        )
    return table


def parity_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Plain data with finite numbers only: null stands for an infinite metric, `exact` says whether it is equality."""
    return [_row_json(row) for row in rows]


def _row_json(row: Row) -> dict[str, Any]:
    metrics = row.metrics
    metric, measured, least = measured_and_floor(row)
    problem = complaint(row)
    return {
        "component": row.component,
        "method": row.method,
        "output": row.output,
        "precision": row.precision,
        "pair": row.pair,
        "snr_db": _finite(metrics.snr_db),
        "psnr_db": None if metrics.psnr_db is None else _finite(metrics.psnr_db),
        "relative_rms": _finite(metrics.relative_rms),
        "cosine": metrics.cosine,
        "max_error": _finite(metrics.max_error),
        "worst": list(metrics.worst),
        "defects": list(metrics.defects),
        "exact": measured == math.inf,
        "metric": metric,
        "floor_db": least,
        "passed": problem is None,
        "problem": problem,
        "origin": row.origin,
        "input_digest": row.input_digest,
        "seconds": row.seconds,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
