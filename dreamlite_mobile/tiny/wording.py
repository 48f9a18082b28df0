"""The language of the embedded world: captions of scenes and instructions for edits, in varied wording."""

from collections.abc import Sequence

import numpy as np

from dreamlite_mobile.tiny.shapes import SHAPES
from dreamlite_mobile.tiny.world import BACKGROUNDS, COLOURS, PLACES, RELATIONS, SIZES, Edit, Scene

COUNTS = ("one", "two", "three", "four")
OPENINGS = ("", "", "", "a picture of ", "a drawing of ", "an image with ", "draw ")
BACKDROPS = (" on a {} background", " on a {} background", ", {} background", " in front of a {} wall", " on {}")
RELATION_WORDS = {
    "left of": ("left of", "to the left of", "on the left side of"),
    "right of": ("right of", "to the right of", "on the right side of"),
    "above": ("above", "over", "on top of"),
    "below": ("below", "under", "underneath"),
}
RECOLOUR = (
    "make the {shape} {new}",
    "make the {old} {shape} {new}",
    "change the {shape} to {new}",
    "paint the {shape} {new}",
    "the {old} {shape} turns {new}",
    "the {shape} in {new}",
)
REMOVE = ("remove the {old} {shape}", "remove the {shape}", "delete the {shape}", "take away the {old} {shape}")
ADD = ("add {thing} {place}", "put {thing} {place}", "draw {thing} {place}", "add {place} {thing}")
REPLACE = (
    "replace the {old} {shape} with {thing}",
    "replace the {shape} with {thing}",
    "turn the {old} {shape} into {thing}",
    "swap the {shape} for {thing}",
)
MOVE = ("move the {old} {shape} {to}", "move the {shape} {to}", "put the {shape} {place}")
BACKGROUND = (
    "change the background to {new}",
    "make the background {new}",
    "a {new} background instead",
    "paint the background {new}",
)


def article(words: str) -> str:
    """ "a" or "an" before the words."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def plural(shape: str) -> str:
    return f"{shape}es" if shape.endswith("s") else f"{shape}s"


def thing_words(colour: str | None, shape: str, size: str | None = None) -> str:
    """A thing with its article: "a small red circle"."""
    return article(" ".join(filter(None, (size, colour, shape))))


def pick(random: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(random.integers(len(choices)))]


def with_backdrop(words: str, scene: Scene, random: np.random.Generator) -> str:
    """The words with an opening and, three times in four, the background."""
    opening = pick(random, OPENINGS)
    ending = pick(random, BACKDROPS).format(scene.background) if random.random() < 0.75 else ""
    return f"{opening}{words}{ending}"


def size_of(half: float) -> str | None:
    """The word for a half-width, or none between."""
    return next((word for word, (low, high) in SIZES.items() if low <= half <= high), None)


def listed(scene: Scene, random: np.random.Generator, coloured: bool = True) -> str:
    """Every thing, with "and", with or without colours; now and then with its size."""
    words = []
    for thing in scene.things:
        size = size_of(thing.half) if random.random() < 0.5 else None
        words.append(thing_words(thing.colour if coloured else None, thing.shape, size))
    head = ", ".join(words[:-1])
    return f"{head} and {words[-1]}" if head else words[-1]


def counted(scene: Scene) -> str:
    """Several equal things: "three red circles"."""
    first = scene.things[0]
    count = len(scene.things)
    shape = plural(first.shape) if count > 1 else first.shape
    return f"{COUNTS[count - 1]} {first.colour} {shape}"


def related(scene: Scene, relation: str, random: np.random.Generator) -> str:
    """Two things and where the first stands."""
    first, second = (thing_words(thing.colour, thing.shape) for thing in scene.things)
    return f"{first} {pick(random, RELATION_WORDS[relation])} {second}"


def told_background(caption: str) -> str | None:
    """The background that a caption tells, if it does."""
    return next(
        (
            name
            for name in BACKGROUNDS
            if f"{name} background" in caption or f"{name} wall" in caption or caption.endswith(f" on {name}")
        ),
        None,
    )


def instruction(edit: Edit, random: np.random.Generator) -> str:
    """What to change, in words that fit one thing of the scene only."""
    if edit.kind == "background":
        return pick(random, BACKGROUND).format(new=edit.after.background)
    old = None if edit.target is None else edit.before.things[edit.target]
    new = None if edit.result is None else edit.after.things[edit.result]
    forms = {"recolour": RECOLOUR, "remove": REMOVE, "add": ADD, "replace": REPLACE, "move": MOVE}[edit.kind]
    place = edit.place or ""
    return pick(random, forms).format(
        old=old.colour if old else "",
        shape=old.shape if old else "",
        new=new.colour if new else "",
        thing=thing_words(new.colour, new.shape) if new else "",
        place=place,
        to=place.replace("in the ", "to the ").replace("at the ", "to the ").replace("on the ", "to the "),
    )


def words() -> list[str]:
    """Every word and phrase of this language, in a fixed order: what a tokenizer for it is trained on."""
    things = [thing_words(colour, shape) for colour in COLOURS for shape in SHAPES]
    sized = [thing_words("red", shape, size) for shape in SHAPES for size in SIZES]
    counts = [f"{count} {colour} {plural(shape)}" for count in COUNTS for colour in COLOURS for shape in SHAPES]
    relations = [
        f"{first} {phrase} {things[-1]}" for first in things for each in RELATION_WORDS.values() for phrase in each
    ]
    backdrops = [f"{things[0]}{form.format(colour)}" for form in BACKDROPS for colour in BACKGROUNDS]
    edits = [
        form.format(old="red", shape=shape, new="blue", thing=things[9], place=place, to="to the top left corner")
        for forms in (RECOLOUR, REMOVE, ADD, REPLACE, MOVE, BACKGROUND)
        for form in forms
        for shape in SHAPES
        for place in PLACES
    ]
    openings = [f"{opening}{things[0]}" for opening in OPENINGS]
    return list(dict.fromkeys([*things, *sized, *counts, *relations, *backdrops, *edits, *openings, *RELATIONS]))
