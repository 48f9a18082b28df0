"""A network in integers on the emulator, with and without what keeps its norms whole, for scripts."""

from collections.abc import Sequence
from unittest.mock import patch

import torch
from executorch.runtime import Runtime
from torch import nn

from dreamlite_mobile.parity.metrics import compare
from export import qnn, qnn_quantize
from export.qnn_plan import WeightPlan
from export.targets import target


def mended_and_traced(network: nn.Module, calls: Sequence[tuple[torch.Tensor, ...]]) -> list[float]:
    """SNR in dB of the last call against torch fp32: as the exporter writes norms, then as they are traced."""
    mended = decibels(network, calls)
    with patch.object(qnn_quantize, "keep_whole", return_value=[]):
        return [mended, decibels(network, calls)]


def decibels(network: nn.Module, calls: Sequence[tuple[torch.Tensor, ...]]) -> float:
    """All layers with 8-bit weights and 16-bit activations, their ranges from the calls."""
    plan = WeightPlan("unet", "w8a16", 8, (), ())
    integers = qnn.Quantisation(plan, {"forward": calls})
    compiled = qnn.lower({"forward": (network, calls[0])}, target("SM8650"), False, integers)
    (found,) = Runtime.get().load_program(compiled.program.buffer).load_method("forward").execute(calls[-1])
    return compare(found.numpy(), network(*calls[-1]).numpy()).snr_db
