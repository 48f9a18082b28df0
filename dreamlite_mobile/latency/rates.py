"""From work to milliseconds: each kind of operator has a rate in each precision, a byte a cost, a chip a factor.

A call takes the sum of its parts and, where a compiler has counted its bytes, never less than these take on the memory
bus. Traced bytes give no floor: published networks are faster than theirs would be. The rates are fitted on published
measurements (`benchmarks/latency_model`) and packaged as `rates.json` with the digest of their table.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from dreamlite_mobile.bundle_fields import Sha256
from dreamlite_mobile.errors import ConfigError, unknown_name
from dreamlite_mobile.latency.work import Kind, Work
from dreamlite_mobile.strict import Strict

KEPT_BYTES = 4 << 20
"""Activations up to this size are taken to stay beside the processor: half of its 8 MiB, the other half is their
neighbours'."""
Part = Literal["convolutions", "linear layers", "attention", "softmax", "elementwise", "memory", "calls"]
PARTS: Mapping[Kind, Part] = {
    "conv": "convolutions",
    "depthwise": "convolutions",
    "linear": "linear layers",
    "attention": "attention",
    "softmax": "softmax",
    "elementwise": "elementwise",
}
Positive = Annotated[float, Field(gt=0)]


@dataclass(frozen=True, slots=True)
class Numbers:
    """How a precision stores and computes. conv, linear, attention: names of their rates. numbers: the share of a
    16-bit number's time that softmax, elementwise and depthwise operators take for one of theirs."""

    weight_bytes: float
    activation_bytes: float
    conv: str
    linear: str
    attention: str
    numbers: float = 1.0


PRECISIONS: Mapping[str, Numbers] = {
    "fp16": Numbers(2, 2, "conv fp16", "linear fp16", "linear fp16"),
    "w8a16": Numbers(1, 2, "conv w8a16", "linear w8a16", "linear w8a16"),
    "w4a16": Numbers(0.5, 2, "conv w8a16", "linear w4a16", "linear w8a16"),
    "w8a8": Numbers(1, 1, "conv w8a8", "conv w8a8", "conv w8a8", 0.5),
    "w8a8mix": Numbers(1, 1.5, "conv w8a8", "conv w8a8", "linear w8a16"),
}
"""`w8a8mix`: 8-bit activations in convolutions and linear layers, 16-bit ones in attention, softmax and norms; a moved
number is between the two. No published network has linear layers with 8-bit activations wholly on the processor: they
are given the rate of convolutions. Both are therefore extrapolated."""
EXTRAPOLATED = ("w8a8", "w8a8mix")


class Chip(Strict):
    """Times of SM8650 are multiplied by `slower`. `memory_gb_s`: the peak of its memory bus."""

    slower: Positive
    memory_gb_s: Positive


class Spread(Strict):
    """Measured over predicted, of networks that were left out of the fit: 10th and 90th percentile, least and most."""

    low: Positive
    high: Positive
    least: Positive
    most: Positive


class Rates(Strict):
    """`ms`: milliseconds for each 10^9 of a term's amount (each 1,000 operators, each call). `bus_share`: what a
    program can get of a memory bus' peak."""

    version: Literal[1]
    measurements_sha256: Sha256
    measurements: Annotated[int, Field(ge=1)]
    networks: Annotated[int, Field(ge=1)]
    ms: dict[str, Positive]
    chips: dict[str, Chip]
    bus_share: Annotated[float, Field(gt=0, le=1)]
    spread: Spread

    def chip(self, soc: str) -> Chip:
        """The chip of a SoC of the table of targets.

        Raises:
            ConfigError: one without published measurements.
        """
        if soc not in self.chips:
            raise ConfigError(
                f"--soc {soc}: no measurements of it are published, so its times cannot be estimated; known are "
                f"{', '.join(self.chips)}"
            )
        return self.chips[soc]


@dataclass(frozen=True, slots=True)
class Predicted:
    """Milliseconds of one call by part; `bytes`: to and from DDR; `bound`: whether the memory bus decides."""

    parts: Mapping[Part, float]
    bytes: float
    bound: bool

    @property
    def ms(self) -> float:
        return sum(self.parts.values())


@cache
def packaged_rates() -> Rates:
    """The rates that come with this version."""
    return Rates.model_validate_json(Path(__file__).with_name("rates.json").read_text())


def check_precision(precision: str) -> Numbers:
    """ConfigError for a precision without rates."""
    if precision not in PRECISIONS:
        raise ConfigError(f"--precision: {unknown_name('precision', precision, PRECISIONS)}")
    return PRECISIONS[precision]


def terms(work: Work, precision: str, traffic: float | None = None, programs: int = 1) -> dict[tuple[Part, str], float]:
    """Part and rate -> amount, for one call.

    Args:
        traffic: bytes that the compiler counted; None: traced, of which a fitted share leaves the processor.
        programs: how many follow each other.
    """
    row = PRECISIONS[precision]
    found: defaultdict[tuple[Part, str], float] = defaultdict(float)
    for kind, amount in work.amounts.items():
        name = {"conv": row.conv, "linear": row.linear, "attention": row.attention}.get(kind, kind)
        share = 1.0 if name != kind else row.numbers
        found[PARTS[kind], name] += share * amount / 1e9
    if traffic is None:
        moved = work.traffic(0.0, row.activation_bytes, KEPT_BYTES)
        found["memory", "weight bytes"] = work.weights * row.weight_bytes / 1e9
        found["memory", "traced bytes"] = moved / 1e9
    else:
        found["memory", "weight bytes"] = traffic / 1e9
    found["calls", "operators"] = work.operators / 1e3
    found["calls", "call"] = programs
    return dict(found)


def predict(
    rates: Rates, soc: str, work: Work, precision: str, traffic: float | None = None, programs: int = 1
) -> Predicted:
    """What one call takes on a chip: what was fitted and validated, and under it the bus with a compiler's bytes."""
    chip = rates.chip(soc)
    parts: defaultdict[Part, float] = defaultdict(float)
    for (part, name), amount in terms(work, precision, traffic, programs).items():
        parts[part] += chip.slower * rates.ms[name] * amount
    if traffic is None:
        return Predicted(dict(parts), traced_bytes(rates, work, precision), False)
    missing = traffic / 1e6 / (chip.memory_gb_s * rates.bus_share) - sum(parts.values())
    if missing > 0:
        parts["memory"] += missing
    return Predicted(dict(parts), traffic, missing > 0)


def traced_bytes(rates: Rates, work: Work, precision: str) -> float:
    """Weights, and the fitted share of traced activations, to and from DDR."""
    row = PRECISIONS[precision]
    share = rates.ms["traced bytes"] / rates.ms["weight bytes"]
    weights = work.traffic(row.weight_bytes, 0.0, KEPT_BYTES)
    return weights + share * work.traffic(0.0, row.activation_bytes, KEPT_BYTES)
