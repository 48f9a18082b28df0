"""How far one result is from another, in float64."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dreamlite_mobile.errors import ParityError

UINT8_PEAK = 255.0
SIGNED_PEAK = 2.0
"""Span of a float picture in [-1, 1]."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """Distance of a result from its reference.

    snr_db: signal of the reference over the energy of the difference; infinite when they are equal.
    relative_rms: root mean square of the difference over that of the reference; 0 for two zeros, infinite for a
        difference from a zero reference.
    cosine: of the two as vectors; 1 for two zeros, 0 when only one is zero.
    max_error, worst: largest absolute difference and the index where it stands.
    psnr_db: for pictures only.
    defects: what disqualifies the comparison whatever the numbers say; empty when it is sound.
    """

    snr_db: float
    relative_rms: float
    cosine: float
    max_error: float
    worst: tuple[int, ...]
    psnr_db: float | None = None
    defects: tuple[str, ...] = ()


def compare(found: NDArray[Any], reference: NDArray[Any], *, picture: bool = False) -> Metrics:
    """Measure a result against its reference; `picture` adds the PSNR.

    Values that are not finite and constants are defects: a network that returns zeros everywhere equals nothing.

    Raises:
        ParityError: empty results, or shapes that differ.
    """
    if found.shape != reference.shape or found.size == 0:
        raise ParityError(f"results of shapes {list(found.shape)} and {list(reference.shape)} cannot be compared")
    defects = (*_defects("result", found), *_defects("reference", reference))
    if not (np.isfinite(found).all() and np.isfinite(reference).all()):
        worst = _index(~np.isfinite(found) | ~np.isfinite(reference))
        return Metrics(-math.inf, math.inf, 0.0, math.inf, worst, -math.inf if picture else None, defects)
    left, right = found.astype(np.float64), reference.astype(np.float64)
    difference = np.abs(left - right)
    noise, signal = float(np.square(difference).sum()), float(np.square(right).sum())
    return Metrics(
        snr_db=_decibels(signal, noise),
        relative_rms=_ratio(math.sqrt(noise), math.sqrt(signal)),
        cosine=_cosine(left, right),
        max_error=float(difference.max()),
        worst=_index(difference),
        psnr_db=psnr(found, reference) if picture else None,
        defects=defects,
    )


def psnr(found: NDArray[Any], reference: NDArray[Any]) -> float:
    """Peak signal-to-noise ratio of two pictures in dB; infinite when they are equal.

    uint8 pictures have a peak of 255. Float pictures are clamped to [-1, 1], as they are when shown, and have one of 2.

    Raises:
        ParityError: shapes or kinds of number that differ.
    """
    if found.shape != reference.shape or (found.dtype == np.uint8) != (reference.dtype == np.uint8):
        raise ParityError(
            f"pictures {found.dtype}{list(found.shape)} and {reference.dtype}{list(reference.shape)} cannot be compared"
        )
    if found.dtype == np.uint8:
        left, right, peak = found.astype(np.float64), reference.astype(np.float64), UINT8_PEAK
    else:
        left, right = (np.clip(side.astype(np.float64), -1.0, 1.0) for side in (found, reference))
        peak = SIGNED_PEAK
    return _decibels(peak**2, float(np.square(left - right).mean()))


def _defects(side: str, values: NDArray[Any]) -> tuple[str, ...]:
    if not np.isfinite(values).all():
        return (f"the {side} has {int((~np.isfinite(values)).sum())} values that are not finite",)
    if values.size > 1 and values.min() == values.max():
        return (f"the {side} is {float(values.flat[0]):g} everywhere",)
    return ()


def _decibels(signal: float, noise: float) -> float:
    if noise == 0.0:
        return math.inf
    return 10.0 * math.log10(signal / noise) if signal > 0.0 else -math.inf


def _ratio(part: float, whole: float) -> float:
    if whole == 0.0:
        return 0.0 if part == 0.0 else math.inf
    return part / whole


def _cosine(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    lengths = float(np.linalg.norm(left) * np.linalg.norm(right))
    if lengths == 0.0:
        return 1.0 if not (left.any() or right.any()) else 0.0
    return float(np.dot(left.ravel(), right.ravel())) / lengths


def _index(values: NDArray[Any]) -> tuple[int, ...]:
    return tuple(int(place) for place in np.unravel_index(int(np.argmax(values)), values.shape))
