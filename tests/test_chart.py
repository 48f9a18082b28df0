"""Charts as SVG: where values come to lie, and that nothing from outside gets in. Oracle: xml.etree and arithmetic."""

import math
import re
from xml.etree import ElementTree as ET

import pytest

from dreamlite_mobile.parity.chart import Chart, Mark, Series, group_of, groups, spacing, svg

EVIL = '<script>"x"</script> & more'


def chart(*series: Series, **more: object) -> Chart:
    count = len(series[0].values)
    return Chart("title", "text", "dB", tuple(map(str, range(1, count + 1))), series, **more)


def parsed(one: Chart) -> ET.Element:
    return ET.fromstring(svg(one))


def heights(one: Chart) -> list[float]:
    return [float(dot.get("cy")) for dot in parsed(one).iter("circle")]


def test_equal_steps_of_value_are_equal_steps_of_height() -> None:
    low, middle, high = heights(chart(Series("a", (0.0, 50.0, 100.0))))
    assert low > middle > high and low - middle == pytest.approx(middle - high)


def test_powers_of_ten_are_equal_steps_where_the_side_is_logarithmic() -> None:
    low, middle, high = heights(chart(Series("a", (0.01, 1.0, 100.0)), logarithmic=True))
    assert low - middle == pytest.approx(middle - high, abs=0.11)


def test_a_mark_lies_at_its_value() -> None:
    drawing = parsed(chart(Series("a", (40.0, 80.0)), marks=(Mark("floor 80", 80.0),)))
    (line,) = [line for line in drawing.iter("line") if line.get("class") == "mark"]
    assert float(line.get("y1")) == heights(chart(Series("a", (40.0, 80.0)), marks=(Mark("floor 80", 80.0),)))[1]


def test_equality_stands_at_the_top_and_says_so() -> None:
    one = chart(Series("a", (math.inf, 100.0)))
    assert heights(one)[0] <= heights(one)[1] and "1, a: exact" in svg(one)


def test_what_was_not_measured_is_a_gap() -> None:
    one = chart(Series("a", (1.0, 2.0, None, 3.0)))
    assert len(heights(one)) == 3
    assert [len(line.get("points").split()) for line in parsed(one).iter("polyline")] == [2, 1]


def test_dots_only_has_no_line() -> None:
    assert not list(parsed(chart(Series("a", (1.0, 2.0), dots_only=True))).iter("polyline"))


@pytest.mark.parametrize("values", [(0.0,), (0.0, 0.0), (-5.0, 3.0), (1e-9, 1e9), (None, None), (math.inf,)])
def test_every_dot_is_inside_whatever_the_values(values: tuple[float | None, ...]) -> None:
    for logarithmic in (False, True):
        one = chart(Series("a", values), logarithmic=logarithmic)
        _, _, width, height = map(float, parsed(one).get("viewBox").split())
        for dot in parsed(one).iter("circle"):
            assert 0 < float(dot.get("cx")) < width and 0 < float(dot.get("cy")) < height


def test_every_text_is_escaped_and_nothing_outside_is_named() -> None:
    text = svg(Chart(EVIL, EVIL, EVIL, (EVIL,), (Series(EVIL, (1.0,)),), (Mark(EVIL, 1.0),)))
    assert "<script" not in text and not re.search(r"https?:|url\(|href", text)
    ET.fromstring(text)


def test_neighbours_with_the_same_beginning_share_a_label() -> None:
    names = ("conv_in", "down_blocks.0.resnets.0", "down_blocks.0.resnets.1", "mid_block.resnets.0", "conv_out")
    assert [label for _, _, label in groups(names)] == ["conv_in", "down 0", "mid_block", "conv_out"]
    assert group_of("tower.layers.3") == "layers 3"
    wide = Chart("t", "", "dB", names, (Series("a", (1.0,) * 5),), wide=True)
    assert {"conv_in", "down 0"} <= {text.text for text in parsed(wide).iter("text")}


@pytest.mark.parametrize(("span", "step"), [(100, 20), (7, 2), (0.3, 0.1), (43, 10), (0, 1)])
def test_distances_along_the_side_are_round(span: float, step: float) -> None:
    assert spacing(span) == pytest.approx(step)
