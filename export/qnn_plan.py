"""Which layers of a component have 8-bit weights on the HTP, and which need 16.

All have 8 bits where that is close enough on calibration runs, after weights were rounded so that errors cancel
(`rounding`). Where it is not, as with random weights, the layers on the picture's own path get 16.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from dreamlite_mobile.errors import ExportError
from dreamlite_mobile.parity.metrics import compare
from export.calibration import Inputs
from export.rounding import round_weights

BITS = {"w8a16": 8}
LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
ENOUGH_DB = 40.0
"""What weights alone must keep of a component's outputs on calibration runs: 5 dB over the floor, for activations cost
something, and runs that calibration did not see lose more."""
WIDE = {
    "text_encoder": re.compile(r"(?!)"),
    "vision_encoder": re.compile(r"patch_embed|merger"),
    "unet": re.compile(r"^(?!.*transformer_blocks)|attn2\.to_k"),
    "vae_encoder": re.compile(r"^layers\.\d+$"),
    "vae_decoder": re.compile(r"^layers\.\d+$|\.up$"),
}
"""Layers whose weights have 16 bits where 8 for all are not enough, by component: those on the picture's own path,
found by giving one kind of layer at a time 8 bits (benchmarks/htp.md)."""

Modules = Mapping[str, nn.Module]
Calls = Mapping[str, Sequence[Inputs]]


@dataclass(frozen=True, slots=True)
class WeightPlan:
    """Which bits each layer's weights get: the names of those with 16, and of those with `bits`.

    `weights_db`: what that alone keeps of the outputs, at the worst of all calibration calls.
    """

    component: str
    precision: str
    bits: int
    narrow: tuple[str, ...]
    wide: tuple[str, ...]
    weights_db: float | None = None


def planned(component: str, precision: str, modules: Modules, calls: Calls) -> WeightPlan:
    """The plan of a component's methods, which share their layers; what it gives few bits is rounded in place.

    Raises:
        ExportError: a precision that the HTP has no integers for.
    """
    plan = weight_plan(component, precision, modules)
    wanted = list(outputs(modules, calls))
    layers = layers_of(modules)
    kept = {name: layers[name].weight.data for name in plan.narrow}
    plan = rounded(plan, modules, calls, wanted)
    wide = [name for name in plan.narrow if WIDE[component].search(name)]
    if plan.weights_db is not None and plan.weights_db < ENOUGH_DB and wide:
        for name, weight in kept.items():
            layers[name].weight.data = weight
        narrow = tuple(name for name in plan.narrow if name not in wide)
        plan = rounded(replace(plan, narrow=narrow, wide=tuple(wide)), modules, calls, wanted)
    return plan


def weight_plan(component: str, precision: str, modules: Modules) -> WeightPlan:
    """Few bits for every layer.

    Raises:
        ExportError: a precision that the HTP has no integers for.
    """
    if precision not in BITS:
        raise ExportError(f"{component}: {precision} is no precision in integers; supported: {', '.join(BITS)}")
    return WeightPlan(component, precision, BITS[precision], narrow=tuple(layers_of(modules)), wide=())


def rounded(plan: WeightPlan, modules: Modules, calls: Calls, wanted: Sequence[torch.Tensor]) -> WeightPlan:
    """Round what the plan gives few bits, in place, and say what that keeps of the outputs."""
    round_weights(modules, calls, plan.narrow, plan.bits)
    layers = layers_of(modules)
    for name in plan.narrow:
        layers[name].weight.data = nearest(layers[name], plan.bits)
    found = outputs(modules, calls)
    return replace(
        plan, weights_db=min(compare(x.numpy(), y.numpy()).snr_db for x, y in zip(found, wanted, strict=True))
    )


def nearest(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, bits: int) -> torch.Tensor:
    """A layer's weights on the grid of its output channels; those that lie on it already stay."""
    axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
    weight, most = layer.weight.data, 2 ** (bits - 1) - 1
    others = [other for other in range(weight.ndim) if other != axis]
    scale = (weight.abs().amax(others, keepdim=True) / most).clamp_min(torch.finfo(torch.float32).tiny)
    return (weight / scale).round() * scale


def layers_of(modules: Modules) -> dict[str, nn.Linear | nn.Conv2d | nn.ConvTranspose2d]:
    """The layers with weights, by name, of the methods that share them."""
    return {name: layer for name, layer in next(iter(modules.values())).named_modules() if isinstance(layer, LAYERS)}


@torch.no_grad()
def outputs(modules: Modules, calls: Calls) -> Iterator[torch.Tensor]:
    """Everything that the methods give, call by call."""
    for method, module in modules.items():
        for inputs in calls[method]:
            given: torch.Tensor | Iterable[torch.Tensor] = module(*inputs)
            yield from (given,) if isinstance(given, torch.Tensor) else given
