"""`report.html`: one file without outside references that shows the pictures, the parity and what it cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from dreamlite_mobile.files import write_atomic
from dreamlite_mobile.parity.chart import Chart
from dreamlite_mobile.parity.page_parts import badge, bullets, charts, facts, megabytes, section, table
from dreamlite_mobile.parity.page_pictures import PictureGroup, picture_group
from dreamlite_mobile.parity.page_style import CSS
from dreamlite_mobile.parity.page_tables import (
    BlockRow,
    ChangeRow,
    Matrix,
    NumberRow,
    ScoreRow,
    block_table,
    change_table,
    matrix_table,
    number_table,
    score_table,
)
from dreamlite_mobile.parity.report import decibels, one_minus_cosine, tiny_number
from dreamlite_mobile.parity.rows import Row
from dreamlite_mobile.parity.thresholds import complaint, measured_and_floor


@dataclass(frozen=True, slots=True)
class StageTime:
    """Time of one stage of one run; peak memory where it was measured."""

    run: str
    stage: str
    seconds: float
    peak_memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class DelegateRow:
    """How one method was lowered, and what its component weighs."""

    component: str
    method: str
    precision: str
    delegates: int
    operators_outside: tuple[str, ...]
    file_bytes: int


@dataclass(frozen=True, slots=True)
class Page:
    """Everything the report shows. Sections without content are left out."""

    title: str
    intro: str
    facts: tuple[tuple[str, str], ...] = ()
    pictures: tuple[PictureGroup, ...] = ()
    scores: tuple[ScoreRow, ...] = ()
    score_kinds: tuple[ScoreRow, ...] = ()
    score_problems: tuple[str, ...] = ()
    sheets: tuple[PictureGroup, ...] = ()
    parity: tuple[Row, ...] = ()
    matrix: Matrix | None = None
    charts: tuple[Chart, ...] = ()
    blocks: tuple[BlockRow, ...] = ()
    changes: tuple[ChangeRow, ...] = ()
    numbers: tuple[NumberRow, ...] = ()
    number_problems: tuple[str, ...] = ()
    number_charts: tuple[Chart, ...] = ()
    stages: tuple[StageTime, ...] = ()
    delegates: tuple[DelegateRow, ...] = ()
    versions: tuple[tuple[str, str], ...] = ()
    commands: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def write_page(path: Path, page: Page) -> None:
    """Write the report whole or not at all; OutputError when the place cannot be written."""
    write_atomic(path, render(page).encode("utf-8"))


def render(page: Page) -> str:
    """The HTML document; every text in it is escaped."""
    sections = [
        _header(page),
        section("Pictures", "".join(map(picture_group, page.pictures))),
        section("Score", _scores(page)),
        section("Against the earlier report", change_table(page.changes)),
        section("Matrix", "" if page.matrix is None else matrix_table(page.matrix)),
        section("Step by step, block by block", charts(page.charts)),
        section("Blocks", block_table(page.blocks)),
        section("Parity", _parity(page.parity)),
        section("Numbers", _numbers(page)),
        section("Time per stage", _stages(page.stages)),
        section("How it was lowered", _delegates(page.delegates)),
        section("Versions", facts(page.versions)),
        section("Repeat it", f"<pre>{escape(chr(10).join(page.commands))}</pre>" if page.commands else ""),
        section("Notes", bullets(page.notes)),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(page.title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(filter(None, sections))
        + "\n</main>\n</body>\n</html>\n"
    )


def _header(page: Page) -> str:
    return (
        f'<header>\n<h1>{escape(page.title)}</h1>\n<p class="intro">{escape(page.intro)}</p>\n'
        f"{_verdict(page)}\n{facts(page.facts)}\n</header>"
    )


def _verdict(page: Page) -> str:
    """A badge for the floors, and one for each other thing that fails."""
    badges = [_floors(page.parity)] if page.parity else []
    for count, one, many in (
        (len(page.number_problems), "layer does not hold its numbers", "layers do not hold their numbers"),
        (len(page.score_problems), "bundle loses too much of the score", "bundles lose too much of the score"),
        (sum(row.worse for row in page.changes), "comparison is worse than it was", "comparisons are worse than once"),
        (sum(row.failed for row in page.blocks), "block fails", "blocks fail"),
    ):
        if count:
            badges.append(badge(False, f"{count} {one if count == 1 else many}"))
    return "\n".join(badges)


def _floors(rows: Sequence[Row]) -> str:
    failed = sum(complaint(row) is not None for row in rows)
    if failed:
        return badge(False, f"{failed} of {len(rows)} comparisons {'is' if failed == 1 else 'are'} below their floor")
    return badge(True, f"all {len(rows)} comparisons reach their floor")


def _scores(page: Page) -> str:
    """Complaints, the groups, the kinds of each, and what was drawn."""
    kinds = f"<details><summary>by kind</summary>{score_table(page.score_kinds)}</details>" if page.score_kinds else ""
    return bullets(page.score_problems) + score_table(page.scores) + kinds + "".join(map(picture_group, page.sheets))


def _numbers(page: Page) -> str:
    """What fp16 and integer scales could not hold: complaints, the layers nearest to it, and all of them as charts."""
    if not page.numbers:
        return ""
    drawn = (
        f"<details><summary>every layer</summary>{charts(page.number_charts)}</details>" if page.number_charts else ""
    )
    return bullets(page.number_problems) + number_table(page.numbers) + drawn


def _parity(rows: Sequence[Row]) -> str:
    headings = ("method", "output", "precision", "pair")
    numbers = ("decides", "floor", "rel. RMS", "1 - cosine", "max error", "seconds")
    body = "".join(map(_parity_row, rows))
    return table((*headings, "", *numbers, "input"), set(numbers), body) if rows else ""


def _parity_row(row: Row) -> str:
    problem = complaint(row)
    metric, measured, least = measured_and_floor(row)
    verdict = badge(problem is None, "fails" if problem else "ok")
    texts = (f"{row.component}.{row.method}", row.output, row.precision, row.pair)
    cells = [f"<td>{escape(text)}</td>" for text in texts]
    cells.append(f"<td>{verdict}</td>")
    numbers = (
        f"{metric} {decibels(measured)}{'' if measured == float('inf') else ' dB'}",
        f"{least:g} dB",
        tiny_number(row.metrics.relative_rms),
        one_minus_cosine(row),
        f"{tiny_number(row.metrics.max_error)} at {','.join(map(str, row.metrics.worst))}",
        f"{row.seconds:.3f}",
    )
    cells += [f'<td class="number">{escape(text)}</td>' for text in numbers]
    cells.append(f"<td>{escape(row.origin)} <code>{escape(row.input_digest)}</code></td>")
    line = f"<tr{'' if problem is None else ' class=failed'}>{''.join(cells)}</tr>\n"
    if problem is not None:
        line += f'<tr class="failed"><td colspan="{len(cells)}" class="wrap">{escape(problem)}</td></tr>\n'
    return line


def _stages(stages: Sequence[StageTime]) -> str:
    longest = max((stage.seconds for stage in stages), default=0.0) or 1.0
    lines = []
    for run in dict.fromkeys(stage.run for stage in stages):
        for stage in (stage for stage in stages if stage.run == run):
            memory = "" if stage.peak_memory_bytes is None else megabytes(stage.peak_memory_bytes)
            share = 100 * stage.seconds / longest
            lines.append(
                f"<tr><td>{escape(run)}</td><td>{escape(stage.stage)}</td>"
                f'<td class="number">{stage.seconds:.3f} s</td>'
                f'<td class="bar"><div class="track"><i style="width:{share:.2f}%"></i></div></td>'
                f'<td class="number">{memory}</td></tr>\n'
            )
    headings = ("run", "stage", "time", "", "peak memory")
    return table(headings, {"time", "peak memory"}, "".join(lines)) if lines else ""


def _delegates(rows: Sequence[DelegateRow]) -> str:
    lines = []
    for row in rows:
        outside = ", ".join(row.operators_outside) or "none"
        lines.append(
            f"<tr><td>{escape(row.component)}</td><td>{escape(row.method)}</td><td>{escape(row.precision)}</td>"
            f'<td class="number">{row.delegates}</td><td class="wrap">{escape(outside)}</td>'
            f'<td class="number">{megabytes(row.file_bytes)}</td></tr>\n'
        )
    numbers = ("delegates", "file")
    headings = ("component", "method", "precision", "delegates", "operators outside", *numbers[1:])
    return table(headings, set(numbers), "".join(lines)) if lines else ""
