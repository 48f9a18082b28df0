"""Scenes that are wrong in one way must be judged wrong, whatever the way; `benchmarks/judge.py` draws more."""

import numpy as np
import pytest
from wrong_examples import wrong_edits, wrong_scenes

from dreamlite_mobile.tiny.score import judge_edited, judge_generated
from dreamlite_mobile.tiny.world import Sampler, render
from dreamlite_mobile.tiny.wrong import WRONG, WRONG_EDIT


@pytest.mark.parametrize("how", WRONG)
def test_a_scene_that_is_wrong_in_one_way_is_judged_wrong(how: str) -> None:
    wrong = wrong_scenes(how, Sampler(np.random.default_rng(2)))
    assert not [(one.caption, scene) for one, scene in wrong if judge_generated(one, render(scene)).right]


@pytest.mark.parametrize("how", WRONG_EDIT)
def test_an_edit_that_is_wrong_in_one_way_is_judged_wrong(how: str) -> None:
    wrong = wrong_edits(how, seed=3)
    assert not [(one.instruction, scene) for one, scene in wrong if judge_edited(one, render(scene)).right]
