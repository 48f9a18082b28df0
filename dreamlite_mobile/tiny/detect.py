"""What is on a picture of the embedded world, judged from its pixels alone.

The background is read off the picture's edge, things are connected regions that differ from it, their colours the
nearest of the world's, their shapes those whose outline covers the region best. Knows nothing of any model.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dreamlite_mobile.tiny.shapes import SHAPES, template, widened
from dreamlite_mobile.tiny.world import BACKGROUNDS, COLOURS, Colour, Pixels

Floats = NDArray[np.float64]
Region = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Rows and columns of pixels."""
UNKNOWN = "unknown"
EDGE = 0.03
"""Width of the picture's edge, in picture sides, that is taken for background."""
DIFFERENT = 42.0
"""Least distance in sRGB between a thing and the background."""
LEAST_AREA = 0.002
"""Smaller regions are specks; in pictures. The smallest thing of the world, a small ring, has 0.026."""
FAR = 75.0
"""A colour farther than this from all of the world's is unknown."""
LIKE = 0.72
"""Least overlap (intersection over union) with a shape's outline."""
ROUNDINGS = (0.0, 0.15)
"""A shape may also be drawn with corners of this radius, for a shape of half-size 1: small stars have lost their tips
where a person still sees a star."""
GRID = 24


@dataclass(frozen=True, slots=True)
class Found:
    """One region: shape and colour ("unknown" if none fits), centre and half-size of its box in picture sides."""

    shape: str
    colour: str
    x: float
    y: float
    half: float
    likeness: float


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything found on a picture, the largest first."""

    background: str
    things: tuple[Found, ...]


def detect(picture: Pixels) -> Seen:
    """Find background and things. picture: uint8 [side, side, 3]."""
    values = picture.astype(np.float64)
    side = len(values)
    backdrop = background_of(values)
    distance = np.linalg.norm(values - backdrop, axis=2)
    least = LEAST_AREA * side * side
    things = [
        found_thing(values, backdrop, *part)
        for region in regions(distance > DIFFERENT)
        if len(region[0]) >= least
        for part in parts_of(region, distance)
        if len(part[0]) >= least
    ]
    things.sort(key=lambda thing: -thing.half)
    return Seen(nearest(np.median(backdrop, axis=(0, 1)), BACKGROUNDS), tuple(things))


def background_of(values: Floats) -> Floats:
    """[side, 1, 3]: a straight line through the medians of the rows' outermost pixels, channel by channel."""
    side = len(values)
    edge = max(2, round(EDGE * side))
    outer = np.median(np.concatenate([values[:, :edge], values[:, -edge:]], 1), axis=1)
    height = np.arange(side) / side
    third = side // 3
    slope = (np.median(outer[-third:], 0) - np.median(outer[:third], 0)) / (
        height[-third:].mean() - height[:third].mean()
    )
    level = np.median(outer - slope * height[:, None], 0)
    return (level + slope * height[:, None])[:, None]


def regions(mask: NDArray[np.bool_]) -> list[Region]:
    """Rows and columns of every connected region, corners counting as contact."""
    side = mask.shape[1] + 2
    free = np.zeros((mask.shape[0] + 2, side), dtype=bool)
    free[1:-1, 1:-1] = mask
    left = free.ravel().tolist()
    steps = (-side - 1, -side, -side + 1, -1, 1, side - 1, side, side + 1)
    found = []
    for start in np.flatnonzero(free).tolist():
        if not left[start]:
            continue
        left[start] = False
        region = [start]
        for place in region:
            for step in steps:
                if left[place + step]:
                    left[place + step] = False
                    region.append(place + step)
        places = np.array(region)
        found.append((places // side - 1, places % side - 1))
    return found


def parts_of(region: Region, distance: Floats) -> list[Region]:
    """A region cut at half its contrast, where an edge lies, and what lies apart from those parts.

    So a smear between two things joins them no more, and a thing far paler than its neighbour is still one.
    """
    apart = distance[region]
    solid, left = np.zeros(distance.shape, dtype=bool), np.zeros(distance.shape, dtype=bool)
    solid[region] = apart > max(DIFFERENT, np.quantile(apart, 0.75) / 2)
    left[region] = True
    near = widened(solid, 2)
    return regions(solid) + regions(left & ~near)


def found_thing(values: Floats, backdrop: Floats, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Found:
    """Name one region."""
    side = len(values)
    pixels = values[rows, columns]
    apart = np.linalg.norm(pixels - backdrop[rows, 0], axis=1)
    colour = np.median(pixels[apart >= np.quantile(apart, 0.5)], axis=0)
    box = (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1)
    solid = np.zeros((box[1] - box[0], box[3] - box[2]))
    solid[rows - box[0], columns - box[2]] = 1.0
    shape, likeness = shape_of(solid)
    if min(box) == 0 or max(box) == side:
        shape = UNKNOWN  # cut off by the picture's edge, or the background itself
    return Found(
        shape=shape,
        colour=nearest(colour, COLOURS),
        x=float(box[2] + box[3]) / 2 / side,
        y=float(box[0] + box[1]) / 2 / side,
        half=float(max(solid.shape)) / 2 / side,
        likeness=likeness,
    )


def shape_of(solid: Floats) -> tuple[str, float]:
    """The shape whose outline, stretched to the region's box, overlaps it most, and that overlap."""
    rows = ((np.arange(GRID) + 0.5) * solid.shape[0] / GRID).astype(int)
    columns = ((np.arange(GRID) + 0.5) * solid.shape[1] / GRID).astype(int)
    sampled = solid[np.ix_(rows, columns)]
    overlaps = {
        shape: max(overlap(sampled, template(shape, GRID, rounding)) for rounding in ROUNDINGS) for shape in SHAPES
    }
    best = max(overlaps, key=overlaps.__getitem__)
    return (best if overlaps[best] >= LIKE else UNKNOWN), overlaps[best]


def overlap(one: Floats, other: Floats) -> float:
    return float(np.minimum(one, other).sum() / np.maximum(one, other).sum())


def nearest(colour: Floats, names: Mapping[str, Colour]) -> str:
    """The name of the nearest colour, or "unknown" if all are far."""
    name, distance = closest(colour, names)
    return name if distance <= FAR else UNKNOWN


def closest(colour: NDArray[Any], names: Mapping[str, Colour]) -> tuple[str, float]:
    """The name of the nearest colour, however far, and how far it is in sRGB."""
    distances = {name: float(np.linalg.norm(colour - np.array(value))) for name, value in names.items()}
    best = min(distances, key=distances.__getitem__)
    return best, distances[best]
