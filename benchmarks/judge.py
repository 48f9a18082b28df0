"""How often the score's judge is right: on rendered truth, and on scenes that are wrong in one way.

python -m benchmarks.judge --json benchmarks/results/judge.json
"""

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dreamlite_mobile.tiny.score import edits, judge_edited, judge_generated, prompts, score
from dreamlite_mobile.tiny.world import Sampler, Scene, render
from dreamlite_mobile.tiny.wrong import WRONG, WRONG_EDIT, wrong_edit, wrong_scene

One = TypeVar("One")
BATCH = 120


def endless(draw: Callable[[int], list[One]]) -> Iterator[One]:
    """Examples of one seed after another."""
    seed = 0
    while True:
        seed += 1
        yield from draw(seed)


def passed(
    examples: Iterable[One], wrong: Callable[[One], Scene | None], right: Callable[[One, Any], bool], count: int
) -> int:
    """How many of `count` wrong scenes are judged right."""
    mistaken, done = 0, 0
    for one in examples:
        scene = wrong(one)
        if scene is not None:
            mistaken += right(one, render(scene))
            done += 1
        if done == count:
            break
    return mistaken


def measure(truths: int, wrongs: int, seed: int) -> dict[str, Any]:
    """Shares of truth judged right, by kind, and numbers of wrong scenes judged right, by what is wrong."""
    found: dict[str, Any] = {"truths": truths, "wrongs": wrongs, "seed": seed, "right": {}, "wrong_passed": {}}
    for held in (False, True):
        name = " (held out)" * held
        drawn = [judge_generated(one, render(one.scene)) for one in prompts(truths, held)]
        edited = [judge_edited(one, render(one.edit.after)) for one in edits(truths, held)]
        for mode, judged in (("generate", drawn), ("edit", edited)):
            result = score(judged)
            found["right"][mode + name] = {"overall": result.overall, **result.by_kind}
            print(mode + name, result, flush=True)
    sampler = Sampler(np.random.default_rng(seed))
    for how in WRONG:
        drawn_from = endless(lambda each: prompts(BATCH, seed=each))
        found["wrong_passed"][f"generate, {how}"] = passed(
            drawn_from,
            lambda one, how=how: wrong_scene(one, how, sampler),
            lambda one, picture: judge_generated(one, picture).right,
            wrongs,
        )
        print(how, found["wrong_passed"][f"generate, {how}"], flush=True)
    for how in WRONG_EDIT:
        edited_from = endless(lambda each: edits(BATCH, seed=each))
        found["wrong_passed"][f"edit, {how}"] = passed(
            edited_from,
            lambda one, how=how: wrong_edit(one, how, sampler),
            lambda one, picture: judge_edited(one, picture).right,
            wrongs,
        )
        print(how, found["wrong_passed"][f"edit, {how}"], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truths", type=int, default=2000, help="scenes of each of four groups")
    parser.add_argument("--wrongs", type=int, default=500, help="scenes for each thing that can be wrong")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = measure(options.truths, options.wrongs, options.seed)
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
