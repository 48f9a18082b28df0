"""Examples beside scenes that are wrong in one way; of the first 72, those that can be wrong so."""

import numpy as np

from dreamlite_mobile.tiny.examples import EditExample, Example
from dreamlite_mobile.tiny.score import edits, prompts
from dreamlite_mobile.tiny.world import Sampler, Scene
from dreamlite_mobile.tiny.wrong import wrong_edit, wrong_scene

DRAWN = 72
FEWEST = 12


def wrong_scenes(how: str, sampler: Sampler) -> list[tuple[Example, Scene]]:
    found = [(one, scene) for one in prompts(DRAWN) if (scene := wrong_scene(one, how, sampler)) is not None]
    assert len(found) >= FEWEST
    return found


def wrong_edits(how: str, seed: int) -> list[tuple[EditExample, Scene]]:
    sampler = Sampler(np.random.default_rng(seed))
    found = [(one, scene) for one in edits(DRAWN) if (scene := wrong_edit(one, how, sampler)) is not None]
    assert len(found) >= FEWEST
    return found
