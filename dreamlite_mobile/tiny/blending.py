"""Words between two names of colours: "red" on its way to "blue", and the thing in a colour between theirs.

With eight names the U-Net learns pairs of colour and shape by heart and draws a pair that it has not seen as one that
it has. What the text tower says is mixed of two captions that differ in one colour (mixup, Zhang et al. 2018), so a
shape has to come in any colour. Neither name, nor the nearest of the colour between, makes a pair that is held out.
"""

import re
from dataclasses import dataclass, replace

import numpy as np

from dreamlite_mobile.tiny.detect import closest
from dreamlite_mobile.tiny.examples import EditExample, Example
from dreamlite_mobile.tiny.world import (
    BACKGROUNDS,
    COLOURS,
    CONTRAST,
    Colour,
    Sampler,
    Scene,
    Thing,
    colour_of,
    held_out,
)

TRIES = 20
LEAST = 0.15
"""Of the share that either name has."""


@dataclass(frozen=True, slots=True)
class Blend:
    """`share` of the way from a text to `text`, the things that were `colour` and `shape` become `name` and `tint`.

    `text` keeps the article, whichever name follows: " an" is two tokens, and both texts must have as many.
    """

    text: str
    share: float
    colour: str
    shape: str
    name: str
    tint: Colour

    def of(self, scene: Scene) -> Scene:
        """The scene with every such thing in the colour between."""
        things = [
            replace(one, colour=self.name, tint=self.tint)
            if one.shape == self.shape and one.colour in (self.colour, self.name)
            else one
            for one in scene.things
        ]
        return replace(scene, things=tuple(things))


def blended_scene(one: Example, sampler: Sampler) -> tuple[Example, Blend] | None:
    """An example with one of its colours between two names; None where the caption tells none apart."""
    if not one.coloured:
        return None
    thing = one.scene.things[int(sampler.random.integers(len(one.scene.things)))]
    blend = _blend(one.caption, thing, one.scene, (one.scene.background,), sampler)
    return None if blend is None else (replace(one, scene=blend.of(one.scene)), blend)


def blended_edit(one: EditExample, sampler: Sampler) -> tuple[EditExample, Blend] | None:
    """An edit whose words tell a new colour, with that between two names; None of other edits."""
    edit = one.edit
    if edit.kind not in ("recolour", "replace", "add") or edit.result is None:
        return None
    backgrounds = (edit.before.background, edit.after.background)
    blend = _blend(one.instruction, edit.after.things[edit.result], edit.after, backgrounds, sampler)
    return None if blend is None else (replace(one, edit=replace(edit, after=blend.of(edit.after))), blend)


def _blend(text: str, thing: Thing, scene: Scene, backgrounds: tuple[str, ...], sampler: Sampler) -> Blend | None:
    """None where the name stands more or less than once, or no colour between is fit and told from the scene's."""
    if len(re.findall(rf"\b{thing.colour}\b", text)) != 1:
        return None
    alike = {one.colour for one in scene.things if one.shape == thing.shape} - {thing.colour}
    free = [name for name in COLOURS if name != thing.colour and not held_out(name, thing.shape)]
    for _ in range(TRIES):
        other, share = sampler.one(free), float(sampler.random.uniform(LEAST, 1 - LEAST))
        colour = (1 - share) * np.array(COLOURS[thing.colour]) + share * np.array(COLOURS[other])
        name, _ = closest(colour, COLOURS)
        apart = min(float(np.linalg.norm(colour - BACKGROUNDS[one])) for one in backgrounds)
        if apart >= CONTRAST and not held_out(name, thing.shape) and name not in alike:
            tint = colour_of((colour - COLOURS[name]).round().astype(int))
            return Blend(re.sub(rf"\b{thing.colour}\b", other, text), share, thing.colour, thing.shape, name, tint)
    return None
