"""Integers for the HTP: 8-bit weights per channel, 16-bit ones where that is not enough, 16-bit activations.

Ranges of activations are the largest and smallest values of calibration runs, doubled. Weights of 8 bits are first
rounded so that errors on those runs cancel (`rounding`).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from executorch.backends.qualcomm.quantizer.quantizer import ModuleQConfig, QnnQuantizer, QuantDtype
from executorch.backends.qualcomm.serialization.qc_schema import QcomChipset
from torch import nn
from torch.export import ExportedProgram
from torch.fx import Node
from torchao.quantization.pt2e import MinMaxObserver
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from dreamlite_mobile.errors import ExportError
from export.calibration import Inputs
from export.qnn_apart import keep_whole
from export.rounding import round_weights
from export.targets import Target

BITS = {"w8a16": 8}
ROOM = 2.0
"""Without it the tiny autoencoder's decoder loses 10 to 15 dB on pictures that calibration did not draw."""
LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
WIDE = {
    "text_encoder": re.compile(r"(?!)"),
    "vision_encoder": re.compile(r"patch_embed|merger"),
    "unet": re.compile(r"^(?!.*transformer_blocks)|attn2\.to_k"),
    "vae_encoder": re.compile(r"^layers\.\d+$"),
    "vae_decoder": re.compile(r"^layers\.\d+$|\.up$"),
}
"""Layers whose weights have 16 bits, by component: those on the picture's own path, found by giving one kind of layer
at a time 8 bits (benchmarks/htp.md)."""


@dataclass(frozen=True, slots=True)
class WeightPlan:
    """Which bits each layer's weights get: the names of those with 16, and of those with `bits`."""

    component: str
    precision: str
    bits: int
    narrow: tuple[str, ...]
    wide: tuple[str, ...]


def weight_plan(component: str, precision: str, modules: Mapping[str, nn.Module]) -> WeightPlan:
    """The plan of a component's methods, which share their layers.

    Raises:
        ExportError: a precision that the HTP has no integers for.
    """
    if precision not in BITS:
        raise ExportError(f"{component}: {precision} is no precision in integers; supported: {', '.join(BITS)}")
    layers = [name for name, layer in next(iter(modules.values())).named_modules() if isinstance(layer, LAYERS)]
    pattern = WIDE[component]
    return WeightPlan(
        component,
        precision,
        BITS[precision],
        narrow=tuple(name for name in layers if not pattern.search(name)),
        wide=tuple(name for name in layers if pattern.search(name)),
    )


def round_for(plan: WeightPlan, modules: Mapping[str, nn.Module], calls: Mapping[str, Sequence[Inputs]]) -> None:
    """Round what the plan gives few bits, in place."""
    round_weights(modules, calls, plan.narrow, plan.bits)


@torch.no_grad()
def quantised(
    program: ExportedProgram, example: Inputs, calls: Sequence[Inputs], plan: WeightPlan, soc: Target
) -> ExportedProgram:
    """A traced method with quantisers and dequantisers around every operator, as the HTP's compiler wants it."""
    quantiser = QnnQuantizer(soc_model=QcomChipset[soc.soc])
    quantiser.set_default_quant_config(QuantDtype.use_16a16w, act_observer=RoomyObserver)
    narrow = ModuleQConfig(
        QuantDtype.use_16a8w, is_conv_per_channel=True, is_linear_per_channel=True, act_observer=RoomyObserver
    )
    quantiser.set_submodule_qconfig_list([(inside(plan.narrow), narrow)])
    traced = program.module(check_guards=False)
    keep_whole(traced)
    prepared = prepare_pt2e(traced, quantiser)
    for inputs in calls:
        prepared(*inputs)
    return torch.export.export(convert_pt2e(prepared), example)


class RoomyObserver(MinMaxObserver):
    """The range seen, and `ROOM` times as much: one of 16 bits, for pictures that calibration did not draw."""

    def calculate_qparams(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Scale and zero point, one of each."""
        return self._calculate_qparams(self.min_val * ROOM, self.max_val * ROOM)


def inside(names: Sequence[str]) -> Callable[[Node], bool]:
    """Whether an operator is that of one of these layers."""
    known = set(names)

    def asked(node: Node) -> bool:
        stack = list(node.meta.get("nn_module_stack", {}).values())
        return bool(stack) and stack[-1][0] in known

    return asked
