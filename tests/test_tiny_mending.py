"""Mended pictures are right, keep what was right already, and are where the student's paths lead."""

import copy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stages import stage_of
from wrong_examples import DRAWN, wrong_edits, wrong_scenes

from dreamlite_mobile.tiny import own_paths, paths, train
from dreamlite_mobile.tiny.completing import near_background
from dreamlite_mobile.tiny.detect import detect
from dreamlite_mobile.tiny.examples import SCENE_KINDS, Example, SceneKind, edit_example, example
from dreamlite_mobile.tiny.mending import mended_edit, mended_scene
from dreamlite_mobile.tiny.models import Models, Words, create, encode, read_words
from dreamlite_mobile.tiny.paths import Paths
from dreamlite_mobile.tiny.score import Judged, edits, judge_edited, judge_generated, prompts, stands
from dreamlite_mobile.tiny.wording import told_background
from dreamlite_mobile.tiny.world import BACKGROUNDS, EditKind, Sampler, Scene, Thing, changed, render, stands_out
from dreamlite_mobile.tiny.wrong import WRONG, WRONG_EDIT

NEAR = 0.02
"""How far a thing that is kept may move, and its half-width change, in picture sides: a detector counts pixels."""
COPY_BATCH = 3


@pytest.mark.parametrize("how", WRONG)
def test_a_wrong_picture_is_mended(how: str) -> None:
    sampler = Sampler(np.random.default_rng(4))
    mended = [(one, render(mended_scene(one, render(scene)))) for one, scene in wrong_scenes(how, sampler)]
    assert not [one.caption for one, picture in mended if not judge_generated(one, picture).right]


@pytest.mark.parametrize("how", WRONG_EDIT)
def test_a_wrong_edit_is_mended(how: str) -> None:
    mended = [(one, render(mended_edit(one, render(scene)))) for one, scene in wrong_edits(how, seed=5)]
    assert not [one.instruction for one, picture in mended if not judge_edited(one, picture).right]


def test_a_right_picture_is_kept() -> None:
    """Every thing where it stands, as large as it is, on the same background."""
    sampler = Sampler(np.random.default_rng(6))
    for index in range(24):
        one = example(sampler, SCENE_KINDS[index % len(SCENE_KINDS)])
        mended = mended_scene(one, render(one.scene))
        assert mended.background == one.scene.background
        for thing in one.scene.things:
            near = [other for other in mended.things if (other.shape, other.colour) == (thing.shape, thing.colour)]
            distances = [max(abs(a.x - thing.x), abs(a.y - thing.y), abs(a.half - thing.half)) for a in near]
            assert min(distances) < NEAR, (one.caption, thing, near)


def test_only_what_is_wrong_changes() -> None:
    """Of two things that are asked for, one is drawn in another shape."""
    one = next(one for one in prompts(DRAWN) if one.kind == "attribution" and len(one.scene.things) == 2)
    first, second = one.scene.things
    shape = "square" if first.shape != "square" else "circle"
    things = (Thing(shape, first.colour, 0.3, 0.3, 0.15), Thing(second.shape, second.colour, 0.7, 0.65, 0.15))
    mended = mended_scene(one, render(Scene(things, one.scene.background)))
    seen = detect(render(mended))
    assert len(seen.things) == 2
    assert stands(Thing(first.shape, first.colour, 0.3, 0.3, 0.15), seen, 0.03)
    assert stands(Thing(second.shape, second.colour, 0.7, 0.65, 0.15), seen, 0.03)


@pytest.mark.parametrize("kind", SCENE_KINDS)
@pytest.mark.parametrize("drawn", [0, 1])
def test_what_was_not_drawn_comes_the_same_way_each_time(kind: SceneKind, drawn: int) -> None:
    """Two examples of one caption, whose own scenes differ: what is mended depends on the picture alone."""
    sampler = Sampler(np.random.default_rng(9))
    for _ in range(12):
        one = example(sampler, kind)
        things = one.scene.things[: drawn if len(one.scene.things) > 1 else 0]
        background = one.scene.background if told_background(one.caption) or one.coloured else "grey"
        picture = render(Scene(things, background))
        moved = tuple(replace(thing, x=1 - thing.x, half=0.12) for thing in one.scene.things)
        other = replace(one, scene=replace(one.scene, things=moved))
        mended = mended_scene(one, picture)
        assert mended == mended_scene(other, picture)
        assert judge_generated(one, render(mended)).right


def test_a_background_that_hides_a_thing_gives_way_to_the_nearest_that_does_not() -> None:
    """Where the caption leaves it open."""
    sampler = Sampler(np.random.default_rng(10))
    drawn = [
        one for one in (example(sampler, "attribution") for _ in range(40)) if told_background(one.caption) is None
    ]
    hidden = [(one, name) for one in drawn for name in BACKGROUNDS if not is_seen(one, name)]
    assert len(hidden) >= 12
    for one, name in hidden:
        mended = mended_scene(one, render(Scene((), name)))
        assert mended.background == near_background(np.array(BACKGROUNDS[name]), colours_of(one)) != name
        assert is_seen(one, mended.background) and judge_generated(one, render(mended)).right


def is_seen(one: Example, background: str) -> bool:
    return all(stands_out(colour, background) for colour in colours_of(one))


def colours_of(one: Example) -> list[str]:
    return [thing.colour for thing in one.scene.things]


@pytest.mark.parametrize("kind", ["add", "move"])
def test_what_an_edit_brings_and_was_not_drawn_comes_the_same_way_each_time(kind: EditKind) -> None:
    """Two edits of one scene and instruction, whose own results differ; only where no size has room do they count."""
    sampler = Sampler(np.random.default_rng(11))
    without_room = 0
    for _ in range(40):
        one = edit_example(sampler, kind)
        index, after = one.edit.result, one.edit.after
        assert index is not None
        thing = after.things[index]
        aside = replace(thing, x=thing.x + (0.01 if thing.x < 0.5 else -0.01))
        other = replace(one, edit=replace(one.edit, after=changed(after, index, aside)))
        empty = render(Scene((), one.edit.before.background))
        mended = mended_edit(one, empty)
        assert judge_edited(one, render(mended)).right
        same = mended.things[index].x == mended_edit(other, empty).things[index].x
        without_room += not same
    assert without_room <= 8


def test_what_an_edit_adds_stays_where_it_was_drawn() -> None:
    one = next(one for one in edits(DRAWN) if one.edit.kind == "add")
    assert one.edit.result is not None
    added = one.edit.after.things[one.edit.result]
    moved = Thing(added.shape, added.colour, added.x + 0.03 * (1 if added.x < 0.5 else -1), added.y, added.half)
    drawn = Scene((*one.edit.before.things, moved), one.edit.before.background)
    mended = mended_edit(one, render(drawn)).things[one.edit.result]
    assert abs(mended.x - moved.x) < 0.01 and abs(mended.half - moved.half) < 0.01
    assert mended.tint == (0, 0, 0)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return create(tmp_path_factory.mktemp("mended") / "checkpoint", 0, torch.device("cpu"))


def still(models: Models) -> Any:
    """A student that leaves every noise as it is."""
    stay = copy.deepcopy(models.unet)
    for parameter in stay.conv_out.parameters():
        parameter.data.zero_()
    return stay


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_path_is_bent_to_the_mended_picture(models: Models, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A student that stays where it is: its path becomes the straight line from the noise to the right picture."""
    stay = still(models)
    drawn = []

    def watched(scene: Scene) -> np.ndarray:
        drawn.append(render(scene))
        return drawn[-1]

    monkeypatch.setattr(own_paths, "render", watched)
    sampler = Sampler(np.random.default_rng(8))
    wanted = own_paths.wanted_edits(sampler, 2, strange=False) if share else own_paths.wanted_scenes(sampler, 2)
    found = own_paths.mended_path(models, stay, wanted, 2, own_paths.bent)
    noise, right = found.points[0], encode(models.vae, np.stack(drawn[-2:]))
    assert noise.std() == pytest.approx(1, abs=0.15)
    for point, sigma in zip(found.points, found.sigmas, strict=True):
        torch.testing.assert_close(point, float(sigma) * noise + float(1 - sigma) * right, atol=1e-5, rtol=1e-5)
    sources = encode(models.vae, np.stack(drawn[:2])) if share else torch.zeros_like(noise)
    torch.testing.assert_close(found.condition, sources)
    assert found.layouts is not None and found.layouts.shape == (2, 3, *noise.shape[2:])


def test_each_step_is_steered_from_where_the_student_stands() -> None:
    """A path that went astray: its points stay, and each step's end is moved by its share of what was missed."""
    sigmas = np.array([1.0, 0.75, 0.5, 0.0])
    points = [torch.full((2, 4, 1, 1), value) for value in (0.0, 1.0, 5.0, 2.0)]
    missed = torch.tensor([-2.0, 4.0]).reshape(2, 1, 1, 1).expand(2, 4, 1, 1)
    words = Words(torch.zeros(2, 1, 1), torch.ones(2, 1))
    found = own_paths.steered(Paths(points, points[0], words, sigmas), missed)
    assert found.points is points and found.ends is not None
    for end, after, share in zip(found.ends, points[1:], (1 / 4, 1 / 3, 1.0), strict=True):
        torch.testing.assert_close(end, after + share * missed)
    first = own_paths.rows_of(found, torch.tensor([1]))
    assert first.ends is not None
    torch.testing.assert_close(first.ends[-1], torch.full((1, 4, 1, 1), 6.0))


@pytest.mark.parametrize("named", [False, True])
def test_a_student_that_follows_what_it_is_told_has_no_loss(
    models: Models, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    """Told by the next point, or by the step's own end: what it is off from that is weighed by sigma."""
    wanted = own_paths.wanted_edits(Sampler(np.random.default_rng(8)), 2, strange=not named)
    told = own_paths.mended_path(models, still(models), wanted, 2, own_paths.steered, named=named)
    assert told.ends is not None and (told.layouts is not None) == named
    told = replace(told, points=[index + point for index, point in enumerate(told.points)])
    monkeypatch.setattr(models.drafts, "forward", lambda *_: torch.tensor(0.0))
    for index, (now, then) in enumerate(pairwise(map(float, told.sigmas))):
        towards = {"end": told.ends[index], "next": told.points[index + 1]}
        for target, (paths_told, weight) in {"end": (told, now), "next": (replace(told, ends=None), 1.0)}.items():
            speed = (towards[target] - told.points[index]) / (then - now)
            for off in (0.0, 2.0):
                monkeypatch.setattr(paths, "velocity", lambda *_, found=speed + off: found)
                loss = paths.path_loss(models, paths_told, index, settled=True)
                assert float(loss) == pytest.approx(off**2 * weight, abs=1e-9)


def test_of_more_than_are_learnt_from_half_are_those_that_missed_most() -> None:
    missed = torch.tensor([0.1, 3.0, 0.2, -4.0, 0.3, 0.4, 5.0, 0.5])[:, None]
    drawn = [own_paths.worst_and_others(missed, 4).tolist() for _ in range(20)]
    assert all(len({*rows}) == 4 and {3, 6} <= {*rows} and rows == sorted(rows) for rows in drawn)
    assert {row for rows in drawn for row in rows} == {*range(8)}
    assert own_paths.worst_and_others(missed, 8).tolist() == [*range(8)]


@pytest.mark.parametrize("right", [(1, 4), ()])
def test_prompts_are_held_by_what_was_drawn_right_before(
    models: Models, right: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is bent: of a student that stays where it is, the noise. Where nothing is right, all of it is held."""
    judged = iter(range(2 * COPY_BATCH))
    monkeypatch.setattr(own_paths, "judge_generated", lambda *_: Judged("two", "", next(judged) in right))
    sampler, before = Sampler(np.random.default_rng(8)), still(models)
    captions = [one.caption for one in own_paths.scenes_of(Sampler(np.random.default_rng(8)), 2 * COPY_BATCH)]
    found = own_paths.held_path(models, before, sampler, replace(stage_of("copy"), batch=COPY_BATCH))
    kept = right or tuple(range(COPY_BATCH))
    words = read_words(models, captions)
    torch.testing.assert_close(found.words.states, words.states[list(kept)])
    assert found.layouts is None and all(len(point) == len(kept) for point in found.points)
    for point in found.points[1:]:
        torch.testing.assert_close(point, found.points[0])


@pytest.mark.parametrize(("name", "taken"), [("mend", 0.5), ("steer", 0.5)])
def test_a_stage_goes_part_of_the_way(models: Models, tmp_path: Path, name: str, taken: float) -> None:
    run = train.start(models, stage_of(name), train.Options(tmp_path))
    before = run.begun["unet"].conv_out.bias.detach().clone()
    run.average["unet"].conv_out.bias.data.add_(1.0)
    torch.testing.assert_close(train.averaged(run).unet.conv_out.bias.detach(), before + taken)
    torch.testing.assert_close(run.average["unet"].conv_out.bias.detach(), before + 1.0)


@pytest.mark.parametrize("name", ["mend", "steer"])
def test_the_maker_goes_on_with_newer_weights(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    options = train.Options(tmp_path)
    run = train.start(models, replace(stage_of(name), batch=1), options)
    asked = []

    def watched(_: Models, student: Any, wanted: Any, **named: Any) -> Paths:
        asked.append(student.conv_out.bias.detach().mean().item())
        assert (len(wanted), named["count"]) == ({"mend": 1, "steer": 2}[name], 1)
        assert named["move"] is {"mend": own_paths.bent, "steer": own_paths.steered}[name]
        return mended_path(models, student, wanted, **named)

    mended_path = own_paths.mended_path
    monkeypatch.setattr(own_paths, "mended_path", watched)
    maker = own_paths.mended_paths(run, tmp_path / f"{name}.state", (0, 0))
    next(maker)
    run.average["unet"].conv_out.bias.data.fill_(1.0)
    train.keep(run, options)
    next(maker)
    assert asked[0] != 1.0 and asked[1] == 1.0
