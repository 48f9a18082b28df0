"""How well pictures follow their prompts and edits their instructions, in the embedded world.

Generation is scored as in GenEval (Ghosh et al. 2023): the share of prompts, averaged over kinds, whose picture shows
exactly what was asked. Edits are scored in ImgEdit's two ways: does the picture show the changed scene and nothing
else, and how well was the rest kept, as PSNR outside the region that had to change. A detector judges pixels; the model
is only asked for pictures.
"""

from collections import Counter
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from dreamlite_mobile.tiny.detect import Found, Seen, detect
from dreamlite_mobile.tiny.examples import EditExample, Example, edit_examples, examples
from dreamlite_mobile.tiny.wording import told_background
from dreamlite_mobile.tiny.world import PLACES, RELATIONS, Edit, Pixels, Sampler, Thing, render

PLACE_REACH = 0.17
"""How far from a named place a thing may stand, in picture sides."""
SAME_PLACE = 0.09
"""How far a thing that was not to move may have moved."""
PERFECT_DB = 50.0
"""PSNR of an unchanged region; equal pictures count as this."""
GROWN = 4
"""Pixels around a changed region that may change too: the autoencoder sees 8 x 8 blocks."""
SEED = 20260


@dataclass(frozen=True, slots=True)
class Judged:
    """One picture: what was asked, whether it was done, for edits also how well the rest was kept."""

    kind: str
    text: str
    right: bool
    kept_db: float | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """Shares of right pictures: by kind, and `overall`, the mean over kinds. `kept_db`: mean over edits."""

    by_kind: dict[str, float]
    overall: float
    kept_db: float | None = None


def prompts(count: int, held: bool = False, seed: int = SEED) -> list[Example]:
    """The same examples for the same arguments, the kinds in turns."""
    sampler = Sampler(np.random.default_rng((seed, held)), held)
    return examples(sampler, count)


def edits(count: int, held: bool = False, seed: int = SEED) -> list[EditExample]:
    """The same edits for the same arguments, the kinds in turns."""
    sampler = Sampler(np.random.default_rng((seed, held, 1)), held)
    return edit_examples(sampler, count)


def judge_generated(asked: Example, picture: Pixels) -> Judged:
    """Whether the picture shows what the caption says, and nothing else."""
    seen = detect(picture)
    right = (
        _same_things(asked, seen)
        and _in_relation(asked, seen)
        and in_place(asked, seen.things[0])
        and _on_background(asked.caption, seen)
    )
    return Judged(asked.kind, asked.caption, right)


def judge_edited(asked: EditExample, picture: Pixels) -> Judged:
    """Whether the change happened and nothing else, and how well the rest was kept."""
    return Judged(
        asked.edit.kind, asked.instruction, followed(asked.edit, detect(picture)), kept_db(asked.edit, picture)
    )


def score(judged: list[Judged]) -> Score:
    """Sum up; every kind counts the same."""
    kinds = list(dict.fromkeys(one.kind for one in judged))
    by_kind = {kind: fmean(one.right for one in judged if one.kind == kind) for kind in kinds}
    kept = [one.kept_db for one in judged if one.kept_db is not None]
    return Score(by_kind, fmean(by_kind.values()), fmean(kept) if kept else None)


def kept_db(edit: Edit, picture: Pixels) -> float:
    """PSNR in dB against the source outside the region that had to change, at most `PERFECT_DB`."""
    side = len(picture)
    before, after = render(edit.before, side).astype(float), render(edit.after, side).astype(float)
    keep = ~grown(np.abs(before - after).max(2) > 8, max(1, round(GROWN * side / 128)))
    error = float(np.square(picture.astype(float) - before)[keep].mean()) if keep.any() else 0.0
    return min(PERFECT_DB, 10 * float(np.log10(255**2 / error))) if error > 0 else PERFECT_DB


def grown(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """The mask widened by that many pixels in every direction."""
    for _ in range(pixels):
        wide = np.pad(mask, 1)
        mask = wide[1:-1, 1:-1] | wide[:-2, 1:-1] | wide[2:, 1:-1] | wide[1:-1, :-2] | wide[1:-1, 2:]
    return mask


def _same_things(asked: Example, seen: Seen) -> bool:
    wanted = Counter((thing.colour if asked.coloured else "", thing.shape) for thing in asked.scene.things)
    return wanted == Counter((thing.colour if asked.coloured else "", thing.shape) for thing in seen.things)


def _in_relation(asked: Example, seen: Seen) -> bool:
    if asked.relation is None:
        return True
    first, second = (matching(thing, seen) for thing in asked.scene.things)
    assert first is not None
    assert second is not None
    return lies(first, asked.relation, second)


def lies(first: Found | Thing, relation: str, second: Found | Thing) -> bool:
    """Whether the first thing lies in that direction of the second, and farther that way than across."""
    toward = RELATIONS[relation]
    dx, dy = first.x - second.x, first.y - second.y
    along, across = dx * toward[0] + dy * toward[1], abs(dx * toward[1]) + abs(dy * toward[0])
    return along > across


def told_place(asked: Example) -> str | None:
    """The place where the caption wants its one thing, if it tells one."""
    return next((place for place in PLACES if asked.kind == "colours" and place in asked.caption), None)


def in_place(asked: Example, thing: Found | Thing) -> bool:
    """Whether a thing stands where the caption wants its one."""
    place = told_place(asked)
    return place is None or near(thing, PLACES[place], PLACE_REACH)


def _on_background(caption: str, seen: Seen) -> bool:
    """The background, where the caption tells it."""
    told = told_background(caption)
    return told is None or told == seen.background


def matching(thing: Thing, seen: Seen) -> Found | None:
    """The largest region of that shape and colour."""
    return next((one for one in seen.things if (one.shape, one.colour) == (thing.shape, thing.colour)), None)


def near(thing: Found | Thing, place: tuple[float, float], reach: float) -> bool:
    return abs(thing.x - place[0]) <= reach and abs(thing.y - place[1]) <= reach


def stands(thing: Thing, seen: Seen, reach: float = SAME_PLACE) -> bool:
    """Whether the picture has this thing about where it should be."""
    return any(
        (one.shape, one.colour) == (thing.shape, thing.colour) and near(one, (thing.x, thing.y), reach)
        for one in seen.things
    )


def followed(edit: Edit, seen: Seen) -> bool:
    """Whether the change happened and nothing else did: other things and the background are as they were."""
    others = [thing for index, thing in enumerate(edit.after.things) if index != edit.result]
    return (
        len(seen.things) == len(edit.after.things)
        and seen.background == edit.after.background
        and all(stands(thing, seen) for thing in others)
        and (edit.result is None or _arrived(edit.after.things[edit.result], edit.place, seen))
        and (edit.target is None or not stands(edit.before.things[edit.target], seen))
    )


def _arrived(thing: Thing, place: str | None, seen: Seen) -> bool:
    """The changed thing, at the place that was named, or else where it stood."""
    if place is None:
        return stands(thing, seen)
    return stands(replace(thing, x=PLACES[place][0], y=PLACES[place][1]), seen, PLACE_REACH)
