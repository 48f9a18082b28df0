"""Counted work. Oracles: torch's own flop counter, sizes worked out by hand, published parameter counts."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.latency_model.nets import NETS, work_of
from dreamlite_mobile.components import COMPONENTS, FORWARD, TWO_METHODS, Geometry
from dreamlite_mobile.config import TINY
from dreamlite_mobile.errors import ConfigError
from dreamlite_mobile.latency import networks
from dreamlite_mobile.latency.networks import method_work, untiled
from dreamlite_mobile.latency.work import Work, count, fake_tensors
from dreamlite_mobile.networks.form import HTP

WHOLE = untiled(HTP)
GEOMETRY = Geometry(TINY, 96, 64, drop_generate=6, drop_edit=9, states_generate=20, states_edit=90)


def counted(module: nn.Module, *shape: int) -> Work:
    """Of one tensor."""
    with fake_tensors():
        copy = {name: torch.empty(tensor.shape) for name, tensor in module.state_dict().items()}
        module.load_state_dict(copy, assign=True)
        return count(module.eval(), lambda: module(torch.empty(shape)))


def test_a_convolution_is_outputs_times_kernel() -> None:
    work = counted(nn.Conv2d(8, 16, 3, padding=1), 1, 8, 10, 12)
    assert work.amounts["conv"] == 16 * 10 * 12 * 8 * 9 and work.weights == 16 * 8 * 9 + 16
    assert work.touched == {8 * 10 * 12: 1, 16 * 10 * 12: 1}


def test_a_transposed_convolution_is_inputs_times_kernel() -> None:
    work = counted(nn.ConvTranspose2d(8, 16, 4, stride=2, padding=1), 1, 8, 10, 12)
    assert work.amounts["conv"] == 8 * 10 * 12 * 16 * 16


def test_a_convolution_of_each_channel_is_a_kind_of_its_own() -> None:
    work = counted(nn.Conv2d(8, 8, 3, padding=1, groups=8), 1, 8, 10, 12)
    assert (work.amounts["depthwise"], work.amounts["conv"]) == (8 * 10 * 12 * 9, 0)


def test_products_of_activations_are_attention_and_of_weights_linear() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.project = nn.Linear(32, 32)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            heads = self.project(x).view(1, 6, 4, 8).transpose(1, 2)
            return F.scaled_dot_product_attention(heads, heads, heads)

    work = counted(Attention(), 1, 6, 32)
    assert work.amounts["linear"] == 6 * 32 * 32 and work.amounts["attention"] == 2 * 4 * 6 * 6 * 8
    assert work.amounts["softmax"] == 4 * 6 * 6


def test_what_is_folded_into_a_convolution_costs_nothing() -> None:
    bare = counted(nn.Sequential(nn.Conv2d(4, 4, 3)), 1, 4, 8, 8)
    folded = counted(nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), 1, 4, 8, 8)
    assert (folded.amounts, folded.operators, folded.touched) == (bare.amounts, bare.operators, bare.touched)


def test_halves_of_one_weight_are_counted_once() -> None:
    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.empty(8, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.linear(x, self.weight[:4]) * F.linear(x, self.weight[4:])

    assert counted(Halves(), 3, 4).weights == 32


def test_only_large_activations_are_traffic() -> None:
    work = Work({}, 1, 100, {10: 3, 1000: 2})
    assert work.traffic(2, 2, 100) == 200 + 2 * 2000
    assert work.traffic(1, 1, 5000) == 100


@pytest.mark.parametrize("component", COMPONENTS)
def test_dreamlite_is_counted_as_torch_counts_it(component: str) -> None:
    """torch's counter sees the same operators: multiplications and additions, no softmax."""
    method = "edit" if component in TWO_METHODS else FORWARD
    flops: list[int] = []

    def both(module: nn.Module, run: object) -> Work:
        with FlopCounterMode(display=False) as counter:
            run()
        flops.append(counter.get_total_flops())
        return count(module, run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "count", both)
        work = method_work(GEOMETRY, component, method, WHOLE)
    assert 2 * work.macs == flops[0] > 0


def test_tiles_change_operators_and_traffic_but_no_arithmetic() -> None:
    tiled = method_work(GEOMETRY, "unet", "generate", replace(HTP, row_tiles=((TINY.unet.block_out_channels[0], 16),)))
    whole = method_work(GEOMETRY, "unet", "generate", WHOLE)
    assert tiled.macs == whole.macs and tiled.weights == whole.weights
    assert tiled.operators > whole.operators and max(tiled.touched) <= max(whole.touched)


@pytest.mark.parametrize(
    ("net", "macs", "weights"),
    [("resnet50", 4.09e9, 25.56e6), ("vit", 17.56e9, 86.57e6), ("real_esrgan_general_x4v3", 19.8e9, 1.21e6)],
)
def test_published_networks_have_their_published_size(net: str, macs: float, weights: float) -> None:
    """torchvision prints 4.09 and 17.56 GFLOPs (multiply-adds) and 25,557,032 and 86,567,656 parameters."""
    work = work_of(net)
    assert work.macs == pytest.approx(macs, rel=0.005) and work.weights == pytest.approx(weights, rel=0.005)
    assert net in NETS


def test_a_configuration_of_no_network_is_refused() -> None:
    odd = replace(GEOMETRY, config=replace(TINY, unet=replace(TINY.unet, norm_num_groups=7)))
    with pytest.raises(ConfigError, match="unet: its configuration describes no network that runs"):
        method_work(odd, "unet", "generate", HTP)
