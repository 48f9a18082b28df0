"""The largest numbers of layers on calibration runs. Oracle: numbers put there by hand."""

import pytest
import torch
from torch import nn

from export.outliers import activations, overflowing


class Tower(nn.Module):
    def __init__(self, gain: float) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4, bias=False), nn.Linear(4, 2, bias=False)
        self.first.weight.data = gain * torch.eye(4)
        self.second.weight.data = torch.zeros(2, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))


def test_peaks_are_those_of_all_calls_and_headroom_counts_doublings() -> None:
    calls = {"generate": [(torch.tensor([[1.0, -2, 0, 0]]),), (torch.tensor([[0, 0, -511.75, 3]]),)]}
    first, second = activations({"generate": Tower(2.0)}, calls)
    assert (first.method, first.layer, first.kind) == ("generate", "first", "Linear")
    assert (first.peak, first.overflow, first.headroom_bits) == (1023.5, 0, 6.0)
    assert (second.peak, second.headroom_bits) == (0.0, None)
    assert overflowing([first, second]) == []


@pytest.mark.parametrize(("value", "peak", "headroom"), [(1e6, 1e6, -3.9), (float("inf"), None, None)])
def test_what_fp16_cannot_hold_is_counted_and_named(value: float, peak: float | None, headroom: float | None) -> None:
    found = activations({"edit": Tower(1.0)}, {"edit": [(torch.tensor([[value, 1.0, 1.0, 1.0]]),)]})
    assert found[0].overflow >= 1 and found[0].peak == peak and found[0].headroom_bits == headroom
    assert overflowing(found)[0] == "edit first"


def test_hooks_are_taken_off_again() -> None:
    tower = Tower(1.0)
    activations({"edit": tower}, {"edit": [(torch.ones(1, 4),)]})
    assert not any(layer._forward_hooks for layer in tower.modules())
