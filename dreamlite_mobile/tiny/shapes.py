"""The shapes of the embedded world as signed distances, and how they are painted with anti-aliased edges.

Beside those that have a name there are strange ones, a different outline for every number.
"""

from collections.abc import Callable, Mapping
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RING_HOLE = 0.55
"""Inner radius of a ring whose outer one is 1."""


def polygon_distance(x: Floats, y: Floats, corners: Floats) -> Floats:
    """Signed distance to a simple polygon, negative inside; corners [n, 2], x and y of any one shape."""
    nearest = np.full(x.shape, np.inf)
    inside = np.zeros(x.shape, dtype=bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, 0), strict=True):
        ex, ey = bx - ax, by - ay
        px, py = x - ax, y - ay
        along = np.clip((px * ex + py * ey) / (ex * ex + ey * ey), 0.0, 1.0)
        nearest = np.minimum(nearest, (px - along * ex) ** 2 + (py - along * ey) ** 2)
        if ay != by:
            crosses = (ay <= y) != (by <= y)
            inside ^= crosses & (px < py * ex / ey)
    distance = np.sqrt(nearest)
    return np.where(inside, -distance, distance)


def _regular(points: int, inner: float) -> Floats:
    """A star with `points` tips, the first one up; `inner` is the radius of its notches."""
    angles = np.arange(2 * points) * np.pi / points
    radii = np.where(np.arange(2 * points) % 2 == 0, 1.0, inner)
    return np.stack([radii * np.sin(angles), -radii * np.cos(angles)], 1)


def _heart() -> Floats:
    """The usual sixteen-sine-cubed curve, scaled into the unit square, tip down."""
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([x / 17, -(y + 2.5) / 14.5], 1)


_ARM = 0.36
OUTLINES: Mapping[str, Floats] = {
    "square": np.array([(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)]),
    "triangle": np.array([(0.0, -0.95), (1.0, 0.8), (-1.0, 0.8)]),
    "star": _regular(5, 0.5),
    "diamond": np.array([(0.0, -1.0), (0.72, 0.0), (0.0, 1.0), (-0.72, 0.0)]),
    "heart": _heart(),
    "cross": np.array(
        [
            (-_ARM, -1.0),
            (_ARM, -1.0),
            (_ARM, -_ARM),
            (1.0, -_ARM),
            (1.0, _ARM),
            (_ARM, _ARM),
            (_ARM, 1.0),
            (-_ARM, 1.0),
            (-_ARM, _ARM),
            (-1.0, _ARM),
            (-1.0, -_ARM),
            (-_ARM, -_ARM),
        ]
    ),
}


def _circle(x: Floats, y: Floats) -> Floats:
    return np.hypot(x, y) - 1.0


def _ring(x: Floats, y: Floats) -> Floats:
    radius = np.hypot(x, y)
    return np.maximum(radius - 1.0, RING_HOLE - radius)


STRANGE = "strange "
"""What the names of shapes begin with that are only a number; no words speak of them."""
CORNERS = (3, 9)
"""Least and most of a strange shape."""
NOTCH = 0.35
"""Least distance of a strange shape's corner from its middle."""


@lru_cache(maxsize=1024)
def strange_outline(number: int) -> Floats:
    """Corners [n, 2] of a strange shape: around its middle at any distance, the farthest at 1."""
    random = np.random.default_rng(number)
    count = int(random.integers(CORNERS[0], CORNERS[1] + 1))
    angles = (np.arange(count) + random.uniform(-0.35, 0.35, count)) * 2 * np.pi / count + random.uniform(0, 2 * np.pi)
    radii = random.uniform(NOTCH, 1.0, count)
    return (radii / radii.max())[:, None] * np.stack([np.sin(angles), -np.cos(angles)], 1)


SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "diamond", "heart")
_ROUND: Mapping[str, Callable[[Floats, Floats], Floats]] = {"circle": _circle, "ring": _ring}


def distance(shape: str, x: Floats, y: Floats) -> Floats:
    """Signed distance of points to a shape of half-size 1 around the origin, y down; negative inside.

    Raises:
        KeyError: an unknown shape.
    """
    if shape in _ROUND:
        return _ROUND[shape](x, y)
    if shape.startswith(STRANGE):
        return polygon_distance(x, y, strange_outline(int(shape.removeprefix(STRANGE))))
    return polygon_distance(x, y, OUTLINES[shape])


def coverage(shape: str, x: float, y: float, half: float, side: int) -> tuple[slice, slice, Floats]:
    """How much of each pixel a shape covers.

    Args:
        x, y, half: centre and half-size in pixels.
        side: width and height of the picture.

    Returns:
        Rows, columns, and coverage in [0, 1] of the pixels in that box.
    """
    top, left = max(int(y - half) - 1, 0), max(int(x - half) - 1, 0)
    bottom, right = min(int(y + half) + 2, side), min(int(x + half) + 2, side)
    columns, rows = np.meshgrid(np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5)
    pixels = distance(shape, (columns - x) / half, (rows - y) / half) * half
    return slice(top, bottom), slice(left, right), np.clip(0.5 - pixels, 0.0, 1.0)


@lru_cache(maxsize=1024)
def extent(shape: str) -> float:
    """Half the longer side of a shape's box, for a shape of half-size 1."""
    _, _, covered = coverage(shape, 128.0, 128.0, 100.0, 256)
    rows, columns = (np.flatnonzero(covered.any(axis)) for axis in (1, 0))
    return max(len(rows), len(columns)) / 200


@cache
def template(shape: str, side: int, rounding: float = 0.0) -> Floats:
    """Coverage of a shape that fills its own bounding box, sampled on side x side: what a detector compares with.

    `rounding`: radius of its outer corners, for a shape of half-size 1.
    """
    fine = np.linspace(-1.05, 1.05, 8 * side)
    x, y = np.meshgrid(fine, fine)
    solid = widened(distance(shape, x, y) <= -rounding, rounding / (fine[1] - fine[0]))
    rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    box = solid[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    picked_rows = ((np.arange(side) + 0.5) * box.shape[0] / side).astype(int)
    picked_columns = ((np.arange(side) + 0.5) * box.shape[1] / side).astype(int)
    return box[np.ix_(picked_rows, picked_columns)].astype(np.float64)


def widened(solid: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """Everything within `radius` samples of the solid."""
    reach = radius * np.outer((0.5, 1.0), np.exp(2j * np.pi * np.arange(64) / 64)).ravel()
    wide = solid.copy()
    for shift in {(round(each.real), round(each.imag)) for each in reach.tolist()}:
        wide |= np.roll(solid, shift, (0, 1))
    return wide
