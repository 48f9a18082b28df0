"""A report as rows: for the terminal, and as CSV with every raw sample."""

import csv
import io

from dreamlite_mobile.device.report import BenchReport, Case

COLUMNS = (
    "phone", "soc", "bundle", "bundle_sha256", "backend", "precision", "width", "height", "mode", "round", "kind",
    "index", "total_ms", "stage", "stage_ms", "thermal_status",
)  # fmt: skip
"""Of the CSV: one line for each stage of each sample, `stage` "load", "total", a component, or "host work"."""


def stage_rows(case: Case) -> list[list[str]]:
    """Where the time of a warm run went."""
    return [[stage.name, f"{stage.ms:.1f}", f"{stage.share:.0%}"] for stage in case.stages]


def summary_row(case: Case) -> list[str]:
    """One case as a line."""
    found = case.correctness
    if found is None:
        picture = "not compared"
    else:
        picture = "exact" if found.exact else f"{found.psnr_db or 0:.1f} dB"
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
        picture,
        ", ".join(flag.kind for flag in case.flags) or "none",
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
    bundles = {bundle.name: bundle for bundle in report.bundles}
    for component in report.components:
        bundle = bundles[component.bundle]
        head = [
            report.phone.model,
            report.phone.soc or "",
            bundle.name,
            bundle.sha256,
            bundle.backend,
            bundle.precision,
        ]
        name = f"{component.component}.{component.method}"
        for index, taken in enumerate(component.samples_ms):
            writer.writerow([*head, bundle.width, bundle.height, "", 1, "timed", index, taken, name, taken, ""])
    return stream.getvalue()


def case_lines(report: BenchReport, case: Case) -> list[list[object]]:
    """One case's lines of the CSV."""
    bundle = next(bundle for bundle in report.bundles if bundle.name == case.bundle)
    phone = report.phone
    head: list[object] = [
        phone.model, phone.soc or "", bundle.name, bundle.sha256, bundle.backend, bundle.precision, bundle.width,
        bundle.height, case.mode,
    ]  # fmt: skip
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
