"""Weights rounded with an eye on their inputs. Oracle: rounding each to the nearest, on inputs never seen before."""

import torch
from torch import nn

from export.rounding import round_weights

BITS = 4


def inputs(count: int, seed: int) -> torch.Tensor:
    """Rows [count, 48] whose channels go together, as those of a network do."""
    mixing = torch.randn(48, 48, generator=torch.Generator().manual_seed(0)) * torch.logspace(0, -2, 48)
    return torch.randn(count, 48, generator=torch.Generator().manual_seed(seed)) @ mixing.t()


def nearest(weight: torch.Tensor) -> torch.Tensor:
    scale = weight.flatten(1).abs().amax(1).view(-1, *[1] * (weight.ndim - 1)) / (2 ** (BITS - 1) - 1)
    return (weight / scale).round() * scale


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def test_outputs_on_new_inputs_are_closer_than_with_nearest_rounding() -> None:
    torch.manual_seed(1)
    linear, fresh = nn.Linear(48, 20), inputs(400, seed=3)
    weight = linear.weight.data.clone()
    wanted, plain = fresh @ weight.t(), fresh @ nearest(weight).t()
    round_weights({"forward": linear}, {"forward": [(inputs(200, seed=2),)]}, [""], BITS)
    assert error(fresh @ linear.weight.t(), wanted) < 0.7 * error(plain, wanted)


def test_a_quantiser_that_looks_for_the_largest_weight_finds_the_same_numbers_again() -> None:
    torch.manual_seed(1)
    linear = nn.Linear(48, 20)
    largest = linear.weight.abs().amax(1)
    round_weights({"forward": linear}, {"forward": [(inputs(200, seed=2),)]}, [""], BITS)
    assert torch.equal(linear.weight.abs().amax(1), largest)
    assert torch.allclose(nearest(linear.weight.data), linear.weight.data, rtol=0, atol=1e-6)


def test_a_convolution_is_rounded_over_its_windows() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(12, 8, 3, padding=1, stride=2))
    seen, fresh = torch.randn(1, 3, 16, 16), torch.randn(1, 3, 16, 16)
    wanted = network(fresh)
    weight = network[1].weight.data.clone()
    network[1].weight.data = nearest(weight)
    plain = error(network(fresh), wanted)
    network[1].weight.data = weight.clone()
    round_weights({"forward": network}, {"forward": [(seen,)]}, ["1"], BITS)
    assert error(network(fresh), wanted) < 0.9 * plain


def test_only_the_named_layers_change() -> None:
    network = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    first, second = (layer.weight.data.clone() for layer in network)
    round_weights({"forward": network}, {"forward": [(torch.randn(30, 8),)]}, ["1"], BITS)
    assert torch.equal(network[0].weight, first)
    assert not torch.equal(network[1].weight, second)
