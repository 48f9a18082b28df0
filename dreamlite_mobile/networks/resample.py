"""The two convolutions that change resolution, each written as its form asks; kernels are derived once, at load.

Where a form asks for matrix products, the picture is held as rows of pixels with the channels inside, [1, H, W*C], so
that shifting it is one slice of memory and no compiler has to change its layout in between.
"""

import torch
import torch.nn.functional as F
from torch import nn

from dreamlite_mobile.networks.form import Foldable, Form, linear_of


class UpsampleConv(Foldable):
    """Nearest x2, then a padded 3x3 convolution with this module's weight and bias, as one exact operation."""

    up: nn.Module
    ups: nn.ModuleList

    def __init__(self, channels: int, form: Form, bias: bool = True, parts: int = 1) -> None:
        super().__init__()
        self.parts = parts if form.upsample == "transposed" else 1
        self.weight = nn.Parameter(torch.empty(channels, channels, 3, 3))
        self.bias = nn.Parameter(torch.empty(channels)) if bias else None
        self.how = form.upsample

    def fold(self) -> None:
        bias = None if self.bias is None else self.bias.data
        if self.parts > 1:
            biases = [None] * self.parts if bias is None else torch.chunk(bias, self.parts)
            kernels = torch.chunk(self.weight.data, self.parts)
            self.ups = nn.ModuleList(transposed_of(*one) for one in zip(kernels, biases, strict=True))
        elif self.how == "transposed":
            self.up = transposed_of(self.weight.data, bias)
        elif self.how == "differences":
            self.up = Differences(self.weight.data, bias)
        if self.how != "resize":
            del self.weight, self.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[1, C, H, W] -> [1, C, 2H, 2W]."""
        (made,) = self.apart(x, 1)
        return made

    def apart(self, x: torch.Tensor, pictures: int) -> list[torch.Tensor]:
        """[1, C, H, W] -> so many pictures [1, c, 2H, 2W] that have the C channels together. `parts` is a multiple."""
        if self.parts > 1:
            made, each = [up(x) for up in self.ups], self.parts // pictures
            return [torch.cat(made[at : at + each], 1) if each > 1 else made[at] for at in range(0, self.parts, each)]
        assert pictures == 1
        if self.how == "resize":
            return [F.conv2d(F.interpolate(x, scale_factor=2.0, mode="nearest"), self.weight, self.bias, padding=1)]
        return [self.up(x)]


class DownsampleConv(Foldable):
    """A padded 3x3 convolution with stride 2 on even heights and widths."""

    def __init__(self, channels: int, form: Form) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, channels, 3, 3))
        self.bias = nn.Parameter(torch.empty(channels))
        self.how = form.downsample

    def fold(self) -> None:
        if self.how == "taps":
            self.down = Taps(self.weight.data, self.bias.data)
            del self.weight, self.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.how == "conv":
            return F.conv2d(x, self.weight, self.bias, stride=2, padding=1)
        return self.down(x)


class Differences(nn.Module):
    """Nearest x2 and a 3x3 convolution in nine products of C x C for every pixel (36 as published, 16 transposed).

    Along one axis, with taps a, b, c, their sum s, and D[i] = x[i-1] - x[i] (zero outside the picture), the two
    outputs of a pixel are s x[i] + a D[i] and s x[i] - c D[i+1]: three products. Two axes make nine.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        first_row, last_row = weight[:, :, 0], -weight[:, :, 2]
        self.flat = linear_of(weight.sum((2, 3)), bias)
        self.rows = linears(first_row.sum(2), last_row.sum(2))
        self.columns = linears(weight[:, :, :, 0].sum(2), -weight[:, :, :, 2].sum(2))
        self.both = linears(first_row[:, :, 0], -first_row[:, :, 2], last_row[:, :, 0], -last_row[:, :, 2])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[1, C, H, W] -> [1, C, 2H, 2W]."""
        _, channels, height, width = x.shape
        step = width * channels
        x = pixel_rows(x)
        by_row, by_column = row_differences(x), column_differences(x, channels)
        by_both = column_differences(by_row, channels)

        def pixels(rows: torch.Tensor) -> torch.Tensor:
            return rows.reshape(1, height * width, channels)

        flat = self.flat(pixels(x))
        columns = [
            product(pixels(by_column[:, :, channels * right : channels * right + step]))
            for right, product in enumerate(self.columns)
        ]
        lines = []
        for lower, product in enumerate(self.rows):
            base = flat + product(pixels(by_row[:, lower : lower + height]))
            corners = by_both[:, lower : lower + height]
            pair = [
                base + (columns[right] + both(pixels(corners[:, :, channels * right : channels * right + step])))
                for right, both in enumerate(self.both[2 * lower : 2 * lower + 2])
            ]
            lines.append(torch.cat(pair, 2).view(1, height, 1, 2 * step))
        return torch.cat(lines, 2).view(1, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)


class Taps(nn.Module):
    """A stride-2 3x3 convolution as six products over shifted pixels: of each kernel row, two taps and the third.

    Even and odd rows stand side by side in memory, so do even and odd columns: striding costs nothing.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__()
        taps = [(weight[:, :, row, :2].transpose(1, 2).flatten(1), weight[:, :, row, 2]) for row in range(3)]
        self.pairs = linears(*(pair for pair, _ in taps), bias=bias)
        self.singles = linears(*(single for _, single in taps))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[1, C, H, W] -> [1, C_out, H/2, W/2]."""
        channels, height, width = x.shape[1], x.shape[2] // 2, x.shape[3] // 2
        line = (x.shape[3] + 2) * channels
        lines = F.pad(pixel_rows(x), (channels, channels, 1, 1)).reshape(height + 1, 2 * line)
        total = None
        for kernel_row, (pair, single) in enumerate(zip(self.pairs, self.singles, strict=True)):
            below, odd = divmod(kernel_row, 2)
            picked = lines[below : below + height, line * odd : line * (odd + 1)].reshape(height, width + 1, -1)
            pairs = picked[:, :width].reshape(1, height * width, 2 * channels)
            singles = picked[:, 1:, :channels].reshape(1, height * width, channels)
            part = pair(pairs) + single(singles)
            total = part if total is None else total + part
        assert total is not None
        return total.reshape(1, height, width, -1).permute(0, 3, 1, 2)


def pixel_rows(x: torch.Tensor) -> torch.Tensor:
    """[1, C, H, W] -> [1, H, W*C]."""
    return x.permute(0, 2, 3, 1).reshape(1, x.shape[2], -1)


def row_differences(rows: torch.Tensor) -> torch.Tensor:
    """[1, H, X] -> [1, H+1, X]: each row above minus the row below, zero outside."""
    padded = F.pad(rows, (0, 0, 1, 1))
    return padded[:, :-1] - padded[:, 1:]


def column_differences(rows: torch.Tensor, channels: int) -> torch.Tensor:
    """[1, H, W*C] -> [1, H, (W+1)*C]: each pixel to the left minus the pixel to the right, zero outside."""
    padded = F.pad(rows, (channels, channels))
    return padded[:, :, :-channels] - padded[:, :, channels:]


def linears(*weights: torch.Tensor, bias: torch.Tensor | None = None) -> nn.ModuleList:
    """One Linear per weight [out, in]; the bias goes to the first."""
    return nn.ModuleList(
        linear_of(weight.contiguous(), bias if index == 0 else None) for index, weight in enumerate(weights)
    )


def transposed_of(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.ConvTranspose2d:
    """The 4x4 stride-2 transposed convolution equal to nearest x2 followed by the 3x3 convolution given."""
    spread = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    with torch.device("meta"):
        up = nn.ConvTranspose2d(weight.shape[1], weight.shape[0], 4, stride=2, padding=1, bias=bias is not None)
    up.weight = nn.Parameter((spread @ weight @ spread.t()).transpose(0, 1).contiguous(), requires_grad=False)
    if bias is not None:
        up.bias = nn.Parameter(bias, requires_grad=False)
    return up
