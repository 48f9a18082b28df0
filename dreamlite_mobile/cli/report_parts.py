"""What a judgement becomes on the page: charts, the matrix, the numbers, changes, pictures of differences."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from dreamlite_mobile.cli.judge import Judgement
from dreamlite_mobile.parity.bisect import Bisection, below
from dreamlite_mobile.parity.chart import Chart, Mark, Series
from dreamlite_mobile.parity.diff import Diff
from dreamlite_mobile.parity.metrics import Metrics, psnr
from dreamlite_mobile.parity.numbers import FP16_MAX, FP16_NORMAL, Counts, Layer, notable
from dreamlite_mobile.parity.page_pictures import Picture, PictureGroup
from dreamlite_mobile.parity.page_tables import Cell, ChangeRow, Matrix, NumberRow, ScoreRow
from dreamlite_mobile.parity.report import decibels
from dreamlite_mobile.parity.rows import Row
from dreamlite_mobile.parity.run import Drawn, worst_rows
from dreamlite_mobile.parity.thresholds import complaint, floor, measured_and_floor
from dreamlite_mobile.tiny.evaluate import Evaluation, contact_sheet
from dreamlite_mobile.tiny.score import Score

MAX_FACTOR = 64
"""Differences are shown at most this many times enlarged: more would show nothing but rounding."""


def report_charts(judgements: Sequence[Judgement]) -> tuple[Chart, ...]:
    """The U-Net's error step by step, and blocks where they were walked."""
    found = [chart for judgement in judgements for chart in step_charts(judgement)]
    found += [block_chart(one, judgement.label) for judgement in judgements for one in judgement.bisections]
    return tuple(found)


def step_charts(judgement: Judgement) -> list[Chart]:
    """One chart a mode: the U-Net's SNR at each step of the real run, by pair."""
    charts = []
    for mode in judgement.bundle.manifest.modes:
        rows = [row for row in judgement.rows if (row.component, row.method) == ("unet", mode) and "call" in row.origin]
        steps = tuple(dict.fromkeys(row.origin.rpartition(" ")[2] for row in rows))
        series = tuple(
            Series(pair, tuple(row.metrics.snr_db for row in rows if row.pair == pair))
            for pair in dict.fromkeys(row.pair for row in rows)
        )
        if series:
            bundle = judgement.bundle
            least = floor(bundle.component("unet").precision, bundle.manifest.backend).component_snr_db
            title = f"{judgement.label}: unet.{mode} by step"
            charts.append(Chart(title, "On the inputs of a real run.", "dB", steps, series, (floor_mark(least),)))
    return charts


def block_chart(found: Bisection, bundle: str) -> Chart:
    """Every block alone and at its end in the whole network."""
    return Chart(
        title=f"{bundle}: {found.component}.{found.method} block by block",
        text=f"Alone: on torch's inputs. In the network: at the block's end ({found.source}). Input: {found.origin}.",
        unit="dB",
        positions=tuple(block.name for block in found.blocks),
        series=(
            Series("in the network", tuple(shown_db(block.cumulative) for block in found.blocks)),
            Series("alone", tuple(shown_db(block.by_itself) for block in found.blocks), dots_only=True),
        ),
        marks=(floor_mark(found.floor_db),),
        wide=True,
    )


def peak_charts(layers: Iterable[Layer], label: str = "") -> tuple[Chart, ...]:
    """Largest |x| of every layer, one chart a method, between where fp16 loses bits and where it ends."""
    charts = []
    layers = list(layers)
    for component, method in dict.fromkeys((layer.component, layer.method) for layer in layers):
        mine = [layer for layer in layers if (layer.component, layer.method) == (component, method)]
        charts.append(
            Chart(
                title=f"{label}{component}.{method}: largest number of every layer",
                text="In float32 torch, over every input of this report.",
                unit="|x|",
                positions=tuple(layer.name for layer in mine),
                series=(Series("peak", tuple(layer.counts.peak for layer in mine), dots_only=True),),
                marks=(Mark("fp16 ends", FP16_MAX), Mark("fp16 loses bits", FP16_NORMAL)),
                wide=True,
                logarithmic=True,
            )
        )
    return tuple(charts)


def floor_mark(least: float) -> Mark:
    return Mark(f"floor {least:g}", least)


def shown_db(metrics: Metrics | None) -> float | None:
    """SNR for a chart: a defect stands at the bottom."""
    if metrics is None:
        return None
    return 0.0 if metrics.defects or metrics.snr_db == -math.inf else metrics.snr_db


def matrix_of(judgements: Sequence[Judgement]) -> Matrix:
    """The worst of every output against torch, a column for each bundle."""
    found = [worst_by_output(judgement) for judgement in judgements]
    names = dict.fromkeys(name for rows in found for name in rows)
    return Matrix(
        tuple(f"{judgement.label} ({judgement.bundle.manifest.backend})" for judgement in judgements),
        tuple((name, tuple(cell_of(rows.get(name)) for rows in found)) for name in names),
    )


def worst_by_output(judgement: Judgement) -> dict[str, Row]:
    pair = f"{judgement.bundle.manifest.backend} vs torch"
    return {f"{row.component}.{row.method} {row.output}": row for row in worst_rows(judgement.rows) if row.pair == pair}


def cell_of(row: Row | None) -> Cell | None:
    if row is None:
        return None
    _, measured, least = measured_and_floor(row)
    return Cell(f"{decibels(measured)} / {least:g} ({row.precision})", complaint(row) is None)


def number_rows(layers: Sequence[Layer], count: int = 12, label: str = "") -> tuple[NumberRow, ...]:
    """The layers nearest to trouble; `label` stands before their names."""
    return tuple(number_row(layer, label) for layer in notable(layers, count))


def number_row(layer: Layer, label: str) -> NumberRow:
    counts, clipped = layer.counts, layer.clipped
    return NumberRow(
        layer=f"{label}{layer.component}.{layer.method} {layer.name}",
        kind=layer.kind,
        peak=f"{counts.peak:,.4g}",
        overflow=f"{counts.overflow:,}",
        denormal=share(counts.denormal, counts),
        flushed=share(counts.flushed, counts),
        weights_at_end="" if clipped is None else f"{clipped.at_end:,} of {clipped.weights:,}",
        beyond="" if layer.span is None else share(counts.beyond, counts),
        fits=not counts.overflow,
    )


def share(part: int, counts: Counts) -> str:
    """`0.31 %`; zero is written 0."""
    return f"{100 * part / max(1, counts.values):.2g} %" if part else "0"


def score_rows(judgement: Judgement, label: str = "") -> tuple[ScoreRow, ...]:
    """Every group of prompts, before and after the export."""
    return tuple(
        ScoreRow(
            f"{label}{group.group} ({group.pictures})",
            "overall",
            (group.before.overall, group.after.overall),
            (str(group.lost), str(group.gained)),
            (kept(group.before), kept(group.after)),
        )
        for group in judgement.score_groups
    )


def score_kind_rows(judgement: Judgement, label: str = "") -> tuple[ScoreRow, ...]:
    """The same, kind by kind."""
    return tuple(
        ScoreRow(f"{label}{group.group}", kind, (before, group.after.by_kind[kind]))
        for group in judgement.score_groups
        for kind, before in group.before.by_kind.items()
    )


def kept(found: Score) -> str:
    return "" if found.kept_db is None else f"{found.kept_db:.1f}"


def sheets(judgement: Judgement) -> tuple[PictureGroup, ...]:
    """What was drawn through the files, over what was asked; a wrong one's words are red."""
    if judgement.scored is None:
        return ()
    return tuple(
        PictureGroup(f"{judgement.label}: {group}", SHEET_TEXTS[group], (Picture(group, image, wide=True),))
        for group, image in sheet_images(judgement.scored.after).items()
    )


def sheet_images(found: Evaluation) -> dict[str, Image.Image]:
    """The first pictures of the groups that are shown, as one picture each."""
    return {
        group: contact_sheet(found.made[group][:count], columns)
        for group, (count, columns) in SHEETS.items()
        if group in found.made
    }


SHEETS = {"generate": (16, 8), "edit": (8, 4)}
"""Group -> pictures on its contact sheet, in a row of it."""
SHEET_TEXTS = {
    "generate": "The first pictures of the score. Red words: judged wrong.",
    "edit": "The first edits of the score, source and result side by side. Red words: judged wrong.",
}


def change_rows(diff: Diff) -> tuple[ChangeRow, ...]:
    """Everything that moved, and what only one report has."""
    worse = diff.regressions
    moved = [
        ChangeRow(
            what=f"{change.bundle}: {change.row.component}.{change.row.method} {change.row.output} "
            f"({change.row.pair}, {change.row.origin})",
            before=decibels(change.before_db),
            now=decibels(change.now_db),
            change=f"{-change.fall_db:+.1f} dB",
            worse=change in worse,
            note="other inputs" if change.other_inputs else "",
        )
        for change in diff.changes
        if abs(change.fall_db) >= SHOWN_DB
    ]
    gone = [ChangeRow(text, "", "", "", worse=True, note="no longer compared") for text in diff.gone]
    return (*moved, *gone, *(ChangeRow(text, "", "", "", worse=False, note="new") for text in diff.new))


SHOWN_DB = 0.05
"""Changes smaller than this are not listed."""


def difference_picture(found: Drawn, expected: Drawn) -> Picture:
    """Where two pictures differ, enlarged by the power of two that shows it best, with PSNR and the largest step."""
    left, right = np.asarray(found.picture), np.asarray(expected.picture)
    gap = np.abs(left.astype(np.int16) - right.astype(np.int16))
    largest = int(gap.max())
    factor = 1
    while largest and factor < MAX_FACTOR and largest * factor * 2 <= 255:
        factor *= 2
    image = Image.fromarray(np.minimum(gap * factor, 255).astype(np.uint8))
    caption = f"PSNR {decibels(psnr(left, right))} dB, at most {largest} of 255"
    return Picture(f"{found.side} - {expected.side}, x{factor}", image, caption)


def verdict(found: Bisection) -> list[str]:
    """What a bisection complains of, one line each; empty when every block is sound."""
    where = f"{found.component}.{found.method}"
    lines = []
    culprit = found.culprit
    if culprit is not None:
        lines.append(f"{where}: {culprit.name} ({culprit.kind}) {reason(found)}")
    elif below(found.whole, found.floor_db):
        lines.append(f"{where}: the shipped program {of_whole(found)}")
    lines += [f"{where}: {text}" for block in found.blocks for text in block.differences]
    return lines + [f"{where}: {text}" for text in found.elsewhere]


def of_whole(found: Bisection) -> str:
    """What is to be said of a program below its floor when no block is."""
    defects = "; ".join(found.whole.defects)
    at = f"has a defect: {defects}" if defects else f"is at {decibels(found.whole.snr_db)} dB"
    if found.left_out:
        return (
            f"{at} (floor {found.floor_db:g}), and none of the {len(found.blocks) - found.left_out} blocks looked at "
            f"is below it; {found.left_out} were left out. Leave out --only to see them."
        )
    return (
        f"{at} (floor {found.floor_db:g}), though no block is below it when exported afresh: the fault is in the file. "
        "Export it again."
    )


def reason(found: Bisection) -> str:
    """Why the culprit is one."""
    block = found.culprit
    assert block is not None
    if block.problem is not None:
        return f"cannot be exported alone: {block.problem}"
    itself = block.by_itself
    if itself is not None and below(itself, found.floor_db):
        how = "with the shipped constants" if block.shipped is not None else "exported afresh"
        return f"is at {shown(itself)} by itself, {how}; the floor is {found.floor_db:g} dB"
    if block.differences:
        return "holds constants that the checkpoint does not give"
    assert block.cumulative is not None
    return f"is the first below the floor of {found.floor_db:g} dB: {shown(block.cumulative)} at its end"


def shown(metrics: Metrics) -> str:
    """`12.3 dB`, or what disqualifies it."""
    return f"{decibels(metrics.snr_db)} dB" if not metrics.defects else f"no number ({'; '.join(metrics.defects)})"
