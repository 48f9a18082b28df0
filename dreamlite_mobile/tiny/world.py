"""The embedded world: scenes of coloured shapes with exact ground truth, drawn from a seed and rendered.

A scene says everything about its picture. Positions, sizes, tints and shading are continuous, so no picture comes
twice; some pairs of colour and shape are held out of all training scenes, to see what is learnt and what memorised.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dreamlite_mobile.tiny.shapes import SHAPES, coverage

Pixels = NDArray[np.uint8]
Colour = tuple[int, int, int]

COLOURS: Mapping[str, Colour] = {
    "red": (214, 38, 38),
    "green": (28, 140, 52),
    "blue": (36, 72, 214),
    "yellow": (246, 214, 40),
    "orange": (244, 130, 24),
    "purple": (136, 44, 168),
    "white": (250, 250, 250),
    "black": (16, 16, 16),
}
"""Of things, sRGB."""

BACKGROUNDS: Mapping[str, Colour] = {
    "grey": (136, 136, 136),
    "green": (168, 214, 160),
    "blue": (150, 196, 240),
    "pink": (246, 178, 200),
    "yellow": (248, 238, 168),
    "brown": (124, 84, 52),
    "white": (236, 236, 236),
    "black": (40, 40, 44),
}
"""Of backgrounds, sRGB; paler or darker than the things of that name, which never stand on them."""

TINT, SHADE = 7, 14.0
"""Most that a background differs from its name's colour, and its bottom from its top, in sRGB steps."""

CONTRAST = 128.0
"""Least distance in sRGB between a thing and what it stands on: tips of a star that differ less do not survive the
autoencoder, which keeps 4 numbers for 64 pixels."""

SIZES: Mapping[str, tuple[float, float]] = {"small": (0.11, 0.135), "large": (0.185, 0.225)}
"""Ranges of half the width, in picture sides. A thing whose size is not told may have either, or one between."""

PLACES: Mapping[str, tuple[float, float]] = {
    "in the top left corner": (0.23, 0.23),
    "at the top": (0.5, 0.23),
    "in the top right corner": (0.77, 0.23),
    "on the left": (0.23, 0.5),
    "in the middle": (0.5, 0.5),
    "on the right": (0.77, 0.5),
    "in the bottom left corner": (0.23, 0.77),
    "at the bottom": (0.5, 0.77),
    "in the bottom right corner": (0.77, 0.77),
}
"""Centres, in picture sides."""

RELATIONS: Mapping[str, tuple[int, int]] = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}
"""Direction from the second thing to the first, y down."""

MARGIN = 0.05
"""Least distance between things and to the edge, in picture sides."""
HELD_OUT_EVERY = 8
SIDE = 128
"""Pixels of a training picture."""

EditKind = Literal["recolour", "add", "remove", "replace", "move", "background"]
EDIT_KINDS: tuple[EditKind, ...] = ("recolour", "add", "remove", "replace", "move", "background")


class CrowdedError(ValueError):
    """No room was found for a thing; draw the scene again."""


@dataclass(frozen=True, slots=True)
class Patch:
    """Another colour on one side of a line through a thing's middle; `angle` in radians points to that side, y down."""

    colour: Colour
    angle: float


@dataclass(frozen=True, slots=True)
class Thing:
    """One shape: centre and half-width in picture sides, y down; `tint` is added to its colour, in sRGB steps."""

    shape: str
    colour: str
    x: float
    y: float
    half: float
    tint: Colour = (0, 0, 0)
    patch: Patch | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """What a picture shows. `shade`: how much lighter the bottom is than the top, in sRGB steps."""

    things: tuple[Thing, ...]
    background: str
    tint: Colour = (0, 0, 0)
    shade: float = 0.0


@dataclass(frozen=True, slots=True)
class Edit:
    """A scene before and after one change; `target` and `result` index the thing that changed in each, if one did."""

    kind: EditKind
    before: Scene
    after: Scene
    target: int | None = None
    result: int | None = None
    place: str | None = None


def held_out(colour: str, shape: str) -> bool:
    """Whether this pair is kept out of training; one in eight, every colour and every shape once."""
    return (list(COLOURS).index(colour) + 3 * SHAPES.index(shape)) % HELD_OUT_EVERY == 0


def stands_out(colour: str, background: str) -> bool:
    """Whether a thing of this colour can be told from this background, by its name and by its look."""
    apart = np.subtract(COLOURS[colour], BACKGROUNDS[background])
    return colour != background and float(np.linalg.norm(apart)) >= CONTRAST


def pairs(held: bool) -> list[tuple[str, str]]:
    """All (colour, shape) of training, or all that are held out of it."""
    return [(colour, shape) for colour in COLOURS for shape in SHAPES if held_out(colour, shape) == held]


def render(scene: Scene, side: int = SIDE) -> Pixels:
    """The picture of a scene, uint8 [side, side, 3], edges anti-aliased over one pixel."""
    base = np.add(BACKGROUNDS[scene.background], scene.tint)
    ramp = scene.shade * (np.arange(side) + 0.5) / side
    picture = np.broadcast_to(base + ramp[:, None, None], (side, side, 3)).copy()
    for thing in scene.things:
        rows, columns, covered = coverage(thing.shape, thing.x * side, thing.y * side, thing.half * side, side)
        part = picture[rows, columns]
        part += covered[..., None] * (_paint(thing, rows, columns, side) - part)
    return np.clip(picture.round(), 0, 255).astype(np.uint8)


def _paint(thing: Thing, rows: slice, columns: slice, side: int) -> NDArray[np.float64]:
    """The colours of a thing's box [rows, columns, 3], or the one that it has everywhere."""
    colour = np.add(COLOURS[thing.colour], thing.tint).astype(np.float64)
    if thing.patch is None:
        return colour
    y = np.arange(rows.start, rows.stop)[:, None] + 0.5 - thing.y * side
    x = np.arange(columns.start, columns.stop) + 0.5 - thing.x * side
    covered = np.clip(x * np.cos(thing.patch.angle) + y * np.sin(thing.patch.angle) + 0.5, 0.0, 1.0)
    return colour + covered[..., None] * (np.array(thing.patch.colour) - colour)


@dataclass(slots=True)
class Sampler:
    """Draws things, scenes and edits from one random stream; `held` draws only held-out pairs of colour and shape."""

    random: np.random.Generator
    held: bool = False

    def one(self, choices: Sequence[str]) -> str:
        return choices[int(self.random.integers(len(choices)))]

    def pair(self, background: str, other_than: Sequence[tuple[str, str]] = ()) -> tuple[str, str]:
        """A colour that stands out from the background, and a shape."""
        free = [pair for pair in pairs(self.held) if stands_out(pair[0], background) and pair not in other_than]
        return free[int(self.random.integers(len(free)))]

    def tint(self, most: int) -> Colour:
        return colour_of(self.random.integers(-most, most + 1, 3))

    def half(self, size: str | None = None) -> float:
        """Half the width of a thing, in picture sides."""
        low, high = SIZES[size] if size else (SIZES["small"][0], SIZES["large"][1])
        return float(self.random.uniform(low, high))

    def backdrop(self) -> Scene:
        """An empty scene."""
        return Scene((), self.one(list(BACKGROUNDS)), self.tint(TINT), float(self.random.uniform(-SHADE, SHADE)))

    def thing(self, colour: str, shape: str, half: float, centre: tuple[float, float], spread: float = 0.04) -> Thing:
        """A thing near a centre, moved back inside where it would be cut."""
        x, y = (float(value + self.random.uniform(-spread, spread)) for value in centre)
        return centred(Thing(shape, colour, x, y, half, self.tint(9)), (x, y))

    def anywhere(self, scene: Scene, colour: str, shape: str, half: float) -> Thing:
        """A thing that touches none of the scene's; CrowdedError if forty tries find no room."""
        for _ in range(40):
            x, y = self.random.uniform(half + MARGIN, 1 - half - MARGIN, 2)
            thing = Thing(shape, colour, float(x), float(y), half, self.tint(9))
            if not any(touch(thing, other) for other in scene.things):
                return thing
        raise CrowdedError

    def scattered(self, scene: Scene, kinds: Sequence[tuple[str, str]], halves: Sequence[float]) -> Scene:
        """The scene with these things put anywhere, the largest first."""
        for index in sorted(range(len(kinds)), key=lambda index: -halves[index]):
            scene = with_thing(scene, self.anywhere(scene, *kinds[index], halves[index]))
        return scene

    def rebacked(self, scene: Scene) -> Scene:
        """The scene on another background, on which everything can be seen; CrowdedError if there is none."""
        others = [name for name in BACKGROUNDS if name != scene.background]
        free = [name for name in others if all(stands_out(thing.colour, name) for thing in scene.things)]
        if not free:
            raise CrowdedError
        return replace(scene, background=self.one(free))

    def related(self, scene: Scene, kinds: Sequence[tuple[str, str]], relation: str) -> Scene:
        """Two things, the first in that direction of the second."""
        toward = np.array(RELATIONS[relation], dtype=float)
        halves = [float(self.random.uniform(0.1, 0.19)) for _ in kinds]
        distance = float(self.random.uniform(max(0.3, sum(halves) + 2 * MARGIN), 0.52))
        across = np.array([toward[1], toward[0]]) * self.random.uniform(-0.08, 0.08)
        middle = np.array((0.5, 0.5)) + np.abs([toward[1], toward[0]]) * self.random.uniform(-0.15, 0.15)
        placed = [
            self.thing(*kind, half, tuple(middle + sign * (toward * distance / 2 + across)), spread=0.0)
            for kind, half, sign in zip(kinds, halves, (1, -1), strict=True)
        ]
        if touch(*placed):
            raise CrowdedError
        return replace(scene, things=tuple(placed))


def colour_of(values: NDArray[Any]) -> Colour:
    """Three whole numbers as a colour, or as what is added to one."""
    red, green, blue = values.tolist()
    return red, green, blue


def centred(thing: Thing, centre: tuple[float, float]) -> Thing:
    """The thing there, moved back inside the picture where it would be cut."""
    x, y = (float(np.clip(value, thing.half + MARGIN, 1 - thing.half - MARGIN)) for value in centre)
    return replace(thing, x=x, y=y)


def touch(one: Thing, other: Thing) -> bool:
    """Whether the boxes of two things are closer than the margin, on both axes."""
    reach = one.half + other.half + MARGIN
    return abs(one.x - other.x) < reach and abs(one.y - other.y) < reach


def with_thing(scene: Scene, thing: Thing) -> Scene:
    return replace(scene, things=(*scene.things, thing))


def without(scene: Scene, index: int) -> Scene:
    return replace(scene, things=scene.things[:index] + scene.things[index + 1 :])


def changed(scene: Scene, index: int, thing: Thing) -> Scene:
    return replace(scene, things=(*scene.things[:index], thing, *scene.things[index + 1 :]))
