"""The embedded world and its detector: ground truth must be read back, wrong scenes must be refused."""

from collections import Counter

import numpy as np
import pytest

from dreamlite_mobile.tiny.detect import UNKNOWN, detect
from dreamlite_mobile.tiny.examples import SCENE_KINDS, edit_example, example
from dreamlite_mobile.tiny.score import (
    PERFECT_DB,
    edits,
    judge_edited,
    judge_generated,
    kept_db,
    prompts,
    score,
)
from dreamlite_mobile.tiny.shapes import SHAPES
from dreamlite_mobile.tiny.world import (
    BACKGROUNDS,
    COLOURS,
    EDIT_KINDS,
    Sampler,
    Scene,
    Thing,
    held_out,
    pairs,
    render,
    touch,
)


def sampler(seed: int = 0, held: bool = False) -> Sampler:
    return Sampler(np.random.default_rng(seed), held)


@pytest.mark.parametrize("held", [False, True])
def test_rendered_truth_is_judged_right(held: bool) -> None:
    """At least 99 % of every kind, and of all."""
    judged = [judge_generated(asked, render(asked.scene)) for asked in prompts(600, held)]
    assert min(score(judged).by_kind.values()) >= 0.98, [one for one in judged if not one.right]
    assert score(judged).overall >= 0.99


@pytest.mark.parametrize("held", [False, True])
def test_true_edits_are_judged_right_and_kept(held: bool) -> None:
    judged = [judge_edited(asked, render(asked.edit.after)) for asked in edits(300, held)]
    assert score(judged).overall >= 0.99, [one for one in judged if not one.right]
    assert score(judged).kept_db == pytest.approx(PERFECT_DB, abs=1.0)


def test_another_scene_of_the_same_kind_is_judged_wrong() -> None:
    """A model that paints something else of the world gets next to nothing; an uncoloured prompt is met by chance."""
    asked = prompts(600)
    judged = [
        judge_generated(one, render(other.scene)) for one, other in zip(asked, asked[6:] + asked[:6], strict=True)
    ]
    by_kind = score(judged).by_kind
    assert by_kind["single"] <= 0.25
    assert max(value for kind, value in by_kind.items() if kind != "single") <= 0.06


def test_noise_grey_and_smears_are_judged_wrong() -> None:
    random = np.random.default_rng(0)
    pictures = [
        random.integers(0, 256, (128, 128, 3)).astype(np.uint8),
        np.full((128, 128, 3), 128, np.uint8),
        np.tile(np.linspace(0, 255, 128).astype(np.uint8)[:, None, None], (1, 128, 3)),
    ]
    assert not any(judge_generated(asked, picture).right for asked in prompts(60) for picture in pictures)


def test_the_detector_reads_every_colour_shape_and_background() -> None:
    for background in BACKGROUNDS:
        for colour in COLOURS:
            if colour == background:
                continue
            for shape in SHAPES:
                seen = detect(render(Scene((Thing(shape, colour, 0.4, 0.55, 0.12),), background)))
                assert seen.background == background
                assert [(one.shape, one.colour) for one in seen.things] == [(shape, colour)], (background, colour)
                assert abs(seen.things[0].x - 0.4) < 0.02 and abs(seen.things[0].y - 0.55) < 0.04


def test_the_detector_is_the_same_at_other_sizes() -> None:
    right = [judge_generated(one, render(one.scene, 256)).right for one in prompts(120)]
    assert np.mean(right) >= 0.98


def test_what_the_world_does_not_know_is_unknown() -> None:
    picture = np.full((128, 128, 3), 236, np.uint8)
    picture[60:63, 20:100] = (0, 200, 200)
    (bar,) = detect(picture).things
    assert bar.colour == UNKNOWN


def test_the_kept_region_is_measured_outside_the_change() -> None:
    asked = next(one for one in edits(60) if one.edit.kind == "recolour")
    after = render(asked.edit.after)
    assert kept_db(asked.edit, after) >= 45
    spoilt = after.copy()
    spoilt[-4:] = 255 - spoilt[-4:]
    assert kept_db(asked.edit, spoilt) < 25
    assert judge_edited(asked, after).right


def test_held_out_pairs_are_one_in_eight_and_never_drawn_in_training() -> None:
    held = pairs(True)
    assert len(held) == 8 and len({colour for colour, _ in held}) == 8 and len({shape for _, shape in held}) == 8
    drawn = [
        (thing.colour, thing.shape)
        for seed in range(120)
        for kind in SCENE_KINDS
        for thing in example(sampler(seed), kind).scene.things
    ]
    assert not set(drawn) & set(held)
    assert len(set(drawn)) == 56
    fresh = [thing for kind in SCENE_KINDS for thing in example(sampler(1, held=True), kind).scene.things]
    assert all(held_out(thing.colour, thing.shape) for thing in fresh)


def test_edits_of_training_never_make_a_held_out_pair() -> None:
    made = [edit_example(sampler(seed), kind).edit for seed in range(60) for kind in EDIT_KINDS]
    things = [thing for edit in made for scene in (edit.before, edit.after) for thing in scene.things]
    assert not {(thing.colour, thing.shape) for thing in things} & set(pairs(True))


def test_one_seed_gives_one_scene_and_no_picture_comes_twice() -> None:
    one, same, other = (example(sampler(seed), "attribution") for seed in (5, 5, 6))
    assert one == same != other
    seen = [render(example(draw, kind).scene).tobytes() for draw in (sampler(9),) for kind in SCENE_KINDS * 30]
    assert len(set(seen)) == len(seen)


def test_things_never_touch_each_other_or_the_edge() -> None:
    draw = sampler(3)
    for kind in SCENE_KINDS * 20:
        things = example(draw, kind).scene.things
        assert not any(touch(one, other) for at, one in enumerate(things) for other in things[:at])
        assert all(thing.half <= min(thing.x, thing.y, 1 - thing.x, 1 - thing.y) for thing in things)


def test_instructions_name_what_changes() -> None:
    draw = sampler(4)
    for kind in EDIT_KINDS * 20:
        asked = edit_example(draw, kind)
        edit = asked.edit
        if edit.target is not None:
            shape = edit.before.things[edit.target].shape
            assert shape in asked.instruction
            assert Counter(thing.shape for thing in edit.before.things)[shape] == 1
        if kind in ("recolour", "replace", "add"):
            assert edit.result is not None and edit.after.things[edit.result].colour in asked.instruction
