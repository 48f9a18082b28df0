"""A judgement as tables, as JSON and as report.html."""

from pathlib import Path
from typing import Any

from dreamlite_mobile.cli.judge import Judgement
from dreamlite_mobile.cli.shared import print_json, stdout
from dreamlite_mobile.parity.page import DelegateRow, Page, Picture, PictureGroup, StageTime, write_page
from dreamlite_mobile.parity.report import parity_json, parity_table
from dreamlite_mobile.parity.run import worst_rows
from dreamlite_mobile.parity.thresholds import check
from dreamlite_mobile.pipeline import STAGES


def show_report(judgement: Judgement, html: Path | None, json_output: bool) -> None:
    """Print, write the page if asked for, then raise ParityError if something is below its floor."""
    if html is not None:
        write_report(html, [judgement], [f"dreamlite parity {judgement.bundle.path.name} --html {html.name}"])
    if json_output:
        print_json(report_json([judgement]))
    else:
        print_judgement(judgement)
    check(judgement.rows)


def check_all(judgements: list[Judgement]) -> None:
    """ParityError naming everything below its floor, over all judgements."""
    check([row for judgement in judgements for row in judgement.rows])


def print_judgement(judgement: Judgement) -> None:
    """The worst row of every output and pair."""
    parity = parity_table(worst_rows(judgement.rows))
    parity.title = f"{judgement.bundle.path.name}: worst of {len(judgement.rows)} comparisons"
    stdout.print(parity)


def report_json(judgements: list[Judgement]) -> dict[str, Any]:
    """Every row of every bundle."""
    return {
        "bundles": [
            {
                "bundle": judgement.bundle.path.name,
                "backend": judgement.bundle.manifest.backend,
                "precision": {name: part.precision for name, part in judgement.bundle.manifest.components.items()},
                "parity": parity_json(judgement.rows),
                "seconds": [
                    {"side": drawn.side, "mode": drawn.mode, "stages": drawn.seconds} for drawn in judgement.drawn
                ],
            }
            for judgement in judgements
        ]
    }


def write_report(path: Path, judgements: list[Judgement], commands: list[str]) -> Path:
    """One self-contained page; OutputError when it cannot be written."""
    first = judgements[0].bundle.manifest
    page = Page(
        title="DreamLite through exported files",
        intro=(
            "Each component of the exported bundle against torch and against the same component in ONNX, on seeded "
            "samples and on everything a real run gave it; whole pictures from the same initial noise. Where several "
            "inputs were compared, the worst is shown."
        ),
        facts=(
            ("checkpoint", f"{first.checkpoint.source} ({first.checkpoint.sha256[:12]})"),
            ("size", f"{first.size.width}x{first.size.height}"),
            ("backend", f"{first.backend} ({first.target})"),
            ("bundles", ", ".join(judgement.bundle.path.name for judgement in judgements)),
        ),
        pictures=tuple(group for judgement in judgements for group in picture_groups(judgement)),
        parity=tuple(row for judgement in judgements for row in worst_rows(judgement.rows)),
        stages=tuple(time for judgement in judgements for time in stage_times(judgement)),
        delegates=tuple(row for judgement in judgements for row in delegate_rows(judgement)),
        versions=tuple((name, value) for name, value in first.tools.model_dump().items() if value),
        commands=tuple(commands),
        notes=(first.licence, "Times are of this machine, not of a phone: nothing here was measured on a phone."),
    )
    write_page(path, page)
    return path


def picture_groups(judgement: Judgement) -> list[PictureGroup]:
    """Side by side: each mode as every side drew it, and for edits the source."""
    groups = []
    name, request = judgement.bundle.path.name, judgement.request
    for mode in judgement.bundle.manifest.modes:
        drawn = [item for item in judgement.drawn if item.mode == mode]
        pictures = [Picture(item.side, item.picture) for item in drawn]
        if mode == "edit" and judgement.source is not None:
            pictures.insert(0, Picture("source", judgement.source))
        if drawn:
            text = request.prompt if mode == "generate" else request.instruction
            groups.append(PictureGroup(f"{name}: {mode}", f"{text} (seed {request.seed})", tuple(pictures)))
    return groups


def stage_times(judgement: Judgement) -> list[StageTime]:
    """Seconds of each stage of each run, in the order of the pipeline."""
    return [
        StageTime(f"{judgement.bundle.path.name}, {drawn.mode}, {drawn.side}", stage, drawn.seconds[stage])
        for drawn in judgement.drawn
        for stage in STAGES
        if stage in drawn.seconds
    ]


def delegate_rows(judgement: Judgement) -> list[DelegateRow]:
    """How each method was cut."""
    manifest = judgement.bundle.manifest
    return [
        DelegateRow(
            component=f"{judgement.bundle.path.name}: {name}",
            method=method,
            precision=entry.precision,
            delegates=spec.delegates.count,
            operators_outside=spec.delegates.operators_outside,
            file_bytes=sum(manifest.files[file].bytes for file in entry.files),
            lowering_seconds=entry.lowering_seconds,
            peak_memory_bytes=entry.peak_memory_bytes,
        )
        for name, entry in manifest.components.items()
        for method, spec in entry.methods.items()
        if spec.delegates is not None
    ]
