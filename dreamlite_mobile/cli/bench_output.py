"""What `dreamlite bench` leaves behind: the report put together, written, printed."""

import datetime as dt
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamlite_mobile.cli.shared import notice, print_json, table

if TYPE_CHECKING:
    from dreamlite_mobile.bundle import Bundle
    from dreamlite_mobile.device.bench import Drawn
    from dreamlite_mobile.device.comparison import Compared
    from dreamlite_mobile.device.facts import PhoneFacts
    from dreamlite_mobile.device.link import Link
    from dreamlite_mobile.device.report import BenchReport, BundleIdentity, Method


def report_of(
    link: "Link", phone: "PhoneFacts", bundles: "dict[str, Bundle]", method: "Method", parts: dict[str, Any]
) -> "BenchReport":
    """Everything together."""
    from dreamlite_mobile.device.report import BenchReport
    from dreamlite_mobile.parity.versions import versions

    return BenchReport(
        created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        phone=phone,
        host_tools=versions(),
        adb=f"server 1.0.{link.client.server_version()}",
        bundles=tuple(identity(name, bundle) for name, bundle in bundles.items()),
        method=method,
        **parts,
    )


def identity(name: str, bundle: "Bundle") -> "BundleIdentity":
    """What names a bundle for good."""
    from dreamlite_mobile.device.correctness import precision_of
    from dreamlite_mobile.device.push import manifest_sha256
    from dreamlite_mobile.device.report import BundleIdentity

    manifest = bundle.manifest
    return BundleIdentity(
        name=name,
        sha256=manifest_sha256(bundle),
        checkpoint=manifest.checkpoint.source,
        checkpoint_sha256=manifest.checkpoint.sha256,
        backend=manifest.backend,
        target=manifest.target,
        precision=precision_of(manifest),
        width=bundle.size.width,
        height=bundle.size.height,
        tools={tool: version for tool, version in manifest.tools.model_dump().items() if version},
    )


def finish(
    report: "BenchReport",
    drawn: "Sequence[Drawn]",
    html: Path | None,
    csv: Path | None,
    save: Path | None,
    json_output: bool,
) -> None:
    """Write and print first, then raise for what is wrong: a failed gate still leaves its report and its pictures."""
    from dreamlite_mobile.device.comparison import compare_within
    from dreamlite_mobile.device.judge import check_report, problems_of
    from dreamlite_mobile.device.page import write_bench_page
    from dreamlite_mobile.device.report import file_name, report_json
    from dreamlite_mobile.device.table import csv_text
    from dreamlite_mobile.files import write_atomic
    from dreamlite_mobile.images import png_bytes

    data = report_json(report)
    if html is not None:
        write_bench_page(html, report, problems_of(report), shlex.join(["dreamlite", *sys.argv[1:]]), drawn)
    if csv is not None:
        write_atomic(csv, csv_text(report).encode())
    if save is not None:
        target = save / file_name(report)
        write_atomic(target, (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode())
        for number, one in enumerate(drawn, 1):
            write_atomic(target.with_suffix(f".{number}-{one.mode}.png"), png_bytes(one.found))
        notice(f"kept as {target}{', its pictures beside it' if drawn else ''}")
    if json_output:
        print_json(data)
    else:
        show(report)
        if len(report.bundles) > 1:
            show_comparison(f"against {report.bundles[0].name}", *compare_within(report), False)
    check_report(report)


def show(report: "BenchReport") -> None:
    """The summary, then where the time of each case went."""
    from dreamlite_mobile.device.table import SUMMARY_COLUMNS, flag_kinds, flags_by_name, stage_rows, summary_row

    if report.cases:
        table(
            report.phone.title,
            list(SUMMARY_COLUMNS),
            [summary_row(case) for case in report.cases],
            right=(2, 3, 4, 5, 6, 7),
        )
    for case in report.cases:
        table(f"{case.mode}: {case.bundle}", ["stage", "ms", "share"], stage_rows(case), right=(1, 2))
    if report.components:
        rows = [
            [case.bundle, f"{case.component}.{case.method}", f"{case.warm.median:.2f}", f"{case.warm.p90:.2f}",
             f"{case.first_ms:.2f}", "" if case.snr_db is None else f"{case.snr_db:.1f}", flag_kinds(case)]
            for case in report.components
        ]  # fmt: skip
        columns = ["bundle", "method", "median ms", "p90", "first ms", "SNR dB", "flags"]
        table(report.phone.title, columns, rows, right=(2, 3, 4, 5))
    for name, flags in flags_by_name(report):
        for flag in flags:
            notice(f"{name}: {flag.text}")


def show_comparison(title: str, rows: "Sequence[Compared]", remarks: Sequence[str], json_output: bool) -> None:
    """Case by case."""
    from dreamlite_mobile.device.comparison import few_rounds

    remarks = [*remarks, *few_rounds(rows)]
    if json_output:
        print_json({"version": 1, "cases": [asdict(row) for row in rows], "remarks": remarks})
    else:
        shown = [
            [row.bundle, row.mode, row.start, f"{row.before_ms:.1f}", f"{row.now_ms:.1f}",
             f"{row.change.ratio - 1:+.1%}",
             f"{row.change.low - 1:+.1%} to {row.change.high - 1:+.1%}", f"{row.change.p_value:.4f}", row.verdict]
            for row in rows
        ]  # fmt: skip
        columns = ["bundle", "mode", "start", "before ms", "now ms", "change", "95 % interval", "p", "verdict"]
        if rows:
            table(title, columns, shown, right=(3, 4, 5, 6, 7))
        for remark in remarks:
            notice(remark)
