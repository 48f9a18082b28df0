"""A network in integers on the emulator, with and without what keeps its norms whole, or in codes, for scripts."""

from collections.abc import Sequence
from unittest.mock import patch

import torch
from executorch.runtime import Runtime
from torch import nn

from dreamlite_mobile.networks.form import HTP, fold
from dreamlite_mobile.networks.unet import Downsample, Resnet
from dreamlite_mobile.parity.metrics import compare
from dreamlite_mobile.synthetic import named_config
from export import qnn, qnn_quantize
from export.qnn_plan import WeightPlan
from export.shards import Code
from export.targets import target


class Level(nn.Module):
    """The start of the tiny U-Net's second level: a downsampler and the resnet behind it, at 8 x 16 pixels.

    It gives the resnet's picture, or both as shards hand them on.
    """

    def __init__(self, both: bool) -> None:
        super().__init__()
        self.both = both
        self.down = Downsample(32, HTP)
        self.resnet = Resnet(named_config("tiny").unet, 32, 64, HTP)

    def forward(self, x: torch.Tensor, step: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        small = self.down(x)
        large = self.resnet(small, step)
        return tuple(picture.permute(0, 2, 3, 1) for picture in (small, large)) if self.both else large


def level(both: bool = False) -> tuple[nn.Module, list[tuple[torch.Tensor, ...]]]:
    """It with seeded weights, and four calls."""
    torch.manual_seed(0)
    network = Level(both)
    for name, parameter in network.named_parameters():
        norm = "norm" in name
        nn.init.normal_(parameter, float(norm and name.endswith("weight")), 0.1 if norm else 0.2)
    step = named_config("tiny").unet.time_embed_dim
    calls = [(torch.randn(1, 32, 8, 16), torch.randn(1, step)) for _ in range(4)]
    return fold(network).eval().requires_grad_(False), calls


def mended_and_traced(network: nn.Module, calls: Sequence[tuple[torch.Tensor, ...]]) -> list[float]:
    """SNR in dB of the last call against torch fp32: as the exporter writes norms, then as they are traced."""
    mended = decibels(network, calls)
    with patch.object(qnn_quantize, "keep_whole", return_value=[]):
        return [mended, decibels(network, calls)]


def decibels(network: nn.Module, calls: Sequence[tuple[torch.Tensor, ...]], narrow: tuple[str, ...] = ()) -> float:
    """All layers with 16-bit weights (those named: 8) and activations, their ranges from the calls."""
    plan = WeightPlan("unet", "w8a16", 8, narrow, ())
    integers = qnn.Quantisation(plan, {"forward": calls})
    compiled = qnn.lower({"forward": (network, calls[0])}, target("SM8650"), False, integers)
    (found,) = Runtime.get().load_program(compiled.program.buffer).load_method("forward").execute(calls[-1])
    return compare(found.numpy(), network(*calls[-1]).numpy()).snr_db


def emulated(network: nn.Module, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """What the network gives in fp16, compiled and run on the emulator."""
    compiled = qnn.lower({"forward": (network, inputs)}, target("SM8650"), False)
    (found,) = Runtime.get().load_program(compiled.program.buffer).load_method("forward").execute(inputs)
    return found


def codes_given(network: nn.Module, calls: Sequence[tuple[torch.Tensor, ...]]) -> list[float]:
    """SNR in dB of each of the last call's results against torch fp32, handed on as 16-bit codes; 16-bit weights."""
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
