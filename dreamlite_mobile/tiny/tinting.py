"""Edits of things in colours that have no name: what an edit leaves alone must be copied, not recognised.

With eight colours the U-Net learns to draw again what it has read off the source, and draws pairs of colour and shape
that it has never seen as pairs that it has.
"""

from dataclasses import replace

import numpy as np

from dreamlite_mobile.tiny.detect import closest
from dreamlite_mobile.tiny.examples import EditExample
from dreamlite_mobile.tiny.world import BACKGROUNDS, COLOURS, CONTRAST, Sampler, Scene, Thing, colour_of, held_out

TRIES = 40
DARKEST, LIGHTEST = 15, 245
"""Ends of a colour's channels, sRGB."""


def tinted(one: EditExample, sampler: Sampler) -> EditExample:
    """The example with a colour of its own for every thing whose colour the words do not tell or change."""
    edit = one.edit
    before, after = list(edit.before.things), list(edit.after.things)
    backgrounds = (edit.before.background, edit.after.background)
    of_words = {edit.target, edit.result} if edit.kind in ("recolour", "replace", "add") else set[int | None]()
    for index, thing in enumerate(edit.before.things):
        if index in of_words or (index == edit.target and thing.colour in one.instruction.split()):
            continue
        other = strange(thing, backgrounds, sampler)
        before[index] = other
        for place, same in enumerate(edit.after.things):
            if same.shape == thing.shape and same.colour == thing.colour:
                after[place] = replace(same, colour=other.colour, tint=other.tint)
    return replace(one, edit=replace(edit, before=_of(edit.before, before), after=_of(edit.after, after)))


def _of(scene: Scene, things: list[Thing]) -> Scene:
    return replace(scene, things=tuple(things))


def strange(thing: Thing, backgrounds: tuple[str, ...], sampler: Sampler) -> Thing:
    """The thing in any colour that stands out, called by the nearest that has a name; as it was if none is found.

    Never one that is nearest to the colour which is held out for this shape.
    """
    for _ in range(TRIES):
        colour = sampler.random.integers(DARKEST, LIGHTEST + 1, 3)
        name, _ = closest(colour, COLOURS)
        apart = min(float(np.linalg.norm(colour - BACKGROUNDS[one])) for one in backgrounds)
        if apart >= CONTRAST and not held_out(name, thing.shape):
            return replace(thing, colour=name, tint=colour_of(colour - COLOURS[name]))
    return thing
