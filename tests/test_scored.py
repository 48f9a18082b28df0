"""Scores before and after an export, from pictures that are known to be right or wrong. Oracle: rendered scenes."""

from dataclasses import replace
from functools import cache

import pytest
from PIL import Image

from dreamlite_mobile.errors import ConfigError
from dreamlite_mobile.parity.report import scores_json
from dreamlite_mobile.parity.schema import GroupScoreEntry
from dreamlite_mobile.parity.scored import Scored
from dreamlite_mobile.tiny.evaluate import Evaluation, Made
from dreamlite_mobile.tiny.score import judge_generated, prompts
from dreamlite_mobile.tiny.world import render

COUNT = 40
GROUP = "generate"


@cache
def truth() -> tuple[Made, ...]:
    """What a perfect model would draw."""
    return tuple(
        Made(judge_generated(asked, picture), Image.fromarray(picture))
        for asked in prompts(COUNT)
        for picture in (render(asked.scene),)
    )


def drawn(wrong: set[int], count: int = COUNT) -> Evaluation:
    """The truth, but for the pictures of these numbers, which are judged wrong."""
    made = [
        replace(one, judged=replace(one.judged, right=index not in wrong)) for index, one in enumerate(truth()[:count])
    ]
    return Evaluation({GROUP: made})


def test_pictures_are_compared_one_by_one() -> None:
    """Two other pictures are wrong on the other side: the shares are equal, and yet two turned."""
    assert all(one.judged.right for one in truth())
    (group,) = Scored(drawn({0, 1, 2}), drawn({2, 3, 4})).groups()
    assert (group.lost, group.gained, group.pictures) == (2, 2, COUNT)
    assert group.before.overall != 1.0 and Scored(drawn({0, 1, 2}), drawn({2, 3, 4})).loss() == 0.0


@pytest.mark.parametrize(
    ("lost", "precision", "refused"),
    [(1, "fp32", False), (2, "fp32", True), (2, "w8", True), (9, "w4", False), (2, "w8a16", True)],
)
def test_a_loss_over_the_limit_is_a_complaint(lost: int, precision: str, refused: bool) -> None:
    scored = Scored(drawn(set()), drawn(set(range(lost))))
    assert scored.loss() == pytest.approx(lost / COUNT)
    text = scored.complaint([precision, "fp32"])
    assert (text is not None) == refused
    assert text is None or f"{lost} of {COUNT} pictures turned wrong" in text


def test_one_picture_of_few_may_tip_over() -> None:
    assert Scored(drawn(set(), 6), drawn({3}, 6)).complaint(["fp32"]) is None
    assert Scored(drawn(set(), 6), drawn({3, 4}, 6)).complaint(["fp32"]) is not None


def test_other_prompts_are_not_compared() -> None:
    after = drawn(set())
    spoilt = [replace(one, judged=replace(one.judged, text="something else")) for one in after.made[GROUP]]
    with pytest.raises(ConfigError, match="other pictures"):
        Scored(drawn(set()), Evaluation({GROUP: spoilt})).groups()


def test_the_json_is_as_its_schema_says() -> None:
    (entry,) = scores_json(Scored(drawn({1}), drawn({1, 2})))
    found = GroupScoreEntry.model_validate(entry)
    assert found.lost == 1 and found.gained == 0 and found.before.overall > found.after.overall
    assert found.before.kept_db is None and scores_json(None) == []
