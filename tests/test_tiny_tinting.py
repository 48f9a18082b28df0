"""Edits of things in colours without a name are still the same edits, and of no pair that is held out."""

import numpy as np
import pytest

from dreamlite_mobile.tiny.examples import EditExample, edit_example
from dreamlite_mobile.tiny.tinting import tinted
from dreamlite_mobile.tiny.world import EDIT_KINDS, EditKind, Sampler, Scene, held_out


def others(scene: Scene, index: int | None) -> list[object]:
    return [thing for place, thing in enumerate(scene.things) if place != index]


def drawn(kind: EditKind) -> list[tuple[EditExample, EditExample]]:
    sampler = Sampler(np.random.default_rng(9))
    plain = [edit_example(sampler, kind) for _ in range(12)]
    return [(one, tinted(one, sampler)) for one in plain]


@pytest.mark.parametrize("kind", EDIT_KINDS)
def test_what_an_edit_leaves_alone_is_the_same_before_and_after(kind: EditKind) -> None:
    for plain, strange in drawn(kind):
        assert strange.instruction == plain.instruction
        assert others(strange.edit.before, strange.edit.target) == others(strange.edit.after, strange.edit.result)
        places = [(thing.shape, thing.x, thing.y, thing.half) for thing in plain.edit.after.things]
        assert places == [(thing.shape, thing.x, thing.y, thing.half) for thing in strange.edit.after.things]


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
    for _, strange in drawn("move"):
        edit = strange.edit
        assert edit.target is not None and edit.result is not None
        before, after = edit.before.things[edit.target], edit.after.things[edit.result]
        assert (before.colour, before.tint) == (after.colour, after.tint)
