"""What a picture should have shown: what a model drew, with only that put right which is wrong.

Most prompts leave places and sizes free, so no single picture is the right one. The right picture nearest to what a
model drew keeps its choices: things stand where it put them, as large as it made them, on the background it took.
What it did not draw at all is chosen the same way each time (`completing`) where there is room for that.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations

import numpy as np

from dreamlite_mobile.tiny.completing import PLAIN_HALVES, free_colours, near_background, put_apart, usual_colour
from dreamlite_mobile.tiny.detect import Found, Seen, background_of, detect
from dreamlite_mobile.tiny.examples import EditExample, Example
from dreamlite_mobile.tiny.facts import MENTION
from dreamlite_mobile.tiny.score import PLACE_REACH, in_place, lies, near
from dreamlite_mobile.tiny.shapes import extent
from dreamlite_mobile.tiny.wording import told_background
from dreamlite_mobile.tiny.world import (
    BACKGROUNDS,
    PLACES,
    RELATIONS,
    SHADE,
    SIZES,
    TINT,
    CrowdedError,
    Edit,
    Pixels,
    Scene,
    Thing,
    centred,
    changed,
    colour_of,
    touch,
    without,
)

MOST = 5
"""Regions of a picture that are looked at, the largest; a scene has at most four things."""
TRIED = 60
"""Ways to make things of regions."""
HALVES = (SIZES["small"][0] - 0.01, SIZES["large"][1])
"""Least and largest half-width of a thing, in picture sides."""


def mended_scene(asked: Example, picture: Pixels) -> Scene:
    """The right scene nearest to a picture uint8 [side, side, 3]; the example's own where none is near.

    A colour that the caption leaves open is the drawn one, unless that makes a pair which is held out of training.
    """
    seen = detect(picture)
    backdrop = _backdrop(asked, seen, picture)
    regions = [one for one in seen.things[:MOST] if one.half <= 1.5 * HALVES[1]]
    for chosen in _assigned(asked.scene.things, regions, asked.coloured):
        try:
            scene = _placed(asked, chosen, backdrop)
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
    """With the changed thing where it was seen near its place, and for a new one as large; else right there."""
    assert edit.place is not None
    thing, centre = after.things[index], PLACES[edit.place]
    drawn = [
        _standing(found, thing.colour, thing.shape)
        for found in seen.things
        if found.shape == thing.shape and near(found, centre, PLACE_REACH)
    ]
    plain = [centred(replace(thing, half=half), centre) for half in PLAIN_HALVES]
    if edit.kind == "move":
        drawn = [replace(one, half=thing.half) for one in drawn]
        plain = [centred(thing, centre)]
    for one in (*drawn, *plain):
        put = replace(thing, x=one.x, y=one.y, half=one.half)
        if not any(touch(put, other) for other in without(after, index).things):
            return changed(after, index, put)
    return after


def _backdrop(asked: Example, seen: Seen, picture: Pixels) -> Scene:
    """The background that was drawn, tint and shade included, or the nearest that the caption allows."""
    line = background_of(picture.astype(np.float64))[:, 0]
    told = told_background(asked.caption)
    colours = [one.colour for one in asked.scene.things] if asked.coloured else []
    name = told or near_background(line.mean(0), colours)
    if name != seen.background:
        return Scene((), name)
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


def _placed(asked: Example, chosen: Chosen, backdrop: Scene) -> Scene:
    """The things where their regions are; those without one apart from them, as the caption wants it.

    Raises:
        CrowdedError: no room.
    """
    sizes = [mention.group(1) for mention in MENTION.finditer(asked.caption)]
    if len(sizes) < len(chosen):  # "three red circles"
        sizes = [None] * len(chosen)
    put: dict[int, Thing] = {}
    for index, (thing, found, size) in enumerate(zip(asked.scene.things, chosen, sizes, strict=True)):
        if found is None:
            continue
        halves = SIZES[size] if size else HALVES
        put[index] = _standing(found, _colour(asked, thing, found, backdrop), thing.shape, halves)
        if any(touch(put[index], other) for place, other in put.items() if place != index):
            raise CrowdedError
    for index, (thing, size) in enumerate(zip(asked.scene.things, sizes, strict=True)):
        if index not in put:
            put[index] = _missing(asked, index, _colour(asked, thing, None, backdrop), size, put)
    return replace(backdrop, things=tuple(put[index] for index in range(len(chosen))))


def _colour(asked: Example, thing: Thing, found: Found | None, backdrop: Scene) -> str:
    """That of the caption; where it tells none the drawn one, if the thing may have it."""
    if asked.coloured:
        return thing.colour
    if found is not None and found.colour in free_colours(thing.shape, backdrop.background):
        return found.colour
    return usual_colour(thing.shape, backdrop.background)


def _missing(asked: Example, index: int, colour: str, size: str | None, put: dict[int, Thing]) -> Thing:
    """A thing that was not drawn, beside those that are `put`."""
    toward = (0, 0) if asked.relation is None else RELATIONS[asked.relation]

    def fits(thing: Thing) -> bool:
        pair = put | {index: thing}
        related = asked.relation is None or len(pair) < 2 or lies(pair[0], asked.relation, pair[1])
        return related and in_place(asked, thing)

    return put_apart(colour, asked.scene.things[index].shape, size, list(put.values()), fits, toward)


def _standing(found: Found, colour: str, shape: str, halves: tuple[float, float] = HALVES) -> Thing:
    """A thing in a region's place, inside the picture, and of the sizes that are allowed."""
    half = float(np.clip(found.half / extent(shape), *halves))
    return centred(Thing(shape, colour, found.x, found.y, half), (found.x, found.y))


def _is_right(asked: Example, scene: Scene) -> bool:
    """Whether the scene's things stand as the caption says."""
    first, *others = scene.things
    return in_place(asked, first) and (asked.relation is None or lies(first, asked.relation, others[0]))
