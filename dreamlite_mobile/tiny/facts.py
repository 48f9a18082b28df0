"""The facts of captions and edits: what a reader of the text is asked for, thing by thing."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dreamlite_mobile.tiny.examples import EditExample, Example
from dreamlite_mobile.tiny.shapes import SHAPES
from dreamlite_mobile.tiny.wording import COUNTS, told_background
from dreamlite_mobile.tiny.world import (
    BACKGROUNDS,
    COLOURS,
    EDIT_KINDS,
    PLACES,
    RELATIONS,
    SIZES,
    Pixels,
    Scene,
    Thing,
    render,
)

CLOSING = 5
"""Tokens after the user's words in both templates: `<|im_end|>`, a line's end, `<|im_start|>`, `assistant`, another."""
ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "colour": tuple(COLOURS),
    "size": tuple(SIZES),
    "place": tuple(PLACES),
    "relation": tuple(RELATIONS),
    "background": tuple(BACKGROUNDS),
    "count": COUNTS,
    "kind": EDIT_KINDS,
}
"""What a token can be asked for; of each, "not told" is one answer more."""
ANSWERS = sum(len(values) + 1 for values in ATTRIBUTES.values()) + 3
"""Outputs of the reader: the attributes' logits, then centre and half-width in picture sides."""
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
MENTION = re.compile(rf"(?:({'|'.join(SIZES)}) )?(?:({'|'.join(COLOURS)}) )?({'|'.join(SHAPES)})")

Facts = dict[str, str]
"""Value by attribute; one that is missing was not told."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """A text, the facts of its closing tokens and, for an edit, the source, its tokens' facts and exact positions."""

    text: str
    facts: list[Facts]
    things: list[Thing | None]
    source: Pixels | None = None
    cells: tuple[Facts, ...] = ()


def caption_lesson(one: Example) -> Lesson:
    """Things in the order of the caption, one per closing token, and the background on the last."""
    told = [
        {name: value for name, value in zip(("size", "colour", "shape"), found.groups(), strict=True) if value}
        for found in MENTION.finditer(one.caption)
    ]
    last: Facts = {}
    background = told_background(one.caption)
    if background is not None:
        last["background"] = background
    if one.kind == "counting":
        told = told * len(one.scene.things)
        last["count"] = COUNTS[len(told) - 1]
    if one.relation is not None:
        told[0]["relation"], told[1]["relation"] = one.relation, OPPOSITE[one.relation]
    place = next((place for place in PLACES if place in one.caption), None)
    if place is not None:
        told[0]["place"] = place
    empty: list[Facts] = [{} for _ in range(CLOSING - 1 - len(told))]
    return Lesson(one.caption, [*told, *empty, last], [None] * CLOSING)


def edit_lesson(one: EditExample, grid: int) -> Lesson:
    """What changes, what it becomes, up to two things that stay, and on the last token the kind of edit.

    `grid`: the picture's tokens in a row.
    """
    edit = one.edit
    target = None if edit.target is None else edit.before.things[edit.target]
    result = None if edit.result is None else edit.after.things[edit.result]
    stay = sorted((thing for thing in edit.before.things if thing is not target), key=lambda thing: thing.x)
    things = [target, result, *stay][: CLOSING - 1]
    things += [None] * (CLOSING - len(things))
    facts = [_look(thing) if thing else {} for thing in things]
    facts[-1] = {"kind": edit.kind, "background": edit.after.background}
    if edit.place is not None:
        facts[1]["place"] = edit.place
    return Lesson(one.instruction, facts, things, render(edit.before), tuple(_cells(edit.before, grid)))


def _look(thing: Thing) -> Facts:
    return {"shape": thing.shape, "colour": thing.colour}


def _cells(scene: Scene, grid: int) -> list[Facts]:
    """Row by row: the thing whose box holds the cell's centre, and the background."""
    return [
        {"background": scene.background} | (_look(scene.things[index]) if index >= 0 else {})
        for index in standing(scene, grid).ravel().tolist()
    ]


def standing(scene: Scene, grid: int) -> NDArray[np.int64]:
    """[grid, grid]: index of the thing whose box holds a cell's centre, -1 where there is none."""
    centres = (np.arange(grid) + 0.5) / grid
    found = np.full((grid, grid), -1)
    for index, one in enumerate(scene.things):
        rows, columns = (np.abs(centres - centre) < one.half for centre in (one.y, one.x))
        found[np.ix_(rows, columns)] = index
    return found


LAYOUT = ("shape", "colour", "background")
"""Of `ATTRIBUTES`, what a picture shows at a place."""


def layout(scene: Scene, grid: int) -> NDArray[np.uint8]:
    """Classes [3, grid, grid] of `LAYOUT`; the last class of shape and colour stands for "nothing"."""
    where = standing(scene, grid)
    things = [
        [SHAPES.index(one.shape) for one in scene.things] + [len(SHAPES)],
        [list(COLOURS).index(one.colour) for one in scene.things] + [len(COLOURS)],
    ]
    background = np.full_like(where, list(BACKGROUNDS).index(scene.background))
    return np.stack([*(np.array(classes)[where] for classes in things), background]).astype(np.uint8)


def labels(facts: Sequence[Facts]) -> NDArray[np.int64]:
    """Classes [tokens, attributes]; the last class of each stands for "not told"."""
    return np.array(
        [
            [values.index(one[name]) if name in one else len(values) for name, values in ATTRIBUTES.items()]
            for one in facts
        ]
    )
