"""Pieces of HTML that the sections of `report.html` are put together from; every text in them is escaped."""

from collections.abc import Iterable, Sequence
from html import escape

from dreamlite_mobile.parity.chart import Chart, legend, svg


def section(title: str, body: str) -> str:
    """A section under its heading; nothing for an empty body."""
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>" if body else ""


def facts(items: Sequence[tuple[str, str]]) -> str:
    """Names with values, as tiles."""
    tiles = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in items)
    return f"<dl>{tiles}</dl>" if tiles else ""


def bullets(items: Sequence[str]) -> str:
    """A list."""
    return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>" if items else ""


def table(headings: Iterable[str], numbers: set[str], body: str) -> str:
    """A table that scrolls sideways where it does not fit; columns named in `numbers` are right-aligned."""
    cells = "".join(f"<th{' class=number' if text in numbers else ''}>{escape(text)}</th>" for text in headings)
    return f'<div class="scroll"><table><thead><tr>{cells}</tr></thead>\n<tbody>\n{body}</tbody></table></div>'


def cells(texts: Sequence[str], numbers: Sequence[str] = ()) -> str:
    """Cells of words, then of numbers."""
    return "".join(f"<td>{escape(text)}</td>" for text in texts) + "".join(
        f'<td class="number">{escape(text)}</td>' for text in numbers
    )


def badge(good: bool, text: str) -> str:
    """A verdict."""
    return f'<span class="badge {"good" if good else "bad"}">{escape(text)}</span>'


def charts(drawn: Sequence[Chart]) -> str:
    """Charts as cards: small ones side by side, wide ones one below the other."""
    small = "".join(map(card, (chart for chart in drawn if not chart.wide)))
    wide = "".join(map(card, (chart for chart in drawn if chart.wide)))
    return (f'<div class="charts">{small}</div>' if small else "") + wide


def card(chart: Chart) -> str:
    """One chart with its title, what it shows and its legend."""
    text = f'<p class="soft">{escape(chart.text)}</p>' if chart.text else ""
    head = f"<h3>{escape(chart.title)}</h3>{text}{legend(chart)}"
    return f'<div class="card">{head}<div class="draw">{svg(chart)}</div></div>\n'


def megabytes(count: int) -> str:
    """`27.7 MB`, decimal."""
    return f"{count / 1e6:.1f} MB"
