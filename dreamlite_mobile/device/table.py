"""A report as rows: for the terminal, and as CSV with every raw sample."""

import csv
import io
from collections.abc import Iterator

from dreamlite_mobile.device.report import BenchReport, Case, ComponentCase, Correctness, Flag

COLUMNS = (
    "phone", "soc", "bundle", "bundle_sha256", "backend", "precision", "width", "height", "mode", "round", "kind",
    "index", "total_ms", "stage", "stage_ms", "thermal_status",
)  # fmt: skip
"""Of the CSV: one line for each stage of each sample, `stage` "load", "total", a component, or "host work"."""


def stage_rows(case: Case) -> list[list[str]]:
    """Where the time of a warm run went."""
    return [[stage.name, f"{stage.ms:.1f}", f"{stage.share:.0%}"] for stage in case.stages]


def psnr_text(verdict: Correctness) -> str:
    """How far a picture is."""
    return "exact" if verdict.exact else f"{verdict.psnr_db or 0:.1f} dB"


def flag_kinds(case: Case | ComponentCase) -> str:
    """In one cell."""
    return ", ".join(flag.kind for flag in case.flags) or "none"


def flags_by_name(report: BenchReport) -> Iterator[tuple[str, tuple[Flag, ...]]]:
    """Of every case and component, under what it is called."""
    for case in report.cases:
        yield f"{case.bundle}, {case.mode}", case.flags
    for part in report.components:
        yield f"{part.bundle}, {part.component}.{part.method}", part.flags


def summary_row(case: Case) -> list[str]:
    """One case as a line."""
    warm = case.warm
    return [
        case.bundle,
        case.mode,
        f"{warm.median:.1f}",
        f"{warm.p90:.1f}",
        f"{warm.minimum:.1f}",
        f"{warm.variation:.1%}",
        str(warm.runs),
        f"{case.cold.median:.1f}",
        "not compared" if case.correctness is None else psnr_text(case.correctness),
        flag_kinds(case),
    ]


SUMMARY_COLUMNS = (
    "bundle", "mode", "median ms", "p90", "min", "CV", "runs", "cold start ms", "picture against host", "flags",
)  # fmt: skip


def csv_text(report: BenchReport) -> str:
    """Every sample, stage by stage."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for case in report.cases:
        writer.writerows(case_lines(report, case))
    for component in report.components:
        writer.writerows(component_lines(report, component))
    return stream.getvalue()


def case_lines(report: BenchReport, case: Case) -> list[list[object]]:
    """One case's lines of the CSV."""
    head = head_of(report, case.bundle, case.mode)
    lines: list[list[object]] = []
    for number, one in enumerate(case.rounds, 1):
        lines += [
            [*head, number, "load", 0, load.ms, f"{load.component}.{load.method}", load.ms, ""]
            for load in one.result.load
        ]
        for index, sample in enumerate(one.result.samples):
            parts = {"total": sample.total_ms, **sample.stages, "host work": sample.host_ms}
            heat = sample.conditions.thermal_status
            rest = [number, sample.kind, index, sample.total_ms]
            lines += [[*head, *rest, name, ms, "" if heat is None else heat] for name, ms in parts.items()]
    return lines


def component_lines(report: BenchReport, part: ComponentCase) -> list[list[object]]:
    """One component's lines of the CSV: first runs and samples of each round."""
    head, name = head_of(report, part.bundle, ""), f"{part.component}.{part.method}"
    lines: list[list[object]] = []
    for number, one in enumerate(part.rounds, 1):
        heat = one.after.conditions.thermal_status
        for index, taken in enumerate((one.first_ms, *one.samples_ms)):
            kind = "timed" if index else "first"
            lines.append([*head, number, kind, index, taken, name, taken, "" if heat is None else heat])
    if not part.rounds:
        lines += [[*head, 1, "timed", index, taken, name, taken, ""] for index, taken in enumerate(part.samples_ms)]
    return lines


def head_of(report: BenchReport, name: str, mode: str) -> list[object]:
    """What every line of a bundle begins with."""
    bundle = next(bundle for bundle in report.bundles if bundle.name == name)
    phone = report.phone
    return [
        phone.model, phone.soc or "", bundle.name, bundle.sha256, bundle.backend, bundle.precision, bundle.width,
        bundle.height, mode,
    ]  # fmt: skip
