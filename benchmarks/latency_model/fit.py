"""Rates that fit the measurements: positive, in the logarithm of the time, every network left out in turn."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dreamlite_mobile.latency.rates import Chip, Rates, Spread, terms
from dreamlite_mobile.latency.work import Work

Array = NDArray[np.float64]
Form = Literal["sum", "roofline"]
REFERENCE = "SM8650"
BUS_SHARE = 60 / 76.8
"""60 GB/s measured from DDR into the processor's memory on SM8650 (arXiv 2509.23324, table 2) of 76.8."""
PARAMETERS = {"conv": 0.17, "linear": 0.25, "depthwise": 1.0, "softmax": 10.0, "elementwise": 3.0, "weight bytes": 16.7,
              "traced bytes": 8.3, "operators": 0.3, "call": 0.2, "a16": 0.6, "a8": 0.25, "w4": 1.0}  # fmt: skip
"""What is expected of each parameter before any measurement: fp16 products and bytes as measured on SM8650 (arXiv
2509.23324, table 2: 6.02 TMAC/s, 60 GB/s), half of the traced bytes in memory, the others guesses of the right size.
The last three are what a precision makes of the time that fp16 takes."""
FACTORS: Mapping[str, tuple[str, ...]] = {
    "conv fp16": ("conv",),
    "conv w8a16": ("conv", "a16"),
    "conv w8a8": ("conv", "a8"),
    "linear fp16": ("linear",),
    "linear w8a16": ("linear", "a16"),
    "linear w4a16": ("linear", "a16", "w4"),
    **{name: (name,) for name in list(PARAMETERS)[2:9]},
}
"""Rate -> the parameters whose product it is. Sharing them is what lets a network be predicted whose kind of operator
no other network has at its precision."""
MEMORY = ("weight bytes", "traced bytes")
OVERHEAD = ("operators", "call")
PULLS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5)
PULL = 0.4
"""How strongly parameters are drawn to what is expected of them: the weakest of `PULLS` that predicts left-out networks
within 2 % as well as the best."""
CLIP = 0.3
"""Residuals beyond this count linearly, not squared (Huber)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement."""

    net: str
    precision: str
    soc: str
    ms: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """Rates by name, and what a chip's times are multiplied by."""

    ms: Mapping[str, float]
    slower: Mapping[str, float]
    form: Form

    def predict(self, work: Work, row: Row) -> float:
        amounts = by_rate(work, row.precision)
        times = {name: self.ms[name] * amount for name, amount in amounts.items()}
        return self.slower[row.soc] * total(times, self.form)


def total(times: Mapping[str, float], form: Form) -> float:
    """`sum`: one after the other. `roofline`: arithmetic beside memory, the longer of both counts."""
    if form == "sum":
        return sum(times.values())
    memory = sum(times[name] for name in MEMORY)
    overhead = sum(times[name] for name in OVERHEAD)
    return max(memory, sum(times.values()) - memory - overhead) + overhead


def by_rate(work: Work, precision: str) -> dict[str, float]:
    """Amounts of every rate, zeros too."""
    found = dict.fromkeys(FACTORS, 0.0)
    for (_, name), amount in terms(work, precision).items():
        found[name] += amount
    return found


def fit(rows: Sequence[Row], works: Mapping[str, Work], form: Form = "sum", pull: float = PULL) -> Fitted:
    """Gauss-Newton in the logarithms of rates and factors; each step is damped until it helps."""
    names, chips = list(FACTORS), sorted({row.soc for row in rows} - {REFERENCE})
    factors = np.array([[parameter in FACTORS[name] for parameter in PARAMETERS] for name in names], float)
    amounts = np.array([[by_rate(works[row.net], row.precision)[name] for name in names] for row in rows])
    on_chip = np.array([[row.soc == chip for chip in chips] for row in rows], float)
    measured = np.log([row.ms for row in rows])
    start = np.concatenate([np.log(list(PARAMETERS.values())), np.zeros(len(chips))])
    count = len(PARAMETERS)

    def model(x: Array) -> tuple[Array, Array]:
        """Log times and their derivatives."""
        parts = amounts * np.exp(factors @ x[:count])
        counted = np.ones_like(parts)
        if form == "roofline":
            memory = np.isin(names, MEMORY)
            arithmetic = ~memory & ~np.isin(names, OVERHEAD)
            bound = parts[:, memory].sum(1) > parts[:, arithmetic].sum(1)
            counted[np.ix_(bound, arithmetic)] = 0
            counted[np.ix_(~bound, memory)] = 0
        parts = parts * counted
        whole = parts.sum(1)
        return np.log(whole) + on_chip @ x[count:], np.hstack([parts / whole[:, None] @ factors, on_chip])

    def loss(x: Array) -> float:
        far = np.abs(model(x)[0] - measured)
        huber = np.where(far < CLIP, far**2, 2 * CLIP * far - CLIP**2)
        return float(huber.sum() + pull**2 * ((x - start) ** 2).sum())

    x, damping = start.copy(), 1e-2
    for _ in range(200):
        logs, slopes = model(x)
        residual = logs - measured
        weight = np.minimum(1.0, CLIP / np.maximum(np.abs(residual), 1e-12))
        hessian = slopes.T @ (weight[:, None] * slopes) + pull**2 * np.eye(len(x))
        gradient = slopes.T @ (weight * residual) + pull**2 * (x - start)
        step = np.linalg.solve(hessian + damping * np.eye(len(x)), -gradient)
        if loss(x + step) < loss(x):
            x, damping = x + step, damping / 3
        else:
            damping *= 4
        if np.abs(step).max() < 1e-7:
            break
    slower = {REFERENCE: 1.0, **dict(zip(chips, np.exp(x[count:]).tolist(), strict=True))}
    return Fitted(dict(zip(names, np.exp(factors @ x[:count]).tolist(), strict=True)), slower, form)


@dataclass(frozen=True, slots=True)
class Left:
    """A measurement and what the rates say that were fitted without its network."""

    row: Row
    predicted: float

    @property
    def ratio(self) -> float:
        """Measured over predicted."""
        return self.row.ms / self.predicted


def fits_without(
    rows: Sequence[Row], works: Mapping[str, Work], form: Form = "sum", pull: float = PULL
) -> dict[str, Fitted]:
    """Network -> rates that have seen neither it nor another precision or chip of it."""
    return {
        net: fit([row for row in rows if row.net != net], works, form, pull)
        for net in dict.fromkeys(row.net for row in rows)
    }


def left_out(rows: Sequence[Row], works: Mapping[str, Work], without: Mapping[str, Fitted]) -> list[Left]:
    """Every measurement as the rates without its network predict it."""
    return [Left(row, without[row.net].predict(works[row.net], row)) for row in rows]


def rows_of(table: Mapping[str, Any]) -> tuple[list[Row], list[Row]]:
    """The measurements to fit, and those set aside: quantised networks that are slower than the same in fp16.

    Those say how a network was quantised (operators that the compiler could not fuse), not what the chip can do.
    """
    rows = [Row(one["net"], one["precision"], one["soc"], one["ms"]) for one in table["measurements"]]
    fp16 = {(row.net, row.soc): row.ms for row in rows if row.precision == "fp16"}
    aside = [row for row in rows if row.ms > fp16.get((row.net, row.soc), row.ms)]
    return [row for row in rows if row not in aside], aside


def rates_of(fitted: Fitted, chips: Mapping[str, Chip]) -> tuple[dict[str, float], dict[str, Chip]]:
    """The parts of `Rates` that a fit decides."""
    return dict(fitted.ms), {soc: chip.model_copy(update={"slower": fitted.slower[soc]}) for soc, chip in chips.items()}


def packaged(fitted: Fitted, left: Sequence[Left], table: Mapping[str, Any], digest: str) -> Rates:
    """What goes into the package."""
    ratios = [one.ratio for one in left]
    low, high = np.quantile(ratios, [0.1, 0.9]).tolist()
    peaks = {chip["soc"]: 2 * 8 * chip["memory_mhz"] / 1e3 for chip in table["chips"]}
    return Rates(
        version=1,
        measurements_sha256=digest,
        measurements=len(left),
        networks=len({one.row.net for one in left}),
        ms={name: round(value, 5) for name, value in fitted.ms.items()},
        chips={
            soc: Chip(slower=round(fitted.slower[soc], 4), memory_gb_s=round(peak, 1)) for soc, peak in peaks.items()
        },
        bus_share=round(BUS_SHARE, 4),
        spread=Spread(low=round(low, 4), high=round(high, 4), least=round(min(ratios), 4), most=round(max(ratios), 4)),
    )


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
