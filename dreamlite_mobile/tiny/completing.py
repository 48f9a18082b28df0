"""What a drawn picture lacks altogether: a background, a colour or a place, the same for the same picture.

A student learns only what its words and noise decide. What is chosen by lot here comes out as the mean of all lots, a
faint smear.
"""

from collections.abc import Callable, Sequence

import numpy as np

from dreamlite_mobile.tiny.shapes import SHAPES
from dreamlite_mobile.tiny.world import (
    BACKGROUNDS,
    COLOURS,
    PLACES,
    SIZES,
    CrowdedError,
    Thing,
    centred,
    held_out,
    stands_out,
    touch,
)

PLAIN_HALVES = (0.15, 0.12)
"""Half-widths of a thing whose size is not told, in picture sides; the second where the first finds no room."""


def near_background(colour: np.ndarray, colours: Sequence[str]) -> str:
    """The name nearest to a colour sRGB [3] on which things of all these colours can be seen, or else the nearest."""
    by_distance = sorted(BACKGROUNDS, key=lambda name: float(np.linalg.norm(colour - BACKGROUNDS[name])))
    return next((name for name in by_distance if all(stands_out(one, name) for one in colours)), by_distance[0])


def free_colours(shape: str, background: str) -> list[str]:
    """Those a thing of this shape may have there: they stand out, and the pair is not held out of training."""
    return [name for name in COLOURS if stands_out(name, background) and not held_out(name, shape)]


def usual_colour(shape: str, background: str) -> str:
    """One of them, the same for one shape on one background."""
    free = free_colours(shape, background)
    return free[SHAPES.index(shape) % len(free)]


def put_apart(
    colour: str,
    shape: str,
    size: str | None,
    others: Sequence[Thing],
    fits: Callable[[Thing], bool],
    toward: tuple[float, float] = (0, 0),
) -> Thing:
    """A thing at the named place farthest from the others that fits; of places as far, the one most that way.

    Raises:
        CrowdedError: none has room.
    """

    def rank(place: tuple[float, float]) -> tuple[float, float]:
        distances = [max(abs(place[0] - one.x), abs(place[1] - one.y)) for one in others]
        return -min(distances, default=0.0), -(place[0] * toward[0] + place[1] * toward[1])

    for half in PLAIN_HALVES if size is None else (sum(SIZES[size]) / 2,):
        for place in sorted(PLACES.values(), key=rank):
            thing = centred(Thing(shape, colour, *place, half), place)
            if fits(thing) and not any(touch(thing, other) for other in others):
                return thing
    raise CrowdedError
