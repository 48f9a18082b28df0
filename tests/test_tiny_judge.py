"""Scenes that are wrong in one way must be judged wrong, whatever the way; `benchmarks/judge.py` draws more."""

import numpy as np
import pytest

from dreamlite_mobile.tiny.score import edits, judge_edited, judge_generated, prompts
from dreamlite_mobile.tiny.world import Sampler, render
from dreamlite_mobile.tiny.wrong import WRONG, WRONG_EDIT, wrong_edit, wrong_scene

DRAWN = 72
"""Examples of which those that can be wrong in a given way are taken."""


@pytest.mark.parametrize("how", WRONG)
def test_a_scene_that_is_wrong_in_one_way_is_judged_wrong(how: str) -> None:
    sampler = Sampler(np.random.default_rng(2))
    wrong = [(one, scene) for one in prompts(DRAWN) if (scene := wrong_scene(one, how, sampler)) is not None]
    assert len(wrong) >= 12
    mistaken = [(one.caption, scene) for one, scene in wrong if judge_generated(one, render(scene)).right]
    assert not mistaken


@pytest.mark.parametrize("how", WRONG_EDIT)
def test_an_edit_that_is_wrong_in_one_way_is_judged_wrong(how: str) -> None:
    sampler = Sampler(np.random.default_rng(3))
    wrong = [(one, scene) for one in edits(DRAWN) if (scene := wrong_edit(one, how, sampler)) is not None]
    assert len(wrong) >= 12
    mistaken = [(one.instruction, scene) for one, scene in wrong if judge_edited(one, render(scene)).right]
    assert not mistaken
