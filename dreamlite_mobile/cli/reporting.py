"""A judgement as tables, as JSON and as report.html."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamlite_mobile.cli.judge import Judgement
from dreamlite_mobile.cli.report_parts import (
    change_rows,
    difference_picture,
    matrix_of,
    number_rows,
    peak_charts,
    report_charts,
    score_kind_rows,
    score_rows,
    sheets,
    verdict,
)
from dreamlite_mobile.cli.shared import print_json, stdout, table
from dreamlite_mobile.components import sizes_text
from dreamlite_mobile.errors import ParityError
from dreamlite_mobile.parity.diff import Diff, check_diff, compare_reports, diff_entry
from dreamlite_mobile.parity.page import DelegateRow, Page, StageTime, write_page
from dreamlite_mobile.parity.page_pictures import Picture, PictureGroup
from dreamlite_mobile.parity.page_tables import Matrix, score_numbers
from dreamlite_mobile.parity.report import bisect_json, layer_json, parity_json, parity_table, scores_json
from dreamlite_mobile.parity.run import worst_rows
from dreamlite_mobile.parity.schema import VERSION, ParityReport, read_report
from dreamlite_mobile.parity.thresholds import check
from dreamlite_mobile.parity.tolerance import TOLERANCE_DB
from dreamlite_mobile.parity.versions import versions
from dreamlite_mobile.pipeline import STAGES


@dataclass(frozen=True, slots=True)
class Output:
    """What is to become of judgements. `against`: an earlier report; `command`: what repeats this one."""

    html: Path | None = None
    as_json: bool = False
    against: Path | None = None
    tolerance_db: float = TOLERANCE_DB
    command: str = ""


def show_report(judgements: list[Judgement], output: Output) -> None:
    """Print, write the page if asked for, then raise ParityError for what is below its floor or became worse.

    Raises:
        ConfigError: an earlier report that cannot be used. OutputError: a page that cannot be written.
    """
    report = report_json(judgements)
    diff = None
    if output.against is not None:
        diff = compare_reports(read_report(output.against), ParityReport.model_validate(report), output.tolerance_db)
        report["diff"] = diff_entry(diff, str(output.against)).model_dump()
    if output.html is not None:
        write_report(output.html, judgements, [output.command], diff)
        report["report"] = str(output.html)
    if output.as_json:
        print_json(report)
    else:
        print_judgements(judgements, diff)
    check_all(judgements)
    if diff is not None:
        check_diff(diff, str(output.against))


def check_all(judgements: list[Judgement]) -> None:
    """ParityError naming everything below its floor, and layers whose numbers do not fit, over all judgements."""
    check([row for judgement in judgements for row in judgement.rows])
    problems = [f"{one.label}: {text}" for one in judgements for text in one.number_problems]
    problems += [f"{one.label}: {one.score_problem}" for one in judgements if one.score_problem]
    problems += [f"{one.label}: {text}" for one in judgements for found in one.bisections for text in verdict(found)]
    if problems:
        raise ParityError("parity failed:\n" + "\n".join(f"  {text}" for text in problems))


def print_judgements(judgements: list[Judgement], diff: Diff | None = None) -> None:
    """The worst row of every output and pair, the matrix of several bundles, what changed."""
    for judgement in judgements:
        print_judgement(judgement)
    if len(judgements) > 1:
        print_matrix(matrix_of(judgements))
    print_scores(judgements)
    if diff is not None:
        stdout.print(
            f"{len(diff.changes)} comparisons as in the earlier report, {len(diff.regressions)} worse by more than "
            f"{diff.tolerance_db:g} dB, {len(diff.gone)} gone, {len(diff.new)} new"
        )


def print_judgement(judgement: Judgement) -> None:
    """The worst row of every output and pair, and the layers nearest to the end of fp16."""
    parity = parity_table(worst_rows(judgement.rows))
    parity.title = f"{judgement.label}: worst of {len(judgement.rows)} comparisons"
    stdout.print(parity)
    rows = [
        [row.layer, row.kind, row.peak, row.overflow, row.denormal, row.flushed, row.weights_at_end, row.beyond]
        for row in number_rows(judgement.layers, 5)
    ]
    headings = ["layer", "kind", "peak", "over fp16", "denormal", "flushed", "weights at end", "beyond range"]
    table(f"{judgement.label}: largest numbers of the float32 reference", headings, rows, tuple(range(2, 8)))


def print_matrix(matrix: Matrix) -> None:
    """The worst of every output through every bundle."""
    rows = [[name, *("" if cell is None else cell.text for cell in found)] for name, found in matrix.rows]
    table("worst, dB against torch", ["", *matrix.columns], rows, tuple(range(1, len(matrix.columns) + 1)))


def print_scores(judgements: list[Judgement]) -> None:
    """Every group of prompts before and after, where scores were asked for."""
    rows = [
        [row.what, *score_numbers(row)]
        for judgement in judgements
        for row in score_rows(judgement, f"{judgement.label}: ")
    ]
    headings = ["pictures", "before", "after", "change", "turned wrong", "turned right", "kept before", "kept after"]
    if rows:
        table("score before export (torch) and after it", headings, rows, tuple(range(1, len(headings))))


def report_json(judgements: list[Judgement]) -> dict[str, Any]:
    """Every row of every bundle, as `parity.schema.ParityReport` describes it."""
    report = {"version": VERSION, "tools": versions(), "bundles": list(map(bundle_json, judgements))}
    ParityReport.model_validate(report)
    return report


def bundle_json(judgement: Judgement) -> dict[str, Any]:
    manifest = judgement.bundle.manifest
    return {
        "bundle": judgement.label,
        "backend": manifest.backend,
        "target": manifest.target,
        "size": sizes_text(judgement.bundle.sizes),
        "checkpoint": manifest.checkpoint.sha256,
        "precision": {name: part.precision for name, part in manifest.components.items()},
        "parity": parity_json(judgement.rows),
        "seconds": [{"side": drawn.side, "mode": drawn.mode, "stages": drawn.seconds} for drawn in judgement.drawn],
        "numbers": list(map(layer_json, judgement.layers)),
        "number_problems": judgement.number_problems,
        "blocks": [bisect_json(found, judgement.label) for found in judgement.bisections],
        "score": scores_json(judgement.scored),
        "score_problem": judgement.score_problem,
    }


def write_report(
    path: Path, judgements: list[Judgement], commands: list[str], diff: Diff | None = None, notes: Sequence[str] = ()
) -> Path:
    """One self-contained page; OutputError when it cannot be written."""

    def prefix(judgement: Judgement) -> str:
        return f"{judgement.label}: " if len(judgements) > 1 else ""

    licences = dict.fromkeys(judgement.bundle.manifest.licence for judgement in judgements)
    page = Page(
        title="DreamLite through exported files",
        intro=(
            "Each component of the exported bundle against torch and against the same component in ONNX, on seeded "
            "samples and on everything a real run gave it; whole pictures from the same initial noise. Where several "
            "inputs were compared, the worst is shown."
        ),
        facts=page_facts(judgements),
        pictures=tuple(group for judgement in judgements for group in picture_groups(judgement)),
        scores=tuple(row for judgement in judgements for row in score_rows(judgement, prefix(judgement))),
        score_kinds=tuple(row for judgement in judgements for row in score_kind_rows(judgement, prefix(judgement))),
        score_problems=tuple(
            prefix(judgement) + judgement.score_problem for judgement in judgements if judgement.score_problem
        ),
        sheets=tuple(group for judgement in judgements for group in sheets(judgement)),
        parity=tuple(row for judgement in judgements for row in worst_rows(judgement.rows)),
        matrix=matrix_of(judgements) if len(judgements) > 1 else None,
        charts=report_charts(judgements),
        changes=() if diff is None else change_rows(diff),
        numbers=tuple(
            row for judgement in judgements for row in number_rows(judgement.layers, label=prefix(judgement))
        ),
        number_charts=tuple(
            chart for judgement in judgements for chart in peak_charts(judgement.layers, prefix(judgement))
        ),
        number_problems=tuple(
            prefix(judgement) + text for judgement in judgements for text in judgement.number_problems
        ),
        stages=tuple(time for judgement in judgements for time in stage_times(judgement)),
        delegates=tuple(row for judgement in judgements for row in delegate_rows(judgement)),
        versions=tuple(versions().items()),
        commands=tuple(commands),
        notes=(*notes, *licences, "Times are of this machine, not of a phone: nothing here was measured on a phone."),
    )
    write_page(path, page)
    return path


def page_facts(judgements: list[Judgement]) -> tuple[tuple[str, str], ...]:
    """What was compared: one bundle in tiles, several with a tile each."""
    told = [bundle_facts(judgement) for judgement in judgements]
    if len(judgements) == 1:
        return (("bundle", judgements[0].label), *told[0].items())
    return tuple(
        (judgement.label, ", ".join(facts.values())) for judgement, facts in zip(judgements, told, strict=True)
    )


def bundle_facts(judgement: Judgement) -> dict[str, str]:
    """What a bundle was made from, for what, and in which precisions."""
    manifest = judgement.bundle.manifest
    return {
        "backend": f"{manifest.backend} ({manifest.target})",
        "precision": "/".join(dict.fromkeys(part.precision for part in manifest.components.values())),
        "size": sizes_text(judgement.bundle.sizes),
        "checkpoint": f"{manifest.checkpoint.source} ({manifest.checkpoint.sha256[:12]})",
    }


def picture_groups(judgement: Judgement) -> list[PictureGroup]:
    """Side by side: each mode and size as every side drew it, and for edits the source."""
    groups = []
    name, request = judgement.label, judgement.request
    for mode in dict.fromkeys(item.mode for item in judgement.drawn):
        drawn = [item for item in judgement.drawn if item.mode == mode]
        pictures = [Picture(item.side, item.picture) for item in drawn]
        pictures += [
            difference_picture(item, drawn[0]) for item in drawn[1:] if item.side == judgement.bundle.manifest.backend
        ]
        if mode in judgement.sources:
            pictures.insert(0, Picture("source", judgement.sources[mode]))
        text = request.prompt if mode.startswith("generate") else request.instruction
        groups.append(PictureGroup(f"{name}: {mode}", f"{text} (seed {request.seed})", tuple(pictures)))
    return groups


def stage_times(judgement: Judgement) -> list[StageTime]:
    """Seconds of each stage of each run, in the order of the pipeline."""
    return [
        StageTime(f"{judgement.label}, {drawn.mode}, {drawn.side}", stage, drawn.seconds[stage])
        for drawn in judgement.drawn
        for stage in STAGES
        if stage in drawn.seconds
    ]


def delegate_rows(judgement: Judgement) -> list[DelegateRow]:
    """How each method was cut."""
    manifest = judgement.bundle.manifest
    return [
        DelegateRow(
            component=f"{judgement.label}: {name}",
            method=method,
            precision=entry.precision,
            delegates=spec.delegates.count,
            operators_outside=spec.delegates.operators_outside,
            file_bytes=sum(manifest.files[file].bytes for file in entry.files),
        )
        for name, entry in manifest.components.items()
        for method, spec in entry.methods.items()
        if spec.delegates is not None
    ]
