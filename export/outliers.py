"""The largest numbers of every layer on calibration runs: how far they are from what fp16 can hold."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from dreamlite_mobile.networks.hooks import see_layers
from dreamlite_mobile.parity.numbers import FP16_MAX, Counts, counts_of
from export.calibration import Inputs


@dataclass(frozen=True, slots=True)
class Activation:
    """What one layer gave over all calls of one method.

    `peak`: the largest |x|, None where something was not finite. `overflow`: values beyond fp16's 65,504, those that
    are not finite among them. `headroom_bits`: how many times the peak could double before fp16 overflows; negative
    where it does.
    """

    method: str
    layer: str
    kind: str
    peak: float | None
    overflow: int
    headroom_bits: float | None


@torch.no_grad()
def activations(modules: Mapping[str, nn.Module], calls: Mapping[str, Sequence[Inputs]]) -> tuple[Activation, ...]:
    """Every layer that gives a tensor, methods in turn, layers in the order of their first call."""
    found: dict[tuple[str, str], tuple[str, Counts]] = {}

    def count(method: str, name: str, layer: nn.Module, output: torch.Tensor) -> None:
        kind, counts = found.get((method, name), (type(layer).__name__, Counts()))
        found[method, name] = kind, counts.plus(counts_of(output))

    see_layers(modules, calls, count)
    return tuple(described(method, name, kind, counts) for (method, name), (kind, counts) in found.items())


def described(method: str, layer: str, kind: str, counts: Counts) -> Activation:
    """One layer's counts as the plan tells them; JSON has no infinity."""
    finite = math.isfinite(counts.peak)
    headroom = round(math.log2(FP16_MAX / counts.peak), 1) if finite and counts.peak > 0 else None
    return Activation(method, layer, kind, counts.peak if finite else None, counts.overflow, headroom)


def overflowing(found: Sequence[Activation]) -> list[str]:
    """The layers that fp16 could not hold."""
    return [f"{one.method} {one.layer}" for one in found if one.overflow]


def peak_of(values: torch.Tensor) -> float:
    """The largest |x|, or NaN if there is one."""
    return float(values.abs().max())
