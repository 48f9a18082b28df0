"""Counters of fp16 overflow, denormals and clipping. Oracle: tensors whose counts are known, and numpy's own fp16."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from dreamlite_mobile.components import MethodSpec, TensorSpec
from dreamlite_mobile.parity.numbers import (
    Clipped,
    Counts,
    Layer,
    Watch,
    Watched,
    attach,
    complaints,
    counts_of,
    notable,
    quantised_layers,
    spans_of,
    symmetric_ends,
    weight_ends,
)
from dreamlite_mobile.runtime.torch import TorchComponent

METHOD = MethodSpec((TensorSpec("x", (1, 4)),), (TensorSpec("y", (1, 4)),))


def test_every_kind_of_number_is_counted() -> None:
    values = torch.tensor([0.0, 1.0, -70000.0, 65504.0, 6.0e-5, -5.9e-8, 6.2e-5, torch.inf, torch.nan])
    assert counts_of(values) == Counts(values=9, peak=float("inf"), overflow=3, denormal=2, flushed=1)
    assert counts_of(values[:7]).peak == 70000.0


def test_what_is_counted_is_what_fp16_does() -> None:
    random = np.random.default_rng(0)
    values = (random.standard_normal(10000) * 10.0 ** random.uniform(-9, 6, 10000)).astype(np.float32)
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    found = counts_of(torch.from_numpy(values))
    assert abs(found.overflow - np.isinf(half).sum()) <= 2  # 65,504 to 65,520 round down to the largest
    assert found.denormal == ((np.abs(values) < np.finfo(np.float16).smallest_normal) & (values != 0)).sum()
    assert found.flushed == ((np.abs(values) < np.finfo(np.float16).smallest_subnormal) & (values != 0)).sum()


class Doubling(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4, bias=False)
        self.inner.weight.data = torch.eye(4) * factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) * 1.0


def watched(factor: float, *inputs: float, quantised: dict[str, Clipped] | None = None) -> Watch:
    watch = Watch({"unet": quantised or {}})
    network = Doubling(factor).eval()
    attach(watch, [network])
    component = Watched("unet", TorchComponent({"edit": network}, {"edit": METHOD}, name="unet"), watch)
    component.run("edit", {"x": np.ones((1, 4), np.float32)})
    watch.active = True
    for value in inputs:
        component.run("edit", {"x": np.full((1, 4), value, np.float32)})
    return watch


def test_layers_are_counted_over_every_call_once_counting_began() -> None:
    (layer,) = watched(2.0, 3.0, -5.0).found()
    assert (layer.component, layer.method, layer.name, layer.kind) == ("unet", "edit", "inner", "Linear")
    assert layer.counts == Counts(values=8, peak=10.0)


def test_a_layer_that_overflows_fp16_fails_fp16_bundles_by_name_and_no_others() -> None:
    layers = watched(1e5, 1.0).found()
    (problem,) = complaints(layers, {"unet"})
    assert problem.startswith("unet.edit inner (Linear): peak 100,000 does not fit fp16, which ends at 65,504 (4 of 4")
    assert complaints(layers, ()) == complaints(layers, {"text_encoder"}) == []
    assert complaints(watched(6e4, 1.0).found(), {"unet"}) == []


def test_quantised_layers_are_counted_beside_their_weights() -> None:
    (layer,) = watched(2.0, 3.0, quantised={"inner": Clipped(weights=16, at_end=4, scales=4)}).found()
    assert layer.clipped == Clipped(weights=16, at_end=4, scales=4)
    assert layer.counts == Counts(values=4, peak=6.0)


def test_a_span_is_what_calibration_reached_twice_over_and_holds_zero() -> None:
    network, still = Doubling(2.0).eval(), Doubling(3.0).eval()
    calls = {
        "generate": [(torch.tensor([[1.0, 2.0, 3.0, 4.0]]),), (torch.tensor([[-1.0, 0.0, 0.0, 5.0]]),)],
        "edit": [(torch.full((1, 4), 7.0),)],
    }
    assert spans_of("unet", {"generate": network, "edit": still}, calls, 2.0) == {
        ("unet", "generate", "inner"): (-4.0, 20.0),
        ("unet", "edit", "inner"): (0.0, 42.0),
    }
    assert not network.inner._forward_hooks


def test_values_beyond_a_layers_span_are_counted_and_come_first() -> None:
    """2 x (-3, 3, 30) where -8 to 20 can be held; a layer without a span has none beyond it."""
    watch = Watch(spans={("unet", "edit", "inner"): (-8.0, 20.0)})
    network = Doubling(2.0).eval()
    attach(watch, [network])
    watch.where, watch.active = ("unet", "edit"), True
    network(torch.tensor([[-3.0, 3.0, 30.0, -4.0]]))
    network(torch.tensor([[1.0, -5.0, 10.0, 0.0]]))
    (layer,) = watch.found()
    assert (layer.span, layer.counts.beyond, layer.counts.values) == ((-8.0, 20.0), 2, 8)
    assert counts_of(torch.tensor([torch.nan, torch.inf, 1.0]), (-8.0, 20.0)).beyond == 2
    other = Layer("unet", "edit", "other", "Linear", Counts(1, 60.0))
    within = replace(layer, counts=Counts(8, 50.0, beyond=3))
    assert notable([other, within]) == [within, other]
    assert watched(2.0, 30.0).found()[0].counts.beyond == 0


def test_codes_of_a_symmetric_grid_end_at_both_its_ends() -> None:
    weight = torch.tensor([[-1.0, 0.5, 1.0, 0.0], [0.0, -4.0, 1.0, 2.0]])
    assert symmetric_ends(weight, 8) == Clipped(bits=8, weights=8, at_end=3, scales=2)
    codes = torch.tensor([-128, -127, 127, 3])
    assert (weight_ends(codes, 8, 1).at_end, weight_ends(codes, 8, 1, symmetric=True).at_end) == (2, 3)


def test_a_sound_scale_leaves_one_code_each_at_the_end_and_a_small_one_many() -> None:
    torch.manual_seed(0)
    weight = torch.randn(32, 256)
    scale = weight.abs().amax(1, keepdim=True) / 127.5
    sound = weight_ends((weight / scale).round().clamp(-128, 127), 8, 32)
    small = weight_ends((weight / scale * 8).round().clamp(-128, 127), 8, 32)
    assert 16 < sound.at_end < 128 and not sound.saturated and small.saturated
    layers = [Layer("unet", "edit", name, "Linear", Counts(1, 1.0), c) for name, c in (("a", sound), ("b", small))]
    (problem,) = complaints(layers, ())
    assert problem.startswith("unet.edit b (Linear): ") and "at the end of their scale" in problem


@pytest.mark.parametrize(("precision", "bits"), [("w8", 8), ("w4", 4)])
def test_the_weights_of_a_bundles_precision_are_counted_layer_by_layer(precision: str, bits: int) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 32), nn.GELU(), nn.Linear(32, 64))
    found = quantised_layers("text_encoder", {"generate": network}, precision)
    assert {name: counts.weights for name, counts in found.items()} == {"0": 64 * 32, "2": 64 * 32}
    assert found["0"].scales == {8: 32, 4: 64}[bits]
    assert not any(counts.saturated or not counts.at_end for counts in found.values())


def test_nothing_is_quantised_in_fp32() -> None:
    assert quantised_layers("unet", {"edit": nn.Sequential(nn.Linear(4, 4))}, "fp32") == {}


def test_overflowing_layers_come_first_then_the_largest() -> None:
    layers = [
        Layer("unet", "edit", str(peak), "Linear", Counts(1, peak, over)) for peak, over in ((5, 0), (9, 0), (1, 2))
    ]
    assert [layer.name for layer in notable(layers, 2)] == ["1", "9"]
