"""Scenes that are wrong in one way: what a judge of pictures must refuse, to judge the judge."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from dreamlite_mobile.tiny.examples import EditExample, Example
from dreamlite_mobile.tiny.shapes import SHAPES
from dreamlite_mobile.tiny.wording import told_background
from dreamlite_mobile.tiny.world import (
    COLOURS,
    PLACES,
    SIZES,
    CrowdedError,
    Sampler,
    Scene,
    changed,
    stands_out,
    with_thing,
    without,
)

FAR = 0.2
"""A thing in a wrong place is at least this far from the right one, in picture sides."""


class NoSuchError(ValueError):
    """This example cannot be wrong in this way."""


def wrong_scene(one: Example, how: str, sampler: Sampler) -> Scene | None:
    """A scene that the caption does not tell, for a reason of `WRONG`; None where it cannot be wrong that way."""
    try:
        return WRONG[how](one, sampler)
    except (CrowdedError, NoSuchError):
        return None


def wrong_edit(one: EditExample, how: str, sampler: Sampler) -> Scene | None:
    """A scene that the edit does not lead to, for a reason of `WRONG_EDIT`; None where it cannot be wrong that way."""
    try:
        return WRONG_EDIT[how](one, sampler)
    except (CrowdedError, NoSuchError):
        return None


def any_of(scene: Scene, sampler: Sampler) -> int:
    return int(sampler.random.integers(len(scene.things)))


def recoloured(scene: Scene, index: int, sampler: Sampler, but: str = "") -> Scene:
    """One thing in another colour that can be seen there, and not in `but`."""
    thing = scene.things[index]
    free = [name for name in COLOURS if name not in (thing.colour, but) and stands_out(name, scene.background)]
    return changed(scene, index, replace(thing, colour=sampler.one(free)))


def reshaped(scene: Scene, index: int, sampler: Sampler, but: str = "") -> Scene:
    thing = scene.things[index]
    return changed(
        scene, index, replace(thing, shape=sampler.one([one for one in SHAPES if one not in (thing.shape, but)]))
    )


def moved(scene: Scene, index: int, sampler: Sampler) -> Scene:
    """One thing in another free place, far from where it was."""
    thing = scene.things[index]
    for _ in range(40):
        put = sampler.anywhere(without(scene, index), thing.colour, thing.shape, thing.half)
        if max(abs(put.x - thing.x), abs(put.y - thing.y)) > FAR:
            return changed(scene, index, replace(thing, x=put.x, y=put.y))
    raise CrowdedError


def joined(scene: Scene, colour: str, shape: str, sampler: Sampler) -> Scene:
    """One small thing more."""
    return with_thing(scene, sampler.anywhere(scene, colour, shape, SIZES["small"][0]))


def _colour(one: Example, sampler: Sampler) -> Scene:
    if not one.coloured:
        raise NoSuchError
    return recoloured(one.scene, any_of(one.scene, sampler), sampler)


def _attribution(one: Example, _: Sampler) -> Scene:
    """Two things with each other's colours."""
    if not one.coloured or len(one.scene.things) < 2 or one.kind == "counting":
        raise NoSuchError
    first, second, *rest = one.scene.things
    swapped = (replace(first, colour=second.colour), replace(second, colour=first.colour), *rest)
    return replace(one.scene, things=swapped)


def _place(one: Example, sampler: Sampler) -> Scene:
    """Against a relation: two things changed about. Against a named place: far from it."""
    if one.relation is not None:
        first, second = one.scene.things
        return replace(
            one.scene, things=(replace(first, x=second.x, y=second.y), replace(second, x=first.x, y=first.y))
        )
    named = next((spot for name, spot in PLACES.items() if one.kind == "colours" and name in one.caption), None)
    if named is None:
        raise NoSuchError
    scene = one.scene
    at = changed(scene, 0, replace(scene.things[0], x=named[0], y=named[1]))
    return moved(at, 0, sampler)


def _background(one: Example, sampler: Sampler) -> Scene:
    if told_background(one.caption) is None:
        raise NoSuchError
    return sampler.rebacked(one.scene)


def _other(one: EditExample, sampler: Sampler) -> int:
    """Of the changed scene, a thing that was not to change."""
    others = [index for index in range(len(one.edit.after.things)) if index != one.edit.result]
    if not others:
        raise NoSuchError
    return others[int(sampler.random.integers(len(others)))]


def _result(one: EditExample) -> int:
    if one.edit.result is None:
        raise NoSuchError
    return one.edit.result


def _was(one: EditExample, what: str) -> str:
    """What the changed thing's colour or shape was, if it was there."""
    target = one.edit.target
    return "" if target is None else str(getattr(one.edit.before.things[target], what))


def _other_target(one: EditExample, sampler: Sampler) -> Scene:
    """The change was made, but to another thing."""
    before, target = one.edit.before, one.edit.target
    others = [index for index in range(len(before.things)) if index != target]
    if one.edit.kind not in ("recolour", "replace", "remove") or not others:
        raise NoSuchError
    index = others[int(sampler.random.integers(len(others)))]
    if one.edit.kind == "remove":
        return without(before, index)
    made = one.edit.after.things[_result(one)]
    shape = made.shape if one.edit.kind == "replace" else before.things[index].shape
    return changed(before, index, replace(before.things[index], colour=made.colour, shape=shape))


WRONG: Mapping[str, Callable[[Example, Sampler], Scene]] = {
    "colour": _colour,
    "attribution": _attribution,
    "shape": lambda one, sampler: reshaped(one.scene, any_of(one.scene, sampler), sampler),
    "count": lambda one, sampler: joined(one.scene, one.scene.things[0].colour, one.scene.things[0].shape, sampler),
    "place": _place,
    "background": _background,
    "missing": lambda one, sampler: without(one.scene, any_of(one.scene, sampler)),
    "extra": lambda one, sampler: joined(one.scene, *sampler.pair(one.scene.background), sampler),
}
WRONG_EDIT: Mapping[str, Callable[[EditExample, Sampler], Scene]] = {
    "not made": lambda one, _: one.edit.before,
    "colour": lambda one, sampler: recoloured(one.edit.after, _result(one), sampler, _was(one, "colour")),
    "shape": lambda one, sampler: reshaped(one.edit.after, _result(one), sampler, _was(one, "shape")),
    "place": lambda one, sampler: moved(one.edit.after, _result(one), sampler),
    "another thing": _other_target,
    "background": lambda one, sampler: sampler.rebacked(one.edit.after),
    "missing": lambda one, sampler: without(one.edit.after, _other(one, sampler)),
    "extra": lambda one, sampler: joined(one.edit.after, *sampler.pair(one.edit.after.background), sampler),
    "other colour": lambda one, sampler: recoloured(one.edit.after, _other(one, sampler), sampler),
    "other shape": lambda one, sampler: reshaped(one.edit.after, _other(one, sampler), sampler),
    "other place": lambda one, sampler: moved(one.edit.after, _other(one, sampler), sampler),
}
