"""Text towers whose numbers fp16 cannot hold, re-expressed so that it can.

A few rows of a language model's residual stream are thousands of times larger than the rest ("massive activations",
arXiv 2402.17762), and 65,504 is where fp16 ends. RMSNorm does not depend on a row's size, so from the first layer that
needs it on the stream is carried divided by a power of two: what is added to it is divided in the weights that make it,
eps in the norms, and the tower's states are multiplied back. What an MLP multiplies is divided in `up_proj` and
multiplied back in `down_proj`. All of it is exact but for the range.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import nn

from dreamlite_mobile.errors import ExportError
from dreamlite_mobile.networks.hooks import hooked
from dreamlite_mobile.networks.text import DecoderLayer, TextEncoder
from dreamlite_mobile.parity.numbers import FP16_MAX
from export.calibration import Inputs
from export.outliers import Activation, activations, overflowing, peak_of

ROOM = 4.0
"""How many times larger than on calibration prompts a number may get: two doublings."""


@dataclass(slots=True)
class LayerRange:
    """The largest |x| of a decoder layer's stream and of what its MLP multiplies, and what each is divided by."""

    layer: str
    stream_peak: float = 0.0
    hidden_peak: float = 0.0
    stream_divisor: float = 1.0
    hidden_divisor: float = 1.0


@dataclass(frozen=True, slots=True)
class Fp16Range:
    """How a tower was re-expressed, the largest numbers of everything in it since, and what is beyond fp16 still."""

    layers: tuple[LayerRange, ...]
    activations: tuple[Activation, ...]
    beyond: tuple[str, ...] = ()

    @property
    def divisors(self) -> dict[str, float]:
        """What each layer's output is divided by, for those where that is not 1."""
        found: dict[str, float] = {}
        for one in self.layers:
            of_stream = [one.layer + part for part in ("", ".self_attn", ".self_attn.o_proj", ".mlp", ".mlp.down_proj")]
            found |= dict.fromkeys(of_stream, one.stream_divisor) | {f"{one.layer}.mlp.up_proj": one.hidden_divisor}
        return {name: divisor for name, divisor in found.items() if divisor != 1}


@torch.no_grad()
def keep_in_range(modules: Mapping[str, nn.Module], calls: Mapping[str, Sequence[Inputs]]) -> Fp16Range:
    """Divide, in place, whatever fp16 could not hold with `ROOM` to spare on the calibration calls.

    Args:
        modules: the tower's methods (`TextEncoder`), folded, in fp32; they share their layers.
        calls: (embeddings, or embeddings and deepstack) of each method.

    Raises:
        ExportError: numbers that no division mends, such as prompt states beyond fp16.
    """
    seen = watched(modules, calls)
    divisor = 1.0
    for one in seen.layers:
        divisor = max(divisor, divisor_for(one.stream_peak))
        one.stream_divisor = divisor
        one.hidden_divisor = divisor_for(one.hidden_peak)
    if seen.divisors:
        layers = decoder_layers(modules)
        for one in seen.layers:
            divide(layers[one.layer], one)
        again = watched(modules, calls)
        seen = replace(seen, activations=again.activations, beyond=again.beyond)
    if seen.beyond:
        raise ExportError(
            f"text_encoder: on calibration prompts {', '.join(seen.beyond)} exceed what fp16 holds ({FP16_MAX:,.0f}); "
            "take --precision text_encoder=w8a16, whose ranges are as wide as the numbers"
        )
    return seen


def decoder_layers(modules: Mapping[str, nn.Module]) -> dict[str, DecoderLayer]:
    """The shared decoder layers by name, in order."""
    tower = cast("TextEncoder", next(iter(modules.values()))).tower
    return {f"tower.layers.{index}": layer for index, layer in enumerate(tower.decoder_layers())}


def watched(modules: Mapping[str, nn.Module], calls: Mapping[str, Sequence[Inputs]]) -> Fp16Range:
    """The peaks of every decoder layer, and the largest numbers of everything in it."""
    layers = decoder_layers(modules)
    ranges = {name: LayerRange(name) for name in layers}
    streams = {layer: ranges[name] for name, layer in layers.items()}
    norms = {
        norm: ranges[name]
        for name, layer in layers.items()
        for norm in (layer.input_layernorm, layer.post_attention_layernorm)
    }
    products = {layer.mlp.down_proj: ranges[name] for name, layer in layers.items()}
    states: dict[nn.Module, str] = {module: method for method, module in modules.items()}
    beyond: dict[str, None] = {}

    def see(module: nn.Module, arguments: Any, output: torch.Tensor) -> None:
        if module in products:
            products[module].hidden_peak = max(products[module].hidden_peak, peak_of(arguments[0]))
        elif module in norms:
            norms[module].stream_peak = max(norms[module].stream_peak, peak_of(arguments[0]))
        elif module in streams:
            streams[module].stream_peak = max(streams[module].stream_peak, peak_of(output))
        else:
            handed = dict(zip(("embeddings", "deepstack"), arguments, strict=False)) | {"prompt states": output}
            large = [name for name, tensor in handed.items() if not peak_of(tensor) <= FP16_MAX]
            beyond.update(dict.fromkeys(f"{states[module]} {name}" for name in large))

    with hooked([*norms, *products, *streams, *states], see):
        found = activations(modules, calls)
    return Fp16Range(tuple(ranges.values()), found, (*overflowing(found), *beyond))


def divisor_for(peak: float) -> float:
    """The power of two that leaves `ROOM` above a peak in fp16, 1 where there is room."""
    if not math.isfinite(peak) or peak * ROOM <= FP16_MAX:
        return 1.0
    return float(2.0 ** math.ceil(math.log2(peak * ROOM / FP16_MAX)))


def divide(layer: DecoderLayer, by: LayerRange) -> None:
    """Make a layer take and give its stream divided, in place."""
    layer.divisor = by.stream_divisor
    layer.input_layernorm.take_divided(by.stream_divisor)
    layer.post_attention_layernorm.take_divided(by.stream_divisor)
    layer.self_attn.o_proj.weight.data /= by.stream_divisor
    layer.mlp.up_proj.weight.data /= by.hidden_divisor
    layer.mlp.down_proj.weight.data *= by.hidden_divisor / by.stream_divisor
