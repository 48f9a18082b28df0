"""Tables of `report.html` beside the parity rows: the matrix of bundles, changes since a report, numbers of layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from dreamlite_mobile.parity.page_parts import badge, cells, table


@dataclass(frozen=True, slots=True)
class Cell:
    """The worst of one output through one bundle: what is shown, and whether it reaches its floor."""

    text: str
    passed: bool


@dataclass(frozen=True, slots=True)
class Matrix:
    """Outputs down, bundles across; None where a bundle has no such output."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell | None, ...]], ...]


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One comparison that differs from the earlier report."""

    what: str
    before: str
    now: str
    change: str
    worse: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class NumberRow:
    """One layer's numbers; `fits`: whether fp16 would hold them."""

    layer: str
    kind: str
    peak: str
    overflow: str
    denormal: str
    flushed: str
    weights_at_end: str
    beyond: str
    fits: bool


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """A group of prompts, or one kind of it, drawn before and after the export.

    `turned`: pictures that turned wrong and right; `kept`: dB of what edits kept, before and after. Both are empty for
    a kind.
    """

    what: str
    kind: str
    shares: tuple[float, float]
    turned: tuple[str, str] = ("", "")
    kept: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class BlockRow:
    """One block of a bisection. `decibels`: alone, alone as shipped, at its end in the network."""

    block: str
    kind: str
    decibels: tuple[str, str, str]
    remark: str
    failed: bool


def matrix_table(matrix: Matrix) -> str:
    """Cells below their floor are red."""
    body = "".join(
        f"<tr><td>{escape(name)}</td>{''.join(map(_matrix_cell, found))}</tr>\n" for name, found in matrix.rows
    )
    return table(("worst, dB against torch", *matrix.columns), set(matrix.columns), body)


def _matrix_cell(cell: Cell | None) -> str:
    if cell is None:
        return '<td class="number"></td>'
    kind = "number" if cell.passed else "number failing"
    return f'<td class="{kind}">{escape(cell.text)}</td>'


def change_table(rows: Sequence[ChangeRow]) -> str:
    """What became worse first."""
    body = "".join(
        f"<tr{' class=failed' if row.worse else ''}>{cells((row.what,), (row.before, row.now, row.change))}"
        f"<td>{badge(not row.worse, 'worse' if row.worse else 'ok')}</td>{cells((row.note,))}</tr>\n"
        for row in sorted(rows, key=lambda row: not row.worse)
    )
    numbers = ("before", "now", "change")
    return table(("comparison", *numbers, "", ""), set(numbers), body) if rows else ""


def score_table(rows: Sequence[ScoreRow]) -> str:
    """Shares of right pictures, before and after."""
    body = "".join(f"<tr>{cells((row.what, row.kind), score_numbers(row))}</tr>\n" for row in rows)
    numbers = ("before", "after", "change", "turned wrong", "turned right", "kept before, dB", "kept after, dB")
    return table(("pictures", "kind", *numbers), set(numbers), body) if rows else ""


def score_numbers(row: ScoreRow) -> tuple[str, ...]:
    """Before, after, their difference, what turned, what was kept."""
    before, after = row.shares
    return (f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f}", *row.turned, *row.kept)


def number_table(rows: Sequence[NumberRow]) -> str:
    """The layers nearest to trouble."""
    body = "".join(
        f"<tr{'' if row.fits else ' class=failed'}>"
        + cells(
            (row.layer, row.kind),
            (row.peak, row.overflow, row.denormal, row.flushed, row.weights_at_end, row.beyond),
        )
        + "</tr>\n"
        for row in rows
    )
    numbers = ("peak |x|", "over fp16", "denormal", "flushed", "weights at end", "beyond range")
    return table(("layer", "kind", *numbers), set(numbers), body) if rows else ""


def block_table(rows: Sequence[BlockRow]) -> str:
    """Every block in the order they run."""
    body = "".join(
        f"<tr{' class=failed' if row.failed else ''}>{cells((row.block, row.kind), row.decibels)}"
        f'<td class="wrap">{escape(row.remark)}</td></tr>\n'
        for row in rows
    )
    numbers = ("alone, dB", "as shipped, dB", "in the network, dB")
    return table(("block", "kind", *numbers, ""), set(numbers), body) if rows else ""
