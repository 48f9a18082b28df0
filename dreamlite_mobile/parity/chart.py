"""Line charts as inline SVG: no script, no font, nothing from outside; colours come from the page's style sheet."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

COLOURS = 6
"""Series colours that the style sheet defines; more series start again."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 12, 34
_TICKS = 5


@dataclass(frozen=True, slots=True)
class Series:
    """Named values, one per position along the chart; None leaves a gap, infinity stands at the top."""

    label: str
    values: tuple[float | None, ...]
    dots_only: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A labelled horizontal line, such as a floor."""

    label: str
    value: float


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart. `positions`: what each position is called; `wide`: many positions, scrolled on narrow screens;
    `logarithmic`: powers of ten along the side, for values above zero."""

    title: str
    text: str
    unit: str
    positions: tuple[str, ...]
    series: tuple[Series, ...]
    marks: tuple[Mark, ...] = ()
    wide: bool = False
    logarithmic: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """Where values come to lie: the drawing's size and the values at its bottom and top."""

    width: int
    height: int
    low: float
    high: float
    count: int

    def x(self, index: int) -> float:
        """The middle of a position."""
        return _LEFT + (self.width - _LEFT - _RIGHT) * (index + 0.5) / self.count

    def y(self, value: float) -> float:
        """A value's height; what is beyond the frame lies on its edge."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.height - _BOTTOM - (self.height - _TOP - _BOTTOM) * share


def svg(chart: Chart) -> str:
    """The drawing alone; every text in it is escaped."""
    frame = frame_of(chart)
    parts = [
        *grid(chart, frame),
        *(part for index, series in enumerate(chart.series) for part in drawn(chart, frame, series, index)),
        *(mark(chart, frame, line) for line in chart.marks),
        *position_labels(chart, frame),
    ]
    limits = f"min-width:{frame.width}px;max-width:{round(1.3 * frame.width)}px"
    style = f' style="{limits}"' if chart.wide else ""
    head = f'viewBox="0 0 {frame.width} {frame.height}" role="img" aria-label="{escape(chart.title)}"{style}'
    return f"<svg {head}>{''.join(parts)}</svg>"


def legend(chart: Chart) -> str:
    """Which colour is which series."""
    items = "".join(
        f'<span><i class="s{index % COLOURS}"></i>{escape(series.label)}</span>'
        for index, series in enumerate(chart.series)
    )
    return f'<p class="legend">{items}</p>'


def frame_of(chart: Chart) -> Frame:
    """A frame that holds every finite value and mark, with round ends."""
    values = [scaled(chart, value) for series in chart.series for value in series.values if is_finite(value)]
    values += [scaled(chart, line.value) for line in chart.marks]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    step = 1.0 if chart.logarithmic else spacing(high - low)
    low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    width, height = (max(560, 15 * len(chart.positions) + 60), 260) if chart.wide else (360, 230)
    return Frame(width, height, low, high if high > low else low + step, max(1, len(chart.positions)))


def is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def scaled(chart: Chart, value: float | None) -> float:
    """The value as it is measured along the side."""
    assert value is not None
    return math.log10(max(value, 1e-30)) if chart.logarithmic and math.isfinite(value) else value


def spacing(span: float) -> float:
    """A round distance that divides the span into about five."""
    if span <= 0:
        return 1.0
    rough = span / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return float(next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough))


def grid(chart: Chart, frame: Frame) -> Iterator[str]:
    """Lines and numbers along the side."""
    span = frame.high - frame.low
    step = max(1.0, math.ceil(span / _TICKS)) if chart.logarithmic else spacing(span)
    for index in range(round(span / step) + 1):
        value = frame.low + index * step
        if value > frame.high + step / 1000:
            break
        y = frame.y(value)
        text = f"1e{value:.0f}" if chart.logarithmic else f"{value:g}"
        yield f'<line class="grid" x1="{_LEFT}" x2="{frame.width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="side" x="{_LEFT - 6}" y="{y + 4:.1f}">{text}</text>'
    yield f'<text class="unit" x="4" y="{frame.height - 8}">{escape(chart.unit)}</text>'


def mark(chart: Chart, frame: Frame, line: Mark) -> str:
    """A dashed line with its label at the left, where a chart that scrolls begins."""
    y = frame.y(scaled(chart, line.value))
    beside = y + 13 if y + 18 < frame.height - _BOTTOM else y - 5
    label = f'<text class="mark" x="{_LEFT + 4}" y="{beside:.1f}">{escape(line.label)}</text>'
    return f'<line class="mark" x1="{_LEFT}" x2="{frame.width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>{label}'


def drawn(chart: Chart, frame: Frame, series: Series, index: int) -> Iterator[str]:
    """The line through neighbouring values and a dot, with its value as a tooltip, on each."""
    colour = f"s{index % COLOURS}"
    points = [
        None if value is None else (frame.x(place), frame.y(scaled(chart, value)), value)
        for place, value in enumerate(series.values)
    ]
    if not series.dots_only:
        for run in runs(points):
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in run)
            yield f'<polyline class="{colour}" points="{path}"/>'
    for place, point in enumerate(points):
        if point is not None:
            x, y, value = point
            shown = "exact" if value == math.inf else f"{value:.4g} {chart.unit}"
            title = escape(f"{chart.positions[place]}, {series.label}: {shown}")
            yield f'<circle class="{colour}" cx="{x:.1f}" cy="{y:.1f}" r="3.2"><title>{title}</title></circle>'


def runs(points: list[tuple[float, float, float] | None]) -> Iterator[list[tuple[float, float, float]]]:
    """Stretches without a gap."""
    run: list[tuple[float, float, float]] = []
    for point in [*points, None]:
        if point is not None:
            run.append(point)
        elif run:
            yield run
            run = []


def position_labels(chart: Chart, frame: Frame) -> Iterator[str]:
    """Names along the bottom: all of them where they fit, else one per group of neighbours with the same beginning."""
    y = frame.height - 12
    if not chart.wide:
        for index, name in enumerate(chart.positions):
            yield f'<text class="bottom" x="{frame.x(index):.1f}" y="{y}">{escape(name)}</text>'
        return
    last = -math.inf
    for first, end, name in groups(chart.positions):
        edge = frame.x(first) - (frame.width - _LEFT - _RIGHT) / frame.count / 2
        bottom = frame.height - _BOTTOM
        yield f'<line class="grid" x1="{edge:.1f}" x2="{edge:.1f}" y1="{_TOP}" y2="{bottom}"/>'
        middle = (frame.x(first) + frame.x(end)) / 2
        half = 3.2 * len(name)
        if middle - half > last + 6:
            place = min(max(middle, _LEFT + half), frame.width - half - 2)
            yield f'<text class="bottom" x="{place:.1f}" y="{y - 4}">{escape(name)}</text>'
            last = place + half


def groups(names: tuple[str, ...]) -> Iterator[tuple[int, int, str]]:
    """First and last index of neighbours whose names begin alike (up to their first number), and that beginning."""
    begin = 0
    for index in range(1, len(names) + 1):
        if index == len(names) or group_of(names[index]) != group_of(names[begin]):
            yield begin, index - 1, group_of(names[begin])
            begin = index


def group_of(name: str) -> str:
    """`down_blocks.0.resnets.1` -> `down 0`, `tower.layers.3` -> `layers 3`; `conv_in` stays itself."""
    first, _, rest = name.removeprefix("tower.").partition(".")
    number = rest.partition(".")[0]
    return f"{first.removesuffix('_blocks').removesuffix('_block')} {number}".strip() if number.isdigit() else first
