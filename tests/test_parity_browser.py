"""`report.html` in a real browser: nothing hangs over, every picture and chart is drawn, nothing is fetched or run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import NARROW, WIDE, measured, screenshot
from PIL import Image
from test_parity_page import EVIL, page

from dreamlite_mobile.parity.chart import Chart, Mark, Series
from dreamlite_mobile.parity.page import Page, render

LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_out.0 where the second belongs"
BLOCKS = tuple(f"down_blocks.{index // 8}.resnets.{index % 8}" for index in range(80))


def report(text: str) -> Page:
    """Every section, with text in each place, and one wide chart."""
    levels = Series("alone", tuple(float(index) for index in range(80)))
    wide = Chart(text, text, "dB", BLOCKS, (levels,), (Mark("floor 45", 45.0),), wide=True)
    return replace(page(text, error=1.0), charts=(*page(text).charts, wide))


@pytest.fixture(scope="module", params=[False, True], ids=["light", "dark"])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """Light with the longest names there are, dark with texts that would be markup."""
    text = EVIL if request.param else LAYER
    return measured(render(report(text)), tmp_path_factory.mktemp("page"), dark=request.param)


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_page_fits_and_is_drawn_whole(seen: dict[int, dict[str, Any]], width: int) -> None:
    found = seen[width]
    assert not found["scrolls"] and found["beyond"] == []
    assert len(found["pictures"]) == 3 and all(loaded and 0 < wide <= width for loaded, wide in found["pictures"])
    assert len(found["charts"]) == 3 and all(wide > 100 and high > 100 for wide, high in found["charts"])
    assert found["headings"][0] == "Pictures" and found["headings"][-1] == "Notes" and len(found["headings"]) == 13


def test_nothing_is_fetched_and_no_text_is_run(seen: dict[int, dict[str, Any]]) -> None:
    assert all(found["fetched"] == [] and not found["alerted"] for found in seen.values())


def test_ink_stands_out_from_the_page_in_light_and_dark(seen: dict[int, dict[str, Any]]) -> None:
    found = seen[WIDE]
    ink, paper = (sum(map(int, found[name].strip("rgb()").split(","))) / 3 for name in ("ink", "page"))
    assert (ink > paper) == found["dark"] and abs(ink - paper) > 150


def test_an_overhang_would_be_seen(tmp_path: Path) -> None:
    """The measurement itself: a box wider than a phone, and a picture that is none."""
    spoilt = render(report(LAYER)).replace(
        "<main>", '<main><div style="width:800px">wide</div><img src="data:image/png;base64,AAAA">'
    )
    found = measured(spoilt, tmp_path)
    assert found[NARROW]["scrolls"] and any("800px" in one for one in found[NARROW]["beyond"])
    assert not found[WIDE]["scrolls"] and not found[WIDE]["pictures"][0][0]


def test_it_looks_like_something(tmp_path: Path) -> None:
    """A screenshot has the picture's colours in it and much ink."""
    file = tmp_path / "report.html"
    file.write_text(render(report(LAYER)), encoding="utf-8")
    with Image.open(screenshot(file, tmp_path / "page.png")) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape == (1000, WIDE, 3)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 500
    assert 0.02 < (pixels.mean(-1) < 128).mean() < 0.5
