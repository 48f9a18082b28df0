"""Biases behind an activation that calibration hardly used. Oracle: the network itself."""

import pytest
import torch
from torch import nn

from dreamlite_mobile.parity.metrics import compare
from export import qnn_quantize
from export.qnn_plan import WeightPlan
from export.targets import DEFAULT_SOC, target


class HardlyUsed(nn.Module):
    """A ReLU that lets next to nothing through, and a layer whose bias is what there is to see."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 1)
        nn.init.normal_(self.conv.weight, 0.0, 0.05)
        nn.init.normal_(self.conv.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(torch.relu(x))


def kept_db() -> float:
    """SNR of the layer in integers, on what it was calibrated with."""
    torch.manual_seed(0)
    network = HardlyUsed().eval()
    calls = [(torch.full((1, 8, 4, 4), 1e-7),)]
    plan = WeightPlan("vae_encoder", "w8a16", 8, narrow=("conv",), wide=())
    traced = torch.export.export(network, calls[0])
    made = qnn_quantize.quantised(traced, calls[0], calls, plan, target(DEFAULT_SOC)).module(check_guards=False)
    with torch.no_grad():
        return compare(made(*calls[0]).numpy(), network(*calls[0]).numpy()).snr_db


def test_a_bias_behind_a_hardly_used_activation_keeps_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kept_db() > 60
    monkeypatch.setattr(qnn_quantize, "make_room", lambda _: [])
    assert kept_db() < 10
