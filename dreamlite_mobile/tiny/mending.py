"""What a picture should have shown: what a model drew, with only that put right which is wrong.

Most prompts leave places and sizes free, so no single picture is the right one. The right picture nearest to what a
model drew keeps its choices: things stand where it put them, as large as it made them, on the background it took.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations

import numpy as np

from dreamlite_mobile.tiny.detect import Found, Seen, background_of, detect
from dreamlite_mobile.tiny.examples import EditExample, Example
from dreamlite_mobile.tiny.facts import MENTION
from dreamlite_mobile.tiny.score import PLACE_REACH, in_place, lies, near
from dreamlite_mobile.tiny.shapes import extent
from dreamlite_mobile.tiny.wording import told_background
from dreamlite_mobile.tiny.world import (
    BACKGROUNDS,
    COLOURS,
    MARGIN,
    PLACES,
    SHADE,
    SIZES,
    TINT,
    CrowdedError,
    Edit,
    Pixels,
    Sampler,
    Scene,
    Thing,
    changed,
    colour_of,
    held_out,
    stands_out,
    touch,
    with_thing,
    without,
)

MOST = 5
"""Regions of a picture that are looked at, the largest; a scene has at most four things."""
TRIED = 60
"""Ways to make things of regions."""
HALVES = (SIZES["small"][0] - 0.01, SIZES["large"][1])
"""Least and largest half-width of a thing, in picture sides."""


def mended_scene(asked: Example, picture: Pixels, sampler: Sampler) -> Scene:
    """The right scene nearest to a picture uint8 [side, side, 3]; the example's own where none is near.

    A colour that the caption leaves open is the drawn one, unless that makes a pair which is held out of training.
    """
    seen = detect(picture)
    backdrop = _backdrop(asked, seen, picture)
    regions = [one for one in seen.things[:MOST] if one.half <= 1.5 * HALVES[1]]
    for chosen in _assigned(asked.scene.things, regions, asked.coloured):
        try:
            scene = _placed(asked, chosen, backdrop, sampler)
        except CrowdedError:
            continue
        if _is_right(asked, scene):
            return scene
    return asked.scene


def mended_edit(asked: EditExample, picture: Pixels) -> Scene:
    """The scene that an edit leads to, what it adds or moves standing where the picture has it, if it may stand there.

    What an edit brings has the plain colour of its name: nothing tells another.
    """
    edit = asked.edit
    if edit.result is None:
        return edit.after
    thing = edit.after.things[edit.result]
    if edit.kind != "move":
        thing = replace(thing, tint=(0, 0, 0))
    after = changed(edit.after, edit.result, thing)
    return _at_its_place(edit, edit.result, after, detect(picture)) if edit.place is not None else after


def _at_its_place(edit: Edit, index: int, after: Scene, seen: Seen) -> Scene:
    """With the changed thing where it was seen near its place, and for a new one as large."""
    assert edit.place is not None
    thing, centre = after.things[index], PLACES[edit.place]
    for found in seen.things:
        if found.shape != thing.shape or not near(found, centre, PLACE_REACH):
            continue
        moved = _standing(found, thing.colour, thing.shape)
        put = replace(thing, x=moved.x, y=moved.y, half=thing.half if edit.kind == "move" else moved.half)
        if not any(touch(put, other) for other in without(after, index).things):
            return changed(after, index, put)
    return after


def _backdrop(asked: Example, seen: Seen, picture: Pixels) -> Scene:
    """The background that was drawn, tint and shade included, or the example's where the caption forbids it."""
    told = told_background(asked.caption)
    name = told or seen.background
    if name not in BACKGROUNDS or (
        asked.coloured and not all(stands_out(one.colour, name) for one in asked.scene.things)
    ):
        name = asked.scene.background
    if name != seen.background:
        return Scene((), name)
    line = background_of(picture.astype(np.float64))[:, 0]
    shade = float(np.clip((line[-1] - line[0]).mean(), -SHADE, SHADE))
    tint = np.clip(line.mean(0) - shade / 2 - BACKGROUNDS[name], -TINT, TINT).round().astype(int)
    return Scene((), name, colour_of(tint), shade)


Chosen = tuple[Found | None, ...]
"""For each thing that is wanted the region that becomes it, or none."""


def _assigned(wanted: tuple[Thing, ...], regions: list[Found], coloured: bool) -> Iterator[Chosen]:
    """Ways to make things of regions, those first that change the least."""
    ways = dict.fromkeys(permutations([*regions, *[None] * len(wanted)], len(wanted)))
    yield from sorted(ways, key=lambda way: -sum(map(_likeness, wanted, way, [coloured] * len(way))))[:TRIED]


def _likeness(thing: Thing, found: Found | None, coloured: bool) -> float:
    """How little a region has to change to become a thing; larger regions first among equals."""
    if found is None:
        return 0.0
    return 1.0 + (found.shape == thing.shape) + (coloured and found.colour == thing.colour) + found.half


def _placed(asked: Example, chosen: Chosen, backdrop: Scene, sampler: Sampler) -> Scene:
    """The things where their regions are; those without one where the example has them, or anywhere.

    Raises:
        CrowdedError: no room.
    """
    scene = backdrop
    sizes = [mention.group(1) for mention in MENTION.finditer(asked.caption)]
    if len(sizes) < len(chosen):  # "three red circles"
        sizes = [None] * len(chosen)
    for thing, found, size in zip(asked.scene.things, chosen, sizes, strict=True):
        colour = thing.colour
        if not asked.coloured:
            free = [one for one in COLOURS if stands_out(one, scene.background) and not held_out(one, thing.shape)]
            colour = found.colour if found is not None and found.colour in free else thing.colour
            colour = colour if colour in free else sampler.one(free)
        put = replace(thing, tint=(0, 0, 0), colour=colour)
        if found is not None:
            put = _standing(found, colour, thing.shape, SIZES[size] if size else HALVES)
        elif any(touch(put, other) for other in scene.things):
            put = replace(sampler.anywhere(scene, colour, thing.shape, thing.half), tint=(0, 0, 0))
        if any(touch(put, other) for other in scene.things):
            raise CrowdedError
        scene = with_thing(scene, put)
    return scene


def _standing(found: Found, colour: str, shape: str, halves: tuple[float, float] = HALVES) -> Thing:
    """A thing in a region's place, inside the picture, and of the sizes that are allowed."""
    half = float(np.clip(found.half / extent(shape), *halves))
    x, y = (float(np.clip(value, half + MARGIN, 1 - half - MARGIN)) for value in (found.x, found.y))
    return Thing(shape, colour, x, y, half)


def _is_right(asked: Example, scene: Scene) -> bool:
    """Whether the scene's things stand as the caption says."""
    first, *others = scene.things
    return in_place(asked, first) and (asked.relation is None or lies(first, asked.relation, others[0]))
