"""`dreamlite score`: the same pictures and judgements through a bundle as through its checkpoint."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from bundles import exported
from checkpoint_files import tiny_checkpoint

from dreamlite_mobile.bundle import open_bundle
from dreamlite_mobile.cli import main
from dreamlite_mobile.cli.score import reference_of
from dreamlite_mobile.errors import ConfigError
from dreamlite_mobile.runtime.session import Session
from dreamlite_mobile.tiny.evaluate import GAP, GROUPS, Made, asked_of, contact_sheet, evaluate, wrapped
from dreamlite_mobile.tiny.world import EDIT_KINDS, SIDE


def test_a_bundle_is_scored_like_its_checkpoint() -> None:
    with Session(open_bundle(exported("fp32"))) as session:
        found = evaluate(session.pipeline(), 1)
    expected = evaluate(reference_of(str(tiny_checkpoint()), found.made["edit"][0].picture.width), 1)
    assert tuple(found.made) == tuple(expected.made) == GROUPS
    for group in GROUPS:
        one, other = found.made[group][0], expected.made[group][0]
        assert one.judged.text == other.judged.text
        difference = np.abs(np.asarray(one.picture, float) - np.asarray(other.picture))
        assert difference.max() <= 2 and np.asarray(one.picture).std() > 5


def test_what_was_asked_is_right_when_it_is_drawn() -> None:
    """The groups' own truth, judged by the groups' own judges: nothing is lost between asking and judging."""
    from dreamlite_mobile.tiny.score import edits, prompts
    from dreamlite_mobile.tiny.world import render

    for group in GROUPS:
        held = group.endswith("held out")
        truth = (
            [one.scene for one in prompts(12, held)]
            if group.startswith("generate")
            else [one.edit.after for one in edits(12, held)]
        )
        judged = [asked.judge(render(scene)) for asked, scene in zip(asked_of(group, 12, SIDE), truth, strict=True)]
        assert all(one.right for one in judged), judged


def test_the_command_prints_json_and_writes_sheets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["score", str(exported("fp32")), "--prompts", "1", "--steps", "1", "--sheet", str(tmp_path), "--json"]
    monkeypatch.setattr(sys, "argv", ["dreamlite", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    found = json.loads(capsys.readouterr().out)
    assert set(GROUPS) <= set(found) and found["prompts"] == 1
    assert 0 <= found["edit"]["overall"] <= 1 and found["edit"]["kept_db"] > 0
    assert set(found["edit"]) == {"overall", EDIT_KINDS[0], "kept_db"}
    assert {path.name for path in tmp_path.iterdir()} == {
        "generate.png",
        "generate-held-out.png",
        "edit.png",
        "edit-held-out.png",
    }


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ConfigError, match="--prompts 0: at least 1"):
        evaluate(reference_of(str(tiny_checkpoint()), 64), 0)


def test_a_sheet_shows_edits_beside_their_sources() -> None:
    asked = asked_of("edit", 5, SIDE)
    made = [Made(one.judge(np.asarray(one.source)), one.source, one.source) for one in asked]
    sheet = contact_sheet(made, columns=2)
    assert sheet.width == 4 * SIDE + GAP and sheet.height > 3 * SIDE
    assert np.array_equal(np.asarray(sheet)[:SIDE, :SIDE], np.asarray(asked[0].source))
    assert np.array_equal(np.asarray(sheet)[:SIDE, SIDE : 2 * SIDE], np.asarray(asked[0].source))


def test_words_are_wrapped() -> None:
    from PIL import Image, ImageDraw

    draw, text = ImageDraw.Draw(Image.new("RGB", (1, 1))), "a red circle left of a blue square"
    lines = wrapped(draw, text, 80).split("\n")
    assert len(lines) > 1 and " ".join(lines) == text
    assert all(draw.textlength(line) <= 80 for line in lines)
