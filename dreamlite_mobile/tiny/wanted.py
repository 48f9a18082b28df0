"""What the student is asked while it learns from its own pictures: a text, its words, and what would be right."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from dreamlite_mobile.tiny.blending import Blend, blended_edit, blended_scene
from dreamlite_mobile.tiny.examples import EditExample, Example
from dreamlite_mobile.tiny.mending import mended_edit, mended_scene
from dreamlite_mobile.tiny.models import Models, Words, read_words
from dreamlite_mobile.tiny.world import Pixels, Sampler, Scene


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked, the scene that a picture should have shown, and where a colour of it lies between two names."""

    text: str
    mend: Callable[[Pixels], Scene]
    blend: Blend | None = None

    def mended(self, picture: Pixels) -> Scene:
        scene = self.mend(picture)
        return scene if self.blend is None else self.blend.of(scene)


def wanted_scene(one: Example, sampler: Sampler, blends: float) -> Wanted:
    """A prompt; with that chance one of its colours is between two names."""
    found = blended_scene(one, sampler) if sampler.random.random() < blends else None
    one, blend = found if found is not None else (one, None)
    return Wanted(one.caption, partial(mended_scene, one), blend)


def wanted_edit(one: EditExample, sampler: Sampler, blends: float) -> Wanted:
    """An edit; with that chance the colour that it brings is between two names."""
    found = blended_edit(one, sampler) if sampler.random.random() < blends else None
    one, blend = found if found is not None else (one, None)
    return Wanted(one.instruction, partial(mended_edit, one), blend)


def read_wanted(models: Models, asked: Sequence[Wanted], sources: Sequence[Pixels] | None) -> Words:
    """The text tower's states, of two texts that are blended those between.

    Raises:
        ValueError: two texts that are to be blended differ in length.
    """
    words = read_words(models, [one.text for one in asked], sources)
    if all(one.blend is None for one in asked):
        return words
    others = read_words(models, [one.blend.text if one.blend else one.text for one in asked], sources)
    if not torch.equal(words.mask, others.mask):
        raise ValueError("two texts of a blend have different numbers of tokens: a name of a colour is not one token")
    shares = torch.tensor([one.blend.share if one.blend else 0.0 for one in asked], device=models.device)
    return Words(words.states.lerp(others.states, shares[:, None, None]), words.mask)
