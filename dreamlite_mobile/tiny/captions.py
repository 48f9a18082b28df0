"""The language of the embedded checkpoint's world: coloured shapes, where they stand, what stands behind them.

A small grammar written out, in a fixed order: the sentences a tokenizer for this world is trained on.
"""

from collections.abc import Iterator

COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "white", "black", "grey", "pink", "brown", "cyan")
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "diamond", "heart")
SIZES = ("small", "large", "tiny", "huge")
RELATIONS = ("left of", "right of", "above", "below", "next to", "inside", "behind", "in front of")
COUNTS = ("two", "three", "four", "five")
PLACES = ("in the top left corner", "in the top right corner", "at the bottom", "at the top", "in the middle")
BACKGROUNDS = (
    "a plain {} background",
    "a {} sky",
    "a {} wall",
    "a {} gradient",
    "{} stripes",
    "a {} checkerboard",
)
OPENINGS = ("", "a picture of ", "a drawing of ", "a photo of ")


def captions() -> Iterator[str]:
    """What is on a picture: every colour with every shape, then relations, counts, places and backgrounds."""
    for index, (colour, shape) in enumerate(_pairs()):
        other, next_shape = _other(COLOURS, colour, index + 5), _other(SHAPES, shape, index + 3)
        size, relation = _turn(SIZES, index), _turn(RELATIONS, index)
        background = _turn(BACKGROUNDS, index).format(_turn(COLOURS, index + 7))
        yield f"{_turn(OPENINGS, index)}a {size} {colour} {shape} on {background}"
        yield f"a {colour} {shape} {relation} a {size} {other} {next_shape}"
        yield f"{_turn(COUNTS, index)} {colour} {shape}s and one {other} {next_shape} on {background}"
        yield f"a {other} {next_shape} {_turn(PLACES, index)}, {relation} the {colour} {shape}, on {background}."


def instructions() -> Iterator[str]:
    """What is to be changed: colours, shapes, sizes, places, backgrounds, and things that come or go."""
    for index, (colour, shape) in enumerate(_pairs()):
        other, next_shape = _other(COLOURS, colour, index + 5), _other(SHAPES, shape, index + 3)
        background = _turn(BACKGROUNDS, index).format(other)
        yield f"the {shape} turned {other}"
        yield f"Make the {colour} {shape} {other}."
        yield f"replace the {colour} {shape} with a {other} {next_shape}"
        yield f"Remove the {colour} {shape}, keep the rest"
        yield f"add a {_turn(SIZES, index)} {colour} {shape} {_turn(RELATIONS, index)} the {next_shape}"
        yield f"change the background to {background}"
        yield f"move the {shape} to the {_turn(('left', 'right', 'top', 'bottom'), index)}"
        yield f"the {colour} {shape} is {_turn(('larger', 'smaller', 'gone', 'brighter', 'darker'), index)} now"


def sentences() -> list[str]:
    """All captions and instructions, without repeats, in their fixed order."""
    return list(dict.fromkeys(text.replace("a orange", "an orange") for text in [*captions(), *instructions()]))


def _pairs() -> Iterator[tuple[str, str]]:
    return ((colour, shape) for colour in COLOURS for shape in SHAPES)


def _other(choices: tuple[str, ...], taken: str, index: int) -> str:
    return next(choice for choice in (_turn(choices, index), _turn(choices, index + 1)) if choice != taken)


def _turn(choices: tuple[str, ...], index: int) -> str:
    """Lists of different lengths taken in turns meet in ever new combinations."""
    return choices[(index + index // len(choices)) % len(choices)]
