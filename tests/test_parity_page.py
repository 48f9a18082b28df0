"""`report.html`: what it must show, and that it is one safe, self-contained file. Oracle: html.parser."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dreamlite_mobile.errors import OutputError
from dreamlite_mobile.parity.chart import Chart, Series
from dreamlite_mobile.parity.metrics import compare
from dreamlite_mobile.parity.page import DelegateRow, Page, StageTime, render, write_page
from dreamlite_mobile.parity.page_pictures import Picture, PictureGroup
from dreamlite_mobile.parity.page_tables import BlockRow, Cell, ChangeRow, Matrix, NumberRow, ScoreRow
from dreamlite_mobile.parity.rows import Row

EVIL = "<script>alert(\"x\")</script> & 'quoted'"
RAMP = np.arange(1.0, 13.0).reshape(3, 4)
IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 48, 3), np.uint8))
VOID = {"meta", "img", "link", "br"}


def row(error: float) -> Row:
    return Row("unet", "edit", "velocity", "fp32", "onnx vs torch", compare(RAMP + error, RAMP), "0123456789ab", 0.25)


def page(text: str = "plain", error: float = 0.0) -> Page:
    return Page(
        title=text,
        intro=text,
        facts=((text, text),),
        pictures=(PictureGroup(text, text, (Picture(text, IMAGE, text), Picture("b", IMAGE))),),
        scores=(ScoreRow(text, text, (0.75, 0.5), (text, text), (text, text)),),
        score_kinds=(ScoreRow(text, text, (0.5, 0.5)),),
        score_problems=(text,),
        sheets=(PictureGroup(text, text, (Picture(text, IMAGE, text),)),),
        parity=(row(0.0), row(error)),
        matrix=Matrix((text,), ((text, (Cell(text, False),)), ("nothing", (None,)))),
        charts=(Chart(text, text, text, (text,), (Series(text, (1.0,)),)),),
        blocks=(BlockRow(text, text, (text, text, text), text, failed=True),),
        changes=(ChangeRow(text, text, text, text, worse=True, note=text),),
        numbers=(NumberRow(text, text, text, text, text, text, text, text, fits=False),),
        number_problems=(text,),
        number_charts=(Chart(text, text, text, (text,), (Series(text, (1.0,)),), wide=True),),
        stages=(StageTime(text, text, 0.5, 10**9), StageTime(text, "zero", 0.0)),
        delegates=(DelegateRow(text, text, "w8", 2, (text,), 27_740_000),),
        versions=((text, text),),
        commands=(text,),
        notes=(text,),
    )


class Document(HTMLParser):
    """Tags, attributes and text; fails on tags that do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_every_text_is_escaped() -> None:
    document = Document(render(page(EVIL)))
    assert "script" not in document.tags
    assert document.text.count(EVIL) >= 40


def test_nothing_outside_is_referred_to() -> None:
    text = render(page())
    assert all(link.startswith("data:image/png;base64,") for link in Document(text).links)
    assert not re.search(r"https?:|@import|url\(", text)


def test_pictures_survive_exactly() -> None:
    links = Document(render(page())).links
    assert len(links) == 3
    found = Image.open(io.BytesIO(base64.b64decode(links[0].split(",")[1])))
    np.testing.assert_array_equal(np.asarray(found), np.asarray(IMAGE))


def test_the_verdict_is_said_at_the_top() -> None:
    assert "all 2 comparisons reach their floor" in Document(render(page())).text
    failing = Document(render(page(error=1.0))).text
    assert "1 of 2 comparisons is below their floor" in failing
    assert "unet.edit velocity (onnx vs torch, fp32): SNR" in failing


def test_whatever_fails_is_said_at_the_top() -> None:
    """A page of sound comparisons may fail for its numbers, its score or an earlier report."""
    told = Document(render(page())).text.partition("Pictures")[0]
    for text in (
        "1 layer does not hold its numbers",
        "1 bundle loses too much of the score",
        "1 comparison is worse than it was",
        "1 block fails",
    ):
        assert text in told
    sound = replace(page(), number_problems=(), score_problems=("a", "b"), changes=())
    told = Document(render(sound)).text.partition("Pictures")[0]
    assert "2 bundles lose too much" in told and "layer" not in told and "worse" not in told


def test_numbers_are_shown() -> None:
    text = Document(render(page(error=1e-7))).text
    for part in ("0.7500.500-0.250", "SNR exact", "100 dB", "0123456789ab", "0.250", "0.500 s", "1000.0 MB", "27.7 MB"):
        assert part in text


def test_empty_sections_are_left_out() -> None:
    text = Document(render(Page("title", "intro"))).text
    later = ("Score", "Against the earlier report", "Matrix", "Step by step", "Blocks", "Numbers")
    for heading in (
        *later,
        "Pictures",
        "Parity",
        "Time per stage",
        "How it was lowered",
        "Versions",
        "Repeat it",
        "Notes",
    ):
        assert heading not in text.replace("title", "")


def test_it_is_written_whole(tmp_path: Path) -> None:
    write_page(tmp_path / "report.html", page())
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render(page())


def test_an_unwritable_place_is_an_output_error() -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write_page(Path("/proc/report.html"), page())


def test_what_became_worse_comes_first() -> None:
    rows = (ChangeRow("b", "1", "2", "+1", worse=False), ChangeRow("a", "2", "1", "-1", worse=True))
    text = Document(render(Page("title", "intro", changes=rows))).text
    assert text.index("a21-1worse") < text.index("b12+1ok")
