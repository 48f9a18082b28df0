"""What the text tower is taught to read: the facts follow the ground truth, and a tower that reads is told apart."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stages import stage_of

from dreamlite_mobile.tiny import losses, pools, train
from dreamlite_mobile.tiny.examples import SCENE_KINDS, edit_example, example
from dreamlite_mobile.tiny.facts import ATTRIBUTES, CLOSING, caption_lesson, edit_lesson, labels
from dreamlite_mobile.tiny.models import Models, create
from dreamlite_mobile.tiny.pools import Pool, make_pool
from dreamlite_mobile.tiny.reading import grid_of, judge_reading, lessons_of, read
from dreamlite_mobile.tiny.wording import told_background
from dreamlite_mobile.tiny.world import EDIT_KINDS, Sampler, Thing

CPU = torch.device("cpu")
GRID = 6


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return create(tmp_path_factory.mktemp("reading") / "checkpoint", 0, CPU)


@pytest.mark.parametrize("kind", SCENE_KINDS)
@pytest.mark.parametrize("held", [False, True])
def test_facts_of_captions_are_the_scenes(kind: str, held: bool) -> None:
    sampler = Sampler(np.random.default_rng(3), held)
    for _ in range(40):
        one = example(sampler, kind)
        facts = caption_lesson(one).facts
        things = one.scene.things
        assert len(facts) == CLOSING
        assert [fact.get("shape") for fact in facts] == [thing.shape for thing in things] + [None] * (5 - len(things))
        if one.coloured:
            assert [fact.get("colour") for fact in facts[: len(things)]] == [thing.colour for thing in things]
        else:
            assert not any("colour" in fact for fact in facts)
        assert facts[-1].get("background") in {None, one.scene.background}
        assert facts[-1].get("background") == told_background(one.caption)
        assert ("count" in facts[-1]) == (kind == "counting")
        assert facts[0].get("relation") == one.relation


@pytest.mark.parametrize("kind", EDIT_KINDS)
def test_facts_of_edits_are_the_edits(kind: str) -> None:
    sampler = Sampler(np.random.default_rng(4))
    for _ in range(20):
        one = edit_example(sampler, kind)
        lesson, edit = edit_lesson(one, GRID), one.edit
        assert lesson.facts[-1] == {"kind": kind, "background": edit.after.background}
        assert ("shape" in lesson.facts[0]) == (edit.target is not None)
        assert ("shape" in lesson.facts[1]) == (edit.result is not None)
        if kind == "recolour":
            assert lesson.facts[0]["shape"] == lesson.facts[1]["shape"]
            assert lesson.facts[0]["colour"] != lesson.facts[1]["colour"]
        if edit.target is not None:
            assert lesson.things[0] == edit.before.things[edit.target]


def test_cells_show_what_stands_there() -> None:
    sampler = Sampler(np.random.default_rng(5))
    one = edit_example(sampler, "remove")
    cells = np.array(edit_lesson(one, GRID).cells).reshape(GRID, GRID)
    thing: Thing = one.edit.before.things[0]
    assert cells[int(thing.y * GRID), int(thing.x * GRID)]["colour"] == thing.colour
    shown = [cell for cell in cells.ravel() if "shape" in cell]
    assert 0 < len(shown) < GRID * GRID
    assert {cell["shape"] for cell in shown} <= {thing.shape for thing in one.edit.before.things}


def test_a_label_for_everything_and_one_for_nothing() -> None:
    found = labels([{"shape": "circle", "kind": "move"}, {}])
    assert found[1].tolist() == [len(values) for values in ATTRIBUTES.values()]
    assert found[0, 0] == 0
    assert found[0, -1] == EDIT_KINDS.index("move")


def test_the_closing_tokens_are_the_last_ones(models: Models) -> None:
    """Answers about a text do not depend on longer texts beside it, and do depend on its own words."""
    short, other, long = (caption_lesson(example(Sampler(np.random.default_rng(i)), "attribution")) for i in range(3))
    with torch.no_grad():
        alone = read(models, [short])[0].positions
        beside = read(models, [short, replace(long, text=long.text + " and much more of it")])[0].positions
        changed = read(models, [replace(short, text=other.text)])[0].positions
    assert torch.allclose(alone[0], beside[0], atol=1e-5)
    assert not torch.allclose(alone[0], changed[0], atol=1e-3)


def test_a_short_course_teaches_captions(tmp_path: Path, models: Models) -> None:
    """Half of what there is to learn in forty steps; the whole course ends above 99 %."""
    course = replace(stage_of("reading"), steps=40, edits=0.0)
    run = train.start(models, course, train.Options(tmp_path))
    train.train(run, train.Options(tmp_path, scored=12), train.reading_losses(run, 0), lambda _: {})
    first, last = np.mean(run.losses[:5]), np.mean(run.losses[-5:])
    assert last < 0.5 * first
    assert {"captions_seen", "edits_seen", "captions_held_out", "edits_held_out"} == judge_reading(models, 6).keys()


def test_a_tower_at_rest_is_asked_once(tmp_path: Path, models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    for network in models.networks().values():
        network.requires_grad_(False)
    monkeypatch.setattr(pools, "CHUNK", 2)
    pool: Pool = make_pool(models, True, 2, 0, tmp_path / "edits.pool")
    keys = [(1, False), (0, True), (1, False)]
    fresh = losses.read_rows(models, pool, keys)
    kept = losses.words_of(models, pool, keys)
    assert torch.equal(kept.mask, fresh.mask)
    shown = fresh.mask[..., None].bool()
    assert torch.allclose(kept.states * shown, fresh.states * shown, rtol=2e-3, atol=2e-3)
    assert not torch.allclose(kept.states[0], kept.states[1], atol=0.1)

    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(losses, "read_words", refuse)
    again = losses.words_of(models, pool, keys)
    assert torch.equal(again.states, kept.states)


def test_grid_of_the_embedded_tower(models: Models) -> None:
    lesson = lessons_of(Sampler(np.random.default_rng(0)), 1, True, grid_of(models))[0]
    assert len(lesson.cells) == models.config.vision.num_tokens
