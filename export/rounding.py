"""Rounding of weights that looks at what they are multiplied with.

Each input channel of a layer is rounded in turn, and what that gets wrong on calibration data is made up for by the
channels that are still to come (the second-order method of "Optimal Brain Quantization" and GPTQ, 2022). The grid is
the plain one, symmetric with one scale per output channel, so that any quantiser finds the same codes again.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from dreamlite_mobile.networks.hooks import hooked, run_calls

Inputs = tuple[torch.Tensor, ...]
DAMPING = 0.05
"""Of the mean curvature: how much an input that calibration hardly saw counts."""
BLOCK = 128
"""Input channels after which what they got wrong reaches all later ones."""


def round_weights(
    modules: Mapping[str, nn.Module], calls: Mapping[str, Sequence[Inputs]], names: Iterable[str], bits: int
) -> None:
    """Round the weights of some layers in place, for all methods that share them.

    Args:
        calls: method -> the inputs of each call of it.
        names: of linear layers and convolutions without groups, in any of the modules; others are left alone.
        bits: of the codes, from -(2^(bits-1) - 1) to its opposite.
    """
    wanted = set(names)
    layers = {
        layer
        for module in modules.values()
        for name, layer in module.named_modules()
        if name in wanted and (isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1))
    }
    for layer, curvature in curvatures(modules, calls, layers).items():
        weight = layer.weight
        assert isinstance(weight, nn.Parameter)
        weight.data = rounded(weight.data.flatten(1), curvature, bits).view_as(weight)


@torch.no_grad()
def curvatures(
    modules: Mapping[str, nn.Module], calls: Mapping[str, Sequence[Inputs]], layers: Iterable[nn.Module]
) -> dict[nn.Module, torch.Tensor]:
    """Layer -> the sum of x xT [C, C] over every row x that it was given."""
    found: dict[nn.Module, torch.Tensor] = {}

    def add(layer: nn.Module, arguments: Inputs, _output: torch.Tensor) -> None:
        x = arguments[0]
        if isinstance(layer, nn.Conv2d):
            assert not isinstance(layer.padding, str)
            rows = F.unfold(x, layer.kernel_size, padding=layer.padding, stride=layer.stride)[0].t()
        else:
            rows = x.reshape(-1, x.shape[-1])
        product = rows.t() @ rows
        found[layer] = found[layer] + product if layer in found else product

    with hooked(layers, add):
        run_calls(modules, calls)
    return found


def rounded(weight: torch.Tensor, curvature: torch.Tensor, bits: int) -> torch.Tensor:
    """Weights [O, C] on the grid of their rows' largest values, which stay where they are.

    Args:
        curvature: [C, C], of this layer's inputs.
    """
    most = 2 ** (bits - 1) - 1
    scale = (weight.abs().amax(1) / most).clamp_min(torch.finfo(torch.float32).tiny)
    largest = weight.abs().argmax(1)
    left, done = weight.double(), torch.empty_like(weight)
    spread = inverse_root(curvature)
    for begin in range(0, weight.shape[1], BLOCK):
        end = min(begin + BLOCK, weight.shape[1])
        errors = torch.empty(len(weight), end - begin, dtype=torch.float64)
        for column in range(begin, end):
            value = left[:, column]
            codes = (value / scale).round().clamp(-most, most)
            codes = torch.where(largest == column, most * weight[:, column].sign(), codes)
            done[:, column] = (codes * scale).float()
            errors[:, column - begin] = (value - codes * scale) / spread[column, column]
            left[:, column:end] -= errors[:, column - begin, None] * spread[column, column:end]
        left[:, end:] -= errors @ spread[begin:end, end:]
    return done


def inverse_root(curvature: torch.Tensor) -> torch.Tensor:
    """The upper Cholesky factor of the damped curvature's inverse, float64 [C, C]."""
    wide = curvature.double()
    damping = DAMPING * wide.diagonal().mean() + torch.finfo(torch.float32).tiny
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(wide + damping * torch.eye(len(wide), dtype=wide.dtype)))
    return torch.linalg.cholesky(inverse, upper=True)
