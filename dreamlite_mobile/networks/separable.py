"""The U-Net's separable convolutions, and the same over pictures that stay apart, in bands of lines."""

import functools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from dreamlite_mobile.networks.layers import bands


class SeparableConv(nn.Module):
    """`DepthwiseSeparableConv`: 3x3 per channel, then 1x1, no biases."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, out, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pointwise(self.depthwise(x))


class BandedConv(nn.Module):
    """A group norm's scale and shift, SiLU and a `SeparableConv`, over pictures that stay apart, in bands of lines.

    Each output is the sum of what all pictures give; a residual, through its convolution if it has one, is added.
    """

    def __init__(
        self,
        conv: SeparableConv,
        widths: Sequence[int],
        parts: int,
        lines: int,
        shortcut: nn.Conv2d | None = None,
        came: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.lines = lines
        depthwise = torch.split(conv.depthwise.weight.data, list(widths))
        self.depthwise = nn.ModuleList(conv_of(weight, groups=len(weight), padding=(0, 1)) for weight in depthwise)
        rows = torch.chunk(conv.pointwise.weight.data, parts)
        self.parts = parts
        self.pointwise = nn.ModuleList(conv_of(weight) for row in rows for weight in torch.split(row, list(widths), 1))
        self.shortcut = None
        if shortcut is not None:
            kernels = torch.split(shortcut.weight.data, list(came), 1)
            self.shortcut = nn.ModuleList(
                conv_of(kernel, None if index else shortcut.bias) for index, kernel in enumerate(kernels)
            )

    def forward(
        self,
        pictures: Sequence[torch.Tensor],
        scaling: Sequence[tuple[torch.Tensor, torch.Tensor]],
        residuals: Sequence[torch.Tensor] = (),
    ) -> list[torch.Tensor]:
        """Pictures [1, c, H, W], of each its scale and shift [1, c, 1, 1], residuals [1, r, H, W] -> so many parts of
        the output."""
        bands_of = [bands(x, self.lines) for x in residuals]
        slices = [with_neighbours(x, self.lines) for x in pictures]
        rows = [self.pointwise[part * len(pictures) : (part + 1) * len(pictures)] for part in range(self.parts)]
        made: list[list[torch.Tensor]] = [[] for _ in rows]
        for band in range(len(slices[0])):
            spread = [
                depthwise(F.pad(F.silu(x[band][0] * scale + shift), (0, 0, *x[band][1])))
                for x, (scale, shift), depthwise in zip(slices, scaling, self.depthwise, strict=True)
            ]
            added = [one[band] for one in bands_of]
            if self.shortcut is not None:
                added = [conv(x) for conv, x in zip(self.shortcut, added, strict=True)]
            for part, row in zip(made, rows, strict=True):
                terms = [conv(x) for conv, x in zip(row, spread, strict=True)]
                part.append(functools.reduce(torch.add, [*terms, *added]))
        return [part[0] if len(part) == 1 else torch.cat(part, 2) for part in made]


def with_neighbours(x: torch.Tensor, lines: int) -> list[tuple[torch.Tensor, tuple[int, int]]]:
    """Bands with the lines above and below that a 3x3 convolution reads, and how many of these are beyond the
    picture."""
    found, first = [], 0
    for band in bands(x, lines):
        last = first + band.shape[2]
        beyond = int(first == 0), int(last == x.shape[2])
        whole = beyond == (1, 1)
        found.append((x if whole else x[:, :, first - 1 + beyond[0] : last + 1 - beyond[1]], beyond))
        first = last
    return found


def conv_of(
    weight: torch.Tensor, bias: torch.Tensor | None = None, groups: int = 1, padding: tuple[int, int] = (0, 0)
) -> nn.Conv2d:
    """A Conv2d over the given tensors. weight [out, in / groups, kh, kw]."""
    out, each, *kernel = weight.shape
    with torch.device("meta"):
        conv = nn.Conv2d(
            each * groups, out, (kernel[0], kernel[1]), padding=padding, groups=groups, bias=bias is not None
        )
    conv.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    if bias is not None:
        conv.bias = nn.Parameter(bias, requires_grad=False)
    return conv
