"""A network in integers on the emulator, with and without what keeps its norms whole, or in codes, for scripts."""

from collections.abc import Sequence
from unittest.mock import patch

import torch
from executorch.runtime import Runtime
from torch import nn

from dreamlite_mobile.parity.metrics import compare
from export import qnn, qnn_quantize
from export.qnn_plan import WeightPlan
from export.shards import Code
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


def codes_given(network: nn.Module, calls: Sequence[tuple[torch.Tensor, ...]]) -> list[float]:
    """SNR in dB of each of the last call's results against torch fp32, handed on as 16-bit codes."""
    wanted = network(*calls[-1])
    met = ((False,) * len(calls[-1]), (True,) * len(wanted))
    integers = qnn.Quantisation(WeightPlan("unet", "w8a16", 8, (), ()), {"forward": calls}, met={"forward": met})
    compiled = qnn.lower({"forward": (network, calls[0])}, target("SM8650"), False, integers)
    found = Runtime.get().load_program(compiled.program.buffer).load_method("forward").execute(calls[-1])
    numbers = [numbers_of(*one) for one in zip(found, compiled.codes["forward"][1], strict=True)]
    return [compare(one.numpy(), own.numpy()).snr_db for one, own in zip(numbers, wanted, strict=True)]


def numbers_of(codes: torch.Tensor, code: Code | None) -> torch.Tensor:
    """What codes that go by the name of float16 stand for."""
    assert code is not None and codes.dtype == torch.float16
    scale, zero = code
    return (codes.contiguous().view(torch.uint16).float() - zero) * scale
