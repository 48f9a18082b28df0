"""Parity rows as a table for the terminal and as data for `--json`."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from dreamlite_mobile.parity.bisect import Bisection, Found
from dreamlite_mobile.parity.metrics import Metrics
from dreamlite_mobile.parity.numbers import Layer
from dreamlite_mobile.parity.repro import Description
from dreamlite_mobile.parity.rows import Row
from dreamlite_mobile.parity.schema import EXACT, VERSION, level
from dreamlite_mobile.parity.scored import GroupScores, Scored
from dreamlite_mobile.parity.thresholds import complaint, measured_and_floor
from dreamlite_mobile.parity.versions import versions

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


def layer_json(layer: Layer) -> dict[str, Any]:
    """The numbers of one layer."""
    counts, clipped = layer.counts, layer.clipped
    return {
        "component": layer.component,
        "method": layer.method,
        "layer": layer.name,
        "kind": layer.kind,
        "values": counts.values,
        "peak": _finite(counts.peak),
        "overflow": counts.overflow,
        "denormal": counts.denormal,
        "flushed": counts.flushed,
        "weights": clipped and clipped.weights,
        "weights_at_end": clipped and clipped.at_end,
        "scales": clipped and clipped.scales,
        "span": None if layer.span is None else list(layer.span),
        "beyond_span": None if layer.span is None else counts.beyond,
    }


def scores_json(found: Scored | None) -> list[dict[str, Any]]:
    """Every group of prompts, before and after."""
    return [] if found is None else [_group_json(group) for group in found.groups()]


def _group_json(group: GroupScores) -> dict[str, Any]:
    return {
        "group": group.group,
        "pictures": group.pictures,
        "before": asdict(group.before),
        "after": asdict(group.after),
        "lost": group.lost,
        "gained": group.gained,
    }


def bisect_json(found: Bisection, bundle: str, repro: str | None = None) -> dict[str, Any]:
    """Every block, and which of them matter."""
    return {
        "version": VERSION,
        "bundle": bundle,
        "backend": found.backend,
        "component": found.component,
        "method": found.method,
        "precision": found.precision,
        "origin": found.origin,
        "input_digest": found.input_digest,
        "floor_db": found.floor_db,
        "source": found.source,
        "whole_db": _snr(found.whole),
        "whole_defects": list(found.whole.defects),
        "blocks": [_block_json(block) for block in found.blocks],
        "first": found.first and found.first.name,
        "worst": found.worst and found.worst.name,
        "culprit": found.culprit and found.culprit.name,
        "elsewhere": list(found.elsewhere),
        "notes": list(found.notes),
        "repro": repro,
        "tools": versions(),
    }


def _block_json(block: Found) -> dict[str, Any]:
    return {
        "block": block.name,
        "kind": block.kind,
        "alone_db": _snr(block.alone),
        "shipped_db": _snr(block.shipped),
        "cumulative_db": _snr(block.cumulative),
        "defects": defects(block),
        "differences": list(block.differences),
        "problem": block.problem,
        "seconds": block.seconds,
    }


def defects(block: Found) -> list[str]:
    """What disqualifies a block's results, and which of them."""
    measured = (("alone", block.alone), ("shipped", block.shipped), ("cumulative", block.cumulative))
    return [f"{where}: {text}" for where, metrics in measured if metrics is not None for text in metrics.defects]


def repro_json(said: Description, metrics: Metrics, again: bool) -> dict[str, Any]:
    """What repeating one block gave, beside what was saved of it."""
    return {
        "block": said.block,
        "snr_db": _snr(metrics),
        "defects": list(metrics.defects),
        "saved_snr_db": said.snr_db,
        "floor_db": said.floor_db,
        "again": again,
    }


def _snr(metrics: Metrics | None) -> float | str | None:
    return None if metrics is None else level(metrics.snr_db)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
