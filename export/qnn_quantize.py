"""Integers for the HTP: weights of 4, 8 or 16 bits per channel, activations of 16 bits, or of 8 where a layer bears it.

Ranges of activations are the largest and smallest values of calibration runs, doubled where they have 16 bits
(benchmarks/htp.md compares). Which layer has how many bits is the plan's (`qnn_plan`).
"""

from collections.abc import Callable, Sequence

import torch
from executorch.backends.qualcomm.quantizer.observers.concat_observer import ConcatObserver
from executorch.backends.qualcomm.quantizer.quantizer import ModuleQConfig, QnnQuantizer, QuantDtype
from executorch.backends.qualcomm.serialization.qc_schema import QcomChipset
from torch.export import ExportedProgram
from torch.fx import Node
from torchao.quantization.pt2e import MinMaxObserver
from torchao.quantization.pt2e.observer import UniformQuantizationObserverBase
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from dreamlite_mobile.errors import ExportError
from export.calibration import Inputs
from export.qnn_apart import keep_whole
from export.qnn_biases import attribute, make_room
from export.qnn_plan import WeightPlan
from export.targets import Target
from export.tracing import trace_module

WEIGHTS = {4: QuantDtype.use_16a4w, 8: QuantDtype.use_16a8w, 16: QuantDtype.use_16a16w}
"""Bits of weights beside 16-bit activations."""
ROOM = 2.0
"""Without it the tiny autoencoder's decoder loses 10 to 15 dB on pictures that calibration did not draw."""

Spans = Sequence[tuple[float, float] | None]
"""Of each output, its least and largest value, where they are known."""


class RoomyObserver(MinMaxObserver):
    """The range seen, and `ROOM` times as much: one of 16 bits, for pictures that calibration did not draw."""

    def calculate_qparams(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Scale and zero point, one of each."""
        return self._calculate_qparams(self.min_val * ROOM, self.max_val * ROOM)


@torch.no_grad()
def quantised(
    program: ExportedProgram, example: Inputs, calls: Sequence[Inputs], plan: WeightPlan, soc: Target, spans: Spans = ()
) -> ExportedProgram:
    """A traced method with quantisers and dequantisers around every operator, as the HTP's compiler wants it.

    Torch runs it as it is, in fp32 between the quantisers, and the HTP follows that within 55 dB and more.

    Args:
        spans: of each output, the least and the largest value that its range is taken from, in place of those seen.
    """
    quantiser = QnnQuantizer(soc_model=QcomChipset[soc.soc])
    quantiser.set_default_quant_config(QuantDtype.use_16a16w, act_observer=RoomyObserver)
    long = [name for name in plan.narrow if name not in plan.short]
    quantiser.set_submodule_qconfig_list(
        [
            (inside(plan.short), per_channel(QuantDtype.use_8a8w, MinMaxObserver)),
            (inside(long), per_channel(WEIGHTS[plan.bits], RoomyObserver)),
            (inside(plan.wide), per_channel(WEIGHTS[plan.wide_bits], RoomyObserver)),
        ]
    )
    traced = program.module(check_guards=False)
    keep_whole(traced)
    prepared = prepare_pt2e(traced, quantiser)
    for inputs in calls:
        prepared(*inputs)
    for seen in prepared.modules():
        if isinstance(seen, ConcatObserver):  # what it joins has room already
            seen.min_val, seen.max_val = seen.min_val * ROOM, seen.max_val * ROOM
    make_room(prepared)
    for result, span in zip(prepared.graph.output_node().args[0], spans, strict=False):
        if span is not None:
            observer = attribute(prepared, result)
            if not isinstance(observer, MinMaxObserver | ConcatObserver):
                raise ExportError(f"{result}: handed to another shard and not observed; cut it elsewhere (--shards)")
            room = 1.0 if isinstance(observer, RoomyObserver) else ROOM
            observer.min_val, observer.max_val = (torch.tensor(room * end) for end in span)
    return trace_module(convert_pt2e(prepared), example)


def per_channel(kind: QuantDtype, observer: type[UniformQuantizationObserverBase]) -> ModuleQConfig:
    """A layer's configuration: one weight scale per output channel where the HTP has that."""
    each = kind != QuantDtype.use_16a16w
    return ModuleQConfig(kind, is_conv_per_channel=each, is_linear_per_channel=each, act_observer=observer)


def inside(names: Sequence[str]) -> Callable[[Node], bool]:
    """Whether an operator is that of one of these layers."""
    known = set(names)

    def asked(node: Node) -> bool:
        stack = list(node.meta.get("nn_module_stack", {}).values())
        return bool(stack) and stack[-1][0] in known

    return asked
