"""Few, noisy, skewed samples: what is said of them, and whether two sets of them differ."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dreamlite_mobile.errors import ConfigError
from dreamlite_mobile.strict import Strict

RESAMPLES = 10_000
_SEED = 0


class Summary(Strict):
    """Milliseconds. `variation`: standard deviation over mean, 0 for a single run."""

    runs: int
    median: float
    p90: float
    minimum: float
    variation: float


@dataclass(frozen=True, slots=True)
class Change:
    """One set of samples against an earlier one: ratio of medians, its 95 % interval, and the chance of luck."""

    ratio: float
    low: float
    high: float
    p_value: float


def summarise(samples: Sequence[float]) -> Summary:
    """Median, 90th percentile (interpolated), minimum and variation; ConfigError for no samples."""
    if not samples:
        raise ConfigError("no samples to summarise")
    mean = statistics.fmean(samples)
    return Summary(
        runs=len(samples),
        median=statistics.median(samples),
        p90=float(np.percentile(samples, 90)),
        minimum=min(samples),
        variation=statistics.stdev(samples) / mean if len(samples) > 1 and mean else 0.0,
    )


def change(now: Sequence[float], before: Sequence[float]) -> Change:
    """How `now` differs from `before`.

    The chance of luck is that of a two-sided permutation test of the rank sum: how often 10,000 random ways to deal the
    samples into two sets differ as much. Nothing is assumed of their distribution. The interval is a bootstrap's.

    Raises:
        ConfigError: a set without samples.
    """
    if not now or not before:
        raise ConfigError("two sets of samples are needed to compare them")
    random = np.random.default_rng(_SEED)
    left, right = np.asarray(now, np.float64), np.asarray(before, np.float64)
    ratios = resampled_medians(left, random) / resampled_medians(right, random)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return Change(float(np.median(left) / np.median(right)), float(low), float(high), rank_test(left, right, random))


def rank_test(left: NDArray[np.float64], right: NDArray[np.float64], random: np.random.Generator) -> float:
    """Two-sided p-value of the rank sum under random dealing."""
    ranks = average_ranks(np.concatenate([left, right]))
    expected = ranks.mean() * len(left)
    observed = abs(ranks[: len(left)].sum() - expected)
    dealt = random.permuted(np.tile(ranks, (RESAMPLES, 1)), axis=1)[:, : len(left)].sum(axis=1)
    extreme = int((np.abs(dealt - expected) >= observed - 1e-9).sum())
    return (extreme + 1) / (RESAMPLES + 1)


def average_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 for the smallest; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: NDArray[np.float64] = (last - (counts - 1) / 2)[inverse]
    return ranks


def resampled_medians(values: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """Medians of sets drawn from the samples with replacement."""
    drawn = random.choice(values, (RESAMPLES, len(values)))
    medians: NDArray[np.float64] = np.median(drawn, axis=1)
    return medians
