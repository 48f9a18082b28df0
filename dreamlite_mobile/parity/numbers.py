"""What the numbers of every layer look like: would they fit fp16, and do quantised layers clip.

Counted by hooks on the float32 reference while it runs what the parity run gives it, so that one count serves every
backend. A layer whose values fp16 cannot hold fails every fp16 component, whatever its SNR on these inputs. Where
activations are integers of fixed ranges, values beyond them are counted too: the program clips them.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from dreamlite_mobile.networks.hooks import see_layers
from dreamlite_mobile.runtime import Array, Component
from dreamlite_mobile.runtime.mil.program import Program

FP16_MAX = 65504.0
FP16_NORMAL = 2.0**-14
"""Smaller values lose bits in fp16: 6.1e-5."""
FP16_LEAST = 2.0**-24
"""The smallest value of fp16, 5.96e-8; what is smaller is flushed to zero or rounded to it."""
SCALED = "constexpr_blockwise_shift_scale"
"""The operator of a Core ML program that holds a weight as codes and scales."""
Place = tuple[str, str, str]
"""Component, method, layer."""
Span = tuple[float, float]
"""The least and the largest value that integer activations of a layer can stand for."""
SATURATED = 4
"""How many times the share of codes that equally likely ones have at their ends (2 of 256) means a wrong scale."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts over every value a layer gave.

    peak: largest |x|, infinite where something is not finite. overflow: beyond fp16's 65,504 or not finite.
    denormal: not zero and below 6.1e-5. flushed: those of them below 5.96e-8. beyond: outside the layer's span.
    """

    values: int = 0
    peak: float = 0.0
    overflow: int = 0
    denormal: int = 0
    flushed: int = 0
    beyond: int = 0

    def plus(self, other: "Counts") -> "Counts":
        """Both together."""
        return Counts(
            self.values + other.values,
            max(self.peak, other.peak),
            self.overflow + other.overflow,
            self.denormal + other.denormal,
            self.flushed + other.flushed,
            self.beyond + other.beyond,
        )


@dataclass(frozen=True, slots=True)
class Clipped:
    """Weight codes of a quantised layer, and those of them at an end of their range, over how many scales.

    One a scale is normal, many mean that the scale is too small.
    """

    bits: int = 8
    weights: int = 0
    at_end: int = 0
    scales: int = 0

    @property
    def saturated(self) -> bool:
        """Whether far more codes stand at an end than even weights as likely as one another would put there."""
        return self.at_end > self.scales + SATURATED * 2 / 2**self.bits * self.weights


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of one method. `clipped`: where the bundle's precision quantises its weights; `span`: where its
    activations are integers of a fixed range (those with scales measured while running have nothing beyond them)."""

    component: str
    method: str
    name: str
    kind: str
    counts: Counts
    clipped: Clipped | None = None
    span: Span | None = None


@dataclass(slots=True)
class Watch:
    """Collects counts while components run. `where`: component and method that are running. Counting takes
    time, so it begins when `active` is set.

    `quantised`: component -> layer -> its weights' counts, which are shown beside the layer's own. `spans`: of the
    layers whose activations have one. `divisors`: component -> layer -> what the bundle's program carries that layer's
    output divided by (`export.fp16_range`); so divided it is counted.
    """

    quantised: Mapping[str, Mapping[str, Clipped]] = field(default_factory=dict)
    spans: Mapping[Place, Span] = field(default_factory=dict)
    divisors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    layers: dict[Place, Layer] = field(default_factory=dict)
    where: tuple[str, str] = ("", "")
    active: bool = False

    def count(self, name: str, module: nn.Module, output: Any) -> None:
        """Count one call of one module."""
        if not (self.active and isinstance(output, torch.Tensor)):
            return
        key = (*self.where, name)
        weights, span = self.quantised.get(self.where[0], {}).get(name), self.spans.get(key)
        known = self.layers.get(key) or Layer(*key, type(module).__name__, Counts(), weights, span)
        carried = output / self.divisors.get(self.where[0], {}).get(name, 1.0)
        self.layers[key] = replace(known, counts=known.counts.plus(counts_of(carried, span)))

    def found(self) -> list[Layer]:
        """Every layer in the order of its first call."""
        return list(self.layers.values())


@dataclass(slots=True)
class Watched:
    """A torch component whose layers are counted while it runs."""

    name: str
    component: Component
    watch: Watch

    def run(self, method: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Say what is running, then run."""
        self.watch.where = (self.name, method)
        return self.component.run(method, inputs)

    def unload(self) -> None:
        """Unload what is wrapped."""
        self.component.unload()


def attach(watch: Watch, modules: Iterable[nn.Module]) -> None:
    """Hook every layer of the methods of a component, each once however many methods share it."""
    seen: set[nn.Module] = set()
    for module in modules:
        for name, layer in module.named_modules():
            if name and layer not in seen:
                seen.add(layer)
                layer.register_forward_hook(partial(called, watch, name))


def called(watch: Watch, name: str, module: nn.Module, _arguments: tuple[Any, ...], output: Any) -> None:
    """What torch calls after a hooked layer."""
    watch.count(name, module, output)


def counts_of(values: torch.Tensor, span: Span | None = None) -> Counts:
    """Count one tensor; what is not finite lies in no span."""
    beyond = 0 if span is None else int((~((values >= span[0]) & (values <= span[1]))).sum())
    sizes = values.detach().abs()
    finite = torch.isfinite(sizes)
    small = (sizes < FP16_NORMAL) & (sizes > 0)
    return Counts(
        values=sizes.numel(),
        peak=float(sizes.max()) if bool(finite.all()) else float("inf"),
        overflow=int((~finite | (sizes > FP16_MAX)).sum()),
        denormal=int(small.sum()),
        flushed=int((small & (sizes < FP16_LEAST)).sum()),
        beyond=beyond,
    )


@torch.no_grad()
def spans_of(
    component: str,
    modules: Mapping[str, nn.Module],
    calls: Mapping[str, Sequence[tuple[torch.Tensor, ...]]],
    room: float,
) -> dict[Place, Span]:
    """The span of each layer of each method: what its output reached over calibration calls, zero included, widened.

    Args:
        calls: method -> the inputs of each call, in the order of the graph.
        room: how many times as wide as the values that were seen.
    """
    found: dict[Place, Span] = {}

    def widen(method: str, name: str, _layer: nn.Module, output: torch.Tensor) -> None:
        low, high = found.get((component, method, name), (0.0, 0.0))
        ends = min(low, room * float(output.min())), max(high, room * float(output.max()))
        found[component, method, name] = ends

    see_layers(modules, calls, widen)
    return found


def weight_ends(codes: torch.Tensor, bits: int, scales: int, symmetric: bool = False) -> Clipped:
    """Weight codes at an end of the range of `bits` bits, over `scales` scales.

    `symmetric`: of 8 bits, -127 is the lower end instead of -128.
    """
    half = 2 ** (bits - 1)
    ends = (codes <= (1 - half if symmetric else -half)) | (codes >= half - 1)
    return Clipped(bits=bits, weights=codes.numel(), at_end=int(ends.sum()), scales=scales)


def symmetric_ends(weight: torch.Tensor, bits: int) -> Clipped:
    """The same for weights [O, ...] that lie on symmetric grids already, one an output channel."""
    rows = weight.detach().flatten(1)
    scale = (rows.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)).clamp_min(torch.finfo(torch.float32).tiny)
    return weight_ends((rows / scale).round(), bits, len(rows), symmetric=True)


def complaints(layers: Iterable[Layer], short: Collection[str]) -> list[str]:
    """What disqualifies a bundle; each line names a layer. `short`: components whose activations are fp16."""
    found = []
    for layer in layers:
        counts, where = layer.counts, f"{layer.component}.{layer.method} {layer.name} ({layer.kind})"
        if layer.component in short and counts.overflow:
            found.append(
                f"{where}: peak {counts.peak:,.0f} does not fit fp16, which ends at {FP16_MAX:,.0f} "
                f"({counts.overflow:,} of {counts.values:,} values)"
            )
        if layer.clipped is not None and layer.clipped.saturated:
            found.append(
                f"{where}: {layer.clipped.at_end:,} of {layer.clipped.weights:,} weight codes stand at the end of "
                "their scale, which is too small"
            )
    return found


def notable(layers: Iterable[Layer], count: int = 12) -> list[Layer]:
    """The layers nearest to trouble: overflowing ones, then those beyond their span, then the largest peaks."""
    return sorted(layers, key=lambda layer: (-layer.counts.overflow, -layer.counts.beyond, -layer.counts.peak))[:count]


def quantised_layers(component: str, modules: Mapping[str, nn.Module], precision: str) -> dict[str, Clipped]:
    """Layer -> its weight codes at the ends, for a component in the precision of a bundle. The modules are changed."""
    from export.quantize import SCHEMES, quantise

    if precision not in SCHEMES:
        return {}
    quantise(modules, component, precision)
    found = {}
    for module in modules.values():
        for name, layer in module.named_modules():
            weight: Any = getattr(layer, "weight", None)
            codes = getattr(weight, "qdata", None)
            if isinstance(codes, torch.Tensor):
                bits = int(str(weight.target_dtype).removeprefix("torch.int"))
                found[name] = weight_ends(codes, bits, weight.scale.numel())
    return found


def package_layers(programs: Iterable[Program], names: Iterable[str]) -> dict[str, Clipped]:
    """Layer -> its weight codes at the ends, as Core ML packages hold them in 8 bits.

    `names`: those of the network's layers; a package writes them with underscores for dots.
    """
    known = {f"p_{name.replace('.', '_')}_weight": name for name in names}
    found: dict[str, Clipped] = {}
    for program in programs:
        for operation in (one for function in program.functions.values() for one in function.operations):
            layer = next((name for key, name in known.items() if operation.outputs[0].name.startswith(key)), None)
            if layer is not None and operation.kind == SCALED:
                held = {part: program.constant(value) for part, value in operation.held.items()}
                codes, scales = np.asarray(held["data"]), np.asarray(held["scale"])
                found[layer] = weight_ends(torch.from_numpy(codes.astype(np.int16)), 8, scales.size, symmetric=True)
    return found
