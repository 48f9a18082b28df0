"""Which bits the layers of a component have on the HTP.

All weights have 8 bits (w4a16: 4) where that is close enough on calibration runs, after they were rounded so that
errors cancel (`rounding`). Where it is not, as with random weights, the layers on the picture's own path get 16 (w4a16:
those that lose most get 8). In w8a8mix, layers that bear it take and give 8-bit activations (`qnn_short`).
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from dreamlite_mobile.errors import ExportError
from export.calibration import Calls
from export.precision import WIDTHS, Widths
from export.qnn_short import FEWER, Judge, bearers, decibels_as_loss, loss, outputs, short_layers, some_of, worst_db
from export.rounding import round_weights

LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
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


@dataclass(frozen=True, slots=True)
class WeightPlan:
    """Which bits each layer's weights get: the names of those with `bits` and of those with `wide_bits`.

    `weights_db`: what that alone keeps of the outputs, at the worst of all calibration calls. `short`: layers that take
    and give 8-bit activations; `short_db`: what those keep besides. `score_loss`: the share of judged pictures that
    they turn wrong, less those that they turn right; None where no score was taken.
    """

    component: str
    precision: str
    bits: int
    narrow: tuple[str, ...]
    wide: tuple[str, ...]
    wide_bits: int = 16
    weights_db: float | None = None
    short: tuple[str, ...] = ()
    short_db: float | None = None
    score_loss: float | None = None


@torch.no_grad()
def planned(
    component: str,
    precision: str,
    modules: Modules,
    calls: Calls,
    *,
    judge: Judge | None = None,
    parts: int = 1,
    given: Iterable[torch.Tensor] | None = None,
) -> WeightPlan:
    """The plan of a component's methods, which share their layers; what it gives few bits is rounded in place.

    Args:
        judge: asked whether layers may have 8-bit activations, once they keep enough of the outputs.
        parts: how many the component is cut into, of which this is one. Errors of parts add up, so each has to keep
            more: 3 dB for two of them.
        given: what the methods give on the calls, if it is known; gone through several times.

    Raises:
        ExportError: a precision that the HTP has no integers for.
    """
    widths = widths_of(component, precision)
    widths = replace(widths, enough_db=widths.enough_db + 10 * math.log10(parts))
    layers = layers_of(modules)
    wanted = list(outputs(modules, calls)) if given is None else given
    whole = {name: layer.weight.data for name, layer in layers.items()}
    few = on_grid(modules, calls, widths.few)
    put(layers, few)
    kept_db = worst_db(outputs(modules, calls), wanted)
    plan = WeightPlan(component, precision, widths.few, tuple(few), (), widths.more, kept_db)
    if kept_db < widths.enough_db:
        put(layers, whole)
        more = whole if widths.more == 16 else on_grid(modules, calls, widths.more)
        for wide in wide_layers(component, widths, modules, calls, few):
            put(layers, {name: (more if name in wide else few)[name] for name in layers})
            narrow = tuple(name for name in layers if name not in wide)
            kept_db = worst_db(outputs(modules, calls), wanted)
            plan = replace(plan, narrow=narrow, wide=tuple(wide), weights_db=kept_db)
            if kept_db >= widths.enough_db:
                break
    if widths.short_db is not None:
        found = short_layers(modules, calls, widths.short_db, plan.narrow, judge)
        plan = replace(plan, short=found.layers, short_db=found.kept_db, score_loss=found.score_loss)
    return plan


def widths_of(component: str, precision: str) -> Widths:
    """A precision's bits; ExportError listing the known ones otherwise."""
    if precision not in WIDTHS:
        raise ExportError(f"{component}: {precision} is no precision in integers; supported: {', '.join(WIDTHS)}")
    return WIDTHS[precision]


def wide_layers(
    component: str, widths: Widths, modules: Modules, calls: Calls, few: Mapping[str, torch.Tensor]
) -> Iterator[list[str]]:
    """The layers that need more bits: those that `WIDE` names. Of few bits, those found by trying each alone on layers
    that are still whole; then ever more of them, since together they may lose more than was to be expected."""
    if widths.more == 16:
        yield [name for name in few if WIDE[component].search(name)]
        return
    layers, some = layers_of(modules), some_of(calls)
    wanted = list(outputs(modules, some))
    losses = {}
    for name, layer in layers.items():
        own, layer.weight.data = layer.weight.data, few[name]
        losses[name] = loss(outputs(modules, some), wanted)
        layer.weight.data = own
    gains = {name: float(weight.numel()) for name, weight in few.items()}
    bearing = bearers(losses, gains, decibels_as_loss(widths.enough_db))
    while True:
        yield [name for name in layers if name not in bearing]
        if not bearing:
            return
        bearing = bearing[: int(len(bearing) * FEWER)]


def on_grid(modules: Modules, calls: Calls, bits: int, names: Iterable[str] | None = None) -> dict[str, torch.Tensor]:
    """The weights of these layers, by default of all, rounded to so many bits so that errors cancel; the layers keep
    theirs."""
    known = layers_of(modules)
    layers = known if names is None else {name: known[name] for name in names}
    whole = {name: layer.weight.data for name, layer in layers.items()}
    round_weights(modules, calls, layers, bits)
    found = {name: nearest(layer, bits) for name, layer in layers.items()}
    put(layers, whole)
    return found


def put(layers: Mapping[str, nn.Module], weights: Mapping[str, torch.Tensor]) -> None:
    """Give layers weights."""
    for name, weight in weights.items():
        layers[name].weight.data = weight


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
