"""Training and test examples of the embedded world: scenes with captions, edits with instructions.

The kinds of scene are GenEval's (Ghosh et al. 2023): one object, two objects, counting, colours, position, colour
attribution. The kinds of edit are those of ImgEdit (2025) that a world of shapes has.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from dreamlite_mobile.tiny.wording import COUNTS, counted, instruction, listed, related, with_backdrop
from dreamlite_mobile.tiny.world import (
    COLOURS,
    EDIT_KINDS,
    PLACES,
    RELATIONS,
    CrowdedError,
    Edit,
    EditKind,
    Sampler,
    Scene,
    changed,
    held_out,
    stands_out,
    touch,
    with_thing,
    without,
)

SceneKind = Literal["single", "two", "counting", "colours", "position", "attribution"]
SCENE_KINDS: tuple[SceneKind, ...] = ("single", "two", "counting", "colours", "position", "attribution")


@dataclass(frozen=True, slots=True)
class Example:
    """A scene, what is said of it, and for positions how its first thing stands to its second.

    `coloured`: whether the caption tells colours.
    """

    kind: SceneKind
    scene: Scene
    caption: str
    relation: str | None = None
    coloured: bool = True


@dataclass(frozen=True, slots=True)
class EditExample:
    """An edit and its instruction."""

    edit: Edit
    instruction: str


def example(sampler: Sampler, kind: SceneKind) -> Example:
    """One scene of a kind, with its caption."""
    while True:
        try:
            return _SCENES[kind](sampler)
        except CrowdedError:
            continue


def edit_example(sampler: Sampler, kind: EditKind) -> EditExample:
    """One edit of a kind, with its instruction."""
    while True:
        try:
            edit = _EDITS[kind](sampler)
            return EditExample(edit, instruction(edit, sampler.random))
        except CrowdedError:
            continue


def examples(sampler: Sampler, count: int, first: int = 0) -> list[Example]:
    """The kinds in turns, from the `first` on."""
    return [example(sampler, SCENE_KINDS[(first + index) % len(SCENE_KINDS)]) for index in range(count)]


def edit_examples(sampler: Sampler, count: int, first: int = 0) -> list[EditExample]:
    """The kinds in turns, from the `first` on."""
    return [edit_example(sampler, EDIT_KINDS[(first + index) % len(EDIT_KINDS)]) for index in range(count)]


def _few(sampler: Sampler, count: int, different: bool = True) -> Scene:
    """Things that differ in colour and in shape, from left to right.

    Captions list them in this order. It is a convention that people share, and it spares the U-Net a choice that no
    word decides: which of two places is for which of two things.
    """
    scene = sampler.backdrop()
    kinds: list[tuple[str, str]] = []
    while len(kinds) < count:
        colour, shape = sampler.pair(scene.background)
        if not different or all(colour != other[0] and shape != other[1] for other in kinds):
            kinds.append((colour, shape))
    scene = sampler.scattered(scene, kinds, [sampler.half() for _ in kinds])
    return replace(scene, things=tuple(sorted(scene.things, key=lambda thing: thing.x)))


def _single(sampler: Sampler) -> Example:
    scene = _few(sampler, 1)
    words = listed(scene, sampler.random, coloured=False)
    return Example("single", scene, with_backdrop(words, scene, sampler.random), coloured=False)


def _colours(sampler: Sampler) -> Example:
    """One thing with its colour; half of the time with its place."""
    backdrop = sampler.backdrop()
    colour, shape = sampler.pair(backdrop.background)
    half = sampler.half()
    if sampler.random.random() < 0.5:
        scene = with_thing(backdrop, sampler.anywhere(backdrop, colour, shape, half))
        words = listed(scene, sampler.random)
    else:
        place = sampler.one(list(PLACES))
        scene = with_thing(backdrop, sampler.thing(colour, shape, half, PLACES[place]))
        words = f"{listed(scene, sampler.random)} {place}"
    return Example("colours", scene, with_backdrop(words, scene, sampler.random))


def _two(sampler: Sampler) -> Example:
    scene = _few(sampler, 2)
    words = listed(scene, sampler.random, coloured=False)
    return Example("two", scene, with_backdrop(words, scene, sampler.random), coloured=False)


def _attribution(sampler: Sampler) -> Example:
    scene = _few(sampler, 3 if sampler.random.random() < 0.2 else 2)
    return Example("attribution", scene, with_backdrop(listed(scene, sampler.random), scene, sampler.random))


def _counting(sampler: Sampler) -> Example:
    backdrop = sampler.backdrop()
    kind = sampler.pair(backdrop.background)
    count = int(sampler.random.integers(1, len(COUNTS) + 1))
    half = sampler.random.uniform(0.11, 0.16 if count > 2 else 0.2)
    halves = [float(half * sampler.random.uniform(0.95, 1.05)) for _ in range(count)]
    scene = sampler.scattered(backdrop, [kind] * count, halves)
    return Example("counting", scene, with_backdrop(counted(scene), scene, sampler.random))


def _position(sampler: Sampler) -> Example:
    backdrop = sampler.backdrop()
    first = sampler.pair(backdrop.background)
    second = sampler.pair(backdrop.background, other_than=[first])
    if first[0] == second[0] or first[1] == second[1]:
        raise CrowdedError
    relation = sampler.one(list(RELATIONS))
    scene = sampler.related(backdrop, [first, second], relation)
    words = related(scene, relation, sampler.random)
    return Example("position", scene, with_backdrop(words, scene, sampler.random), relation)


_SCENES: Mapping[SceneKind, Callable[[Sampler], Example]] = {
    "single": _single,
    "two": _two,
    "counting": _counting,
    "colours": _colours,
    "position": _position,
    "attribution": _attribution,
}


def _before(sampler: Sampler, least: int = 1) -> tuple[Scene, int]:
    """A scene of different things and the index of one of them."""
    scene = _few(sampler, int(sampler.random.integers(least, 4)))
    return scene, int(sampler.random.integers(len(scene.things)))


def _recolour(sampler: Sampler) -> Edit:
    """To a colour nothing else has; with held-out pairs drawn, to the one that makes such a pair."""
    scene, index = _before(sampler)
    thing = scene.things[index]
    taken = {other.colour for other in scene.things}
    seen = [colour for colour in COLOURS if stands_out(colour, scene.background) and colour not in taken]
    free = [colour for colour in seen if not held_out(colour, thing.shape)]
    other = changed(scene, index, replace(thing, colour=sampler.one(free), tint=sampler.tint(9)))
    before, after = (other, scene) if sampler.held else (scene, other)
    return Edit("recolour", before, after, index, index)


def _remove(sampler: Sampler) -> Edit:
    scene, index = _before(sampler, least=2)
    return Edit("remove", scene, without(scene, index), index)


def _replace(sampler: Sampler) -> Edit:
    scene, index = _before(sampler)
    thing = scene.things[index]
    colour, shape = sampler.pair(scene.background)
    if colour == thing.colour or any(shape == other.shape for other in scene.things):
        raise CrowdedError
    after = changed(scene, index, replace(thing, colour=colour, shape=shape, tint=sampler.tint(9)))
    return Edit("replace", scene, after, index, index)


def _add(sampler: Sampler) -> Edit:
    """Something new at a named place that is free."""
    scene = _few(sampler, int(sampler.random.integers(1, 3)))
    colour, shape = sampler.pair(scene.background)
    place = sampler.one(list(PLACES))
    thing = sampler.thing(colour, shape, float(sampler.random.uniform(0.1, 0.17)), PLACES[place])
    if any(touch(thing, other) or shape == other.shape for other in scene.things):
        raise CrowdedError
    return Edit("add", scene, with_thing(scene, thing), None, len(scene.things), place)


def _move(sampler: Sampler) -> Edit:
    """One thing to a named place that is free and not where it stands."""
    scene, index = _before(sampler)
    thing, place = scene.things[index], sampler.one(list(PLACES))
    x, y = PLACES[place]
    moved = replace(sampler.thing(thing.colour, thing.shape, thing.half, (x, y), 0.02), tint=thing.tint)
    if abs(moved.x - thing.x) + abs(moved.y - thing.y) < 0.3:
        raise CrowdedError
    if any(touch(moved, other) for other in without(scene, index).things):
        raise CrowdedError
    return Edit("move", scene, changed(scene, index, moved), index, index, place)


def _background(sampler: Sampler) -> Edit:
    scene, _ = _before(sampler)
    return Edit("background", scene, sampler.rebacked(scene))


_EDITS: Mapping[EditKind, Callable[[Sampler], Edit]] = {
    "recolour": _recolour,
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "background": _background,
}
