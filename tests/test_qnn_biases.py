"""Biases behind an activation that calibration hardly used, and of norms. Oracle: the network itself."""

import pytest
import torch
from torch import nn

from dreamlite_mobile.parity.metrics import compare
from export import qnn_biases, qnn_quantize
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


def kept_db(network: nn.Module, x: torch.Tensor) -> float:
    """SNR of a network in integers, on what it was calibrated with."""
    calls = [(x,)]
    plan = WeightPlan("vae_encoder", "w8a16", 8, narrow=("conv",), wide=())
    traced = torch.export.export(network, calls[0])
    made = qnn_quantize.quantised(traced, calls[0], calls, plan, target(DEFAULT_SOC)).module(check_guards=False)
    with torch.no_grad():
        return compare(made(*calls[0]).numpy(), network(*calls[0]).numpy()).snr_db


def test_a_bias_behind_a_hardly_used_activation_keeps_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network, x = HardlyUsed().eval(), torch.full((1, 8, 4, 4), 1e-7)
    assert kept_db(network, x) > 60
    monkeypatch.setattr(qnn_quantize, "make_room", lambda _: [])
    assert kept_db(network, x) < 10


def test_the_largest_bias_of_a_norm_keeps_its_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it turns depends on how the step is rounded: of five largest biases some do."""
    torch.manual_seed(0)
    norm, x = nn.GroupNorm(4, 8).eval(), torch.randn(1, 8, 4, 4)

    def worst_db() -> float:
        found = []
        for largest in torch.linspace(1.5, 3.5, 5).tolist():
            nn.init.constant_(norm.bias, largest)
            found.append(kept_db(norm, x))
        return min(found)

    assert worst_db() > 60
    monkeypatch.setattr(qnn_biases, "keep_largest", lambda _: None)
    assert worst_db() < 10
