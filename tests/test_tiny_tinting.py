"""Edits of things in colours and shapes without a name are still the same edits, and of no pair that is held out."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from dreamlite_mobile.tiny import tinting
from dreamlite_mobile.tiny.detect import closest, detect
from dreamlite_mobile.tiny.examples import EditExample, edit_example
from dreamlite_mobile.tiny.shapes import SHAPES, STRANGE, coverage, distance, strange_outline
from dreamlite_mobile.tiny.tinting import outlined, reshaped, tinted, two_toned
from dreamlite_mobile.tiny.world import COLOURS, EDIT_KINDS, EditKind, Sampler, Scene, Thing, held_out, render


def others(scene: Scene, index: int | None) -> list[object]:
    return [thing for place, thing in enumerate(scene.things) if place != index]


Change = Callable[[EditExample, Sampler], EditExample]


def drawn(kind: EditKind, change: Change = tinted) -> list[tuple[EditExample, EditExample]]:
    sampler = Sampler(np.random.default_rng(9))
    plain = [edit_example(sampler, kind) for _ in range(12)]
    return [(one, change(one, sampler)) for one in plain]


def halved(one: EditExample, sampler: Sampler) -> EditExample:
    return tinted(one, sampler, two_toned)


@pytest.mark.parametrize("kind", EDIT_KINDS)
@pytest.mark.parametrize("change", [tinted, reshaped, halved])
def test_what_an_edit_leaves_alone_is_the_same_before_and_after(kind: EditKind, change: Change) -> None:
    for plain, strange in drawn(kind, change):
        assert strange.instruction == plain.instruction
        assert others(strange.edit.before, strange.edit.target) == others(strange.edit.after, strange.edit.result)
        places = [(thing.x, thing.y, thing.half) for thing in plain.edit.after.things]
        assert places == [(thing.x, thing.y, thing.half) for thing in strange.edit.after.things]


@pytest.mark.parametrize("kind", EDIT_KINDS)
def test_shapes_become_strange_but_not_those_of_the_words(kind: EditKind) -> None:
    for plain, strange in drawn(kind, reshaped):
        edit, was = strange.edit, plain.edit
        if edit.target is not None:
            assert edit.before.things[edit.target] == was.before.things[edit.target]
        if edit.result is not None:
            assert edit.after.things[edit.result] == was.after.things[edit.result]
        kept = [thing for index, thing in enumerate(edit.before.things) if index != edit.target]
        assert all(thing.shape.startswith(STRANGE) for thing in kept)


def sees_held_out(scene: Scene) -> bool:
    things = detect(render(scene)).things
    return any(one.shape in SHAPES and one.colour in COLOURS and held_out(one.colour, one.shape) for one in things)


def test_no_strange_shape_looks_like_a_pair_that_is_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outlines of four and more corners in the colour that is held out for a diamond: some would pass for one."""
    held = next(colour for colour in COLOURS if held_out(colour, "diamond"))
    thing, backdrop = Thing("square", held, 0.5, 0.5, 0.2), Scene((), "grey")

    def looks() -> list[bool]:
        sampler = Sampler(np.random.default_rng(3))
        strange = [outlined(thing, backdrop, sampler) for _ in range(60)]
        return [sees_held_out(replace(backdrop, things=(one,))) for one in strange]

    assert not any(looks())
    monkeypatch.setattr(tinting, "held_out", lambda *_: False)
    assert any(looks())


def test_a_thing_of_two_colours_has_each_on_its_side_and_is_no_pair_that_is_held_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backdrop = Scene((), "grey")

    def painted() -> list[Thing]:
        sampler = Sampler(np.random.default_rng(4))
        return [two_toned(Thing(shape, "red", 0.5, 0.5, 0.2), backdrop, backdrop, sampler) for shape in SHAPES * 12]

    things = painted()
    assert not any(sees_held_out(replace(backdrop, things=(thing,))) for thing in things)
    near = 0
    for thing in things:
        assert thing.patch is not None
        near += held_out(closest(np.array(thing.patch.colour), COLOURS)[0], thing.shape)
        if thing.shape != "square":
            continue
        picture = render(replace(backdrop, things=(thing,))).astype(int)
        toward = 10 * np.array([np.sin(thing.patch.angle), np.cos(thing.patch.angle)])
        there, here = (np.round(63.5 + sign * toward).astype(int) for sign in (1, -1))
        np.testing.assert_allclose(picture[tuple(there)], thing.patch.colour, atol=1)
        np.testing.assert_allclose(picture[tuple(here)], np.add(COLOURS[thing.colour], thing.tint), atol=1)
    assert near >= 5
    monkeypatch.setattr(tinting, "looks_held_out", lambda *_: False)
    assert any(sees_held_out(replace(backdrop, things=(thing,))) for thing in painted())


def test_a_thing_of_two_colours_is_no_such_pair_on_another_background_either() -> None:
    """Of two halves the detector names the one that stands out more, which depends on the background."""
    sampler = Sampler(np.random.default_rng(2))
    after = [halved(edit_example(sampler, "background"), sampler).edit.after for _ in range(300)]
    alone = [replace(scene, things=(thing,)) for scene in after for thing in scene.things]
    assert sum(thing.patch is not None for scene in alone for thing in scene.things) > 400
    assert not any(map(sees_held_out, alone))


def test_a_strange_shape_fills_its_half_size_and_is_the_same_each_time() -> None:
    for number in range(20):
        corners = strange_outline(number)
        assert np.hypot(*corners.T).max() == pytest.approx(1) and 3 <= len(corners) <= 9
        assert distance(f"{STRANGE}{number}", *(1.02 * corners[:1]).T) > 0
        assert coverage(f"{STRANGE}{number}", 32, 32, 20, 64)[2].sum() > 20
        strange_outline.cache_clear()
        np.testing.assert_array_equal(corners, strange_outline(number))
    assert len({strange_outline(number).tobytes() for number in range(20)}) == 20


@pytest.mark.parametrize("kind", EDIT_KINDS)
def test_colours_become_strange_but_not_those_of_the_words(kind: EditKind) -> None:
    changed = 0
    for plain, strange in drawn(kind):
        for scenes in ((plain.edit.before, strange.edit.before), (plain.edit.after, strange.edit.after)):
            for was, thing in zip(scenes[0].things, scenes[1].things, strict=True):
                changed += was != thing
                assert was == thing or kind not in ("remove", "move") or was.colour not in plain.instruction.split()
                assert not held_out(thing.colour, thing.shape)
        if kind in ("recolour", "replace", "add"):
            assert plain.edit.result is not None
            assert strange.edit.after.things[plain.edit.result] == plain.edit.after.things[plain.edit.result]
    assert changed >= 6


def test_a_moved_thing_keeps_its_strange_colour() -> None:
    for _, strange in [*drawn("move"), *drawn("move", halved)]:
        edit = strange.edit
        assert edit.target is not None and edit.result is not None
        before, after = edit.before.things[edit.target], edit.after.things[edit.result]
        assert (before.colour, before.tint, before.patch) == (after.colour, after.tint, after.patch)
