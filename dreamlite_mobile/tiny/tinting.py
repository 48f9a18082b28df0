"""Edits of things in colours and shapes that have no name: what an edit leaves alone must be copied, not recognised.

With eight colours and eight shapes the U-Net learns to draw again what it has read off the source, and draws pairs of
colour and shape that it has never seen as pairs that it has. Things of two colours are of no pair at all, while each
side of them has any colour within the outline of any shape.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from dreamlite_mobile.tiny.detect import closest, detect
from dreamlite_mobile.tiny.examples import EditExample
from dreamlite_mobile.tiny.shapes import SHAPES, STRANGE
from dreamlite_mobile.tiny.world import (
    BACKGROUNDS,
    COLOURS,
    CONTRAST,
    Patch,
    Sampler,
    Scene,
    Thing,
    changed,
    colour_of,
    held_out,
    render,
)

TRIES = 40
DARKEST, LIGHTEST = 15, 245
"""Ends of a colour's channels, sRGB."""
OUTLINES = 2**31
"""Strange shapes."""


Painter = Callable[[Thing, Scene, Scene, Sampler], Thing]
"""A thing in other colours, which stand out from the backgrounds of two scenes."""


def strange(thing: Thing, before: Scene, after: Scene, sampler: Sampler) -> Thing:
    """The thing in any colour that stands out, called by the nearest that has a name; as it was if none is found.

    Never one that is nearest to the colour which is held out for this shape.
    """
    for _ in range(TRIES):
        colour = any_colour(before, after, sampler)
        name, _ = closest(colour, COLOURS)
        if not held_out(name, thing.shape):
            return replace(thing, colour=name, tint=colour_of(colour - COLOURS[name]))
    return thing


def two_toned(thing: Thing, before: Scene, after: Scene, sampler: Sampler) -> Thing:
    """The thing in two such colours that differ as much; as it was if none are found.

    The second may be any, also near the one that is held out for this shape; the whole never looks like that pair.
    """
    for _ in range(TRIES):
        one = strange(thing, before, after, sampler)
        other = any_colour(before, after, sampler)
        if np.linalg.norm(other - np.add(COLOURS[one.colour], one.tint)) >= CONTRAST:
            one = replace(one, patch=Patch(colour_of(other), float(sampler.random.uniform(0, 2 * np.pi))))
            if not any(looks_held_out(one, scene) for scene in (before, after)):
                return one
    return thing


def tinted(one: EditExample, sampler: Sampler, paint: Painter = strange) -> EditExample:
    """The example with colours of its own for every thing whose colour the words do not tell or change."""
    edit = one.edit
    before, after = list(edit.before.things), list(edit.after.things)
    of_words = {edit.target, edit.result} if edit.kind in ("recolour", "replace", "add") else set[int | None]()
    for index, thing in enumerate(edit.before.things):
        if index in of_words or (index == edit.target and thing.colour in one.instruction.split()):
            continue
        other = paint(thing, edit.before, edit.after, sampler)
        before[index] = other
        for place, same in enumerate(edit.after.things):
            if same.shape == thing.shape and same.colour == thing.colour:
                after[place] = replace(same, colour=other.colour, tint=other.tint, patch=other.patch)
    return replace(one, edit=replace(edit, before=_of(edit.before, before), after=_of(edit.after, after)))


def reshaped(one: EditExample, sampler: Sampler) -> EditExample:
    """The example with a strange shape for everything that its words do not mean; each stands as it stood.

    None that looks like a pair which is held out.
    """
    edit = one.edit
    before, after = edit.before, edit.after
    for index, thing in enumerate(before.things):
        if index == edit.target:
            continue
        other = outlined(thing, before, sampler)
        place = after.things.index(thing)
        before, after = changed(before, index, other), changed(after, place, other)
    return replace(one, edit=replace(edit, before=before, after=after))


def outlined(thing: Thing, backdrop: Scene, sampler: Sampler) -> Thing:
    """The thing in a strange shape; as it was if none is found."""
    for _ in range(TRIES):
        other = replace(thing, shape=f"{STRANGE}{sampler.random.integers(OUTLINES)}")
        if not looks_held_out(other, backdrop):
            return other
    return thing


def looks_held_out(thing: Thing, backdrop: Scene) -> bool:
    """Whether a detector sees a pair that is held out of training where there is nothing else on that background."""
    looks = detect(render(_of(backdrop, [thing]))).things
    return any(one.shape in SHAPES and one.colour in COLOURS and held_out(one.colour, one.shape) for one in looks)


def any_colour(before: Scene, after: Scene, sampler: Sampler) -> np.ndarray:
    """sRGB [3]; one that stands out from both backgrounds."""
    backgrounds = [BACKGROUNDS[scene.background] for scene in (before, after)]
    while True:
        colour = sampler.random.integers(DARKEST, LIGHTEST + 1, 3)
        if min(float(np.linalg.norm(colour - one)) for one in backgrounds) >= CONTRAST:
            return colour


def _of(scene: Scene, things: list[Thing]) -> Scene:
    return replace(scene, things=tuple(things))
