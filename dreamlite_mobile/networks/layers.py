"""Pieces shared by the networks, each written as its form asks. Batch 1, static shapes, rank at most 4."""

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from dreamlite_mobile.networks.form import Foldable, Form, linear_of

KeptApart = tuple[torch.Tensor, torch.Tensor]
"""Two numbers of each channel: means and deviations, or scale and shift."""


class LayerNorm(Foldable):
    """`nn.LayerNorm` over the last axis."""

    def __init__(self, channels: int, eps: float, form: Form) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))
        self.eps = eps
        self.primitive = form.norms == "primitive"

    def fold(self) -> None:
        if self.primitive:
            self.mean = row_mean(len(self.weight))
            self.variance = row_mean(len(self.weight), self.eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.primitive:
            return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)
        x = x - self.mean(x)
        return x * torch.rsqrt(self.variance(x * x)) * self.weight + self.bias


class RMSNorm(Foldable):
    """RMS normalisation over the last axis (diffusers `RMSNorm`, transformers `Qwen3VLTextRMSNorm`)."""

    root_eps: torch.Tensor

    def __init__(self, channels: int, eps: float, form: Form) -> None:
        super().__init__()
        self.weight: nn.Parameter | None = nn.Parameter(torch.empty(channels))
        self.channels, self.eps = channels, eps
        self.how = form.norms

    def fold(self) -> None:
        if self.how == "primitive":
            self.mean_square = row_mean(self.channels, self.eps)
        elif self.how == "bounded":
            self.register_buffer("root_eps", torch.full((1, 1, 1), self.eps**0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.how == "op":
            return F.rms_norm(x, (self.channels,), self.weight, self.eps)
        if self.how == "bounded":
            x = self.bounded(x)
        else:
            x = x * torch.rsqrt(self.mean_square(x * x))
        return x if self.weight is None else x * self.weight

    def take_divided(self, by: float) -> None:
        """Be the same function of rows that come divided by a number. After `fold`, in forms made for fp16."""
        assert self.how != "primitive"
        self.eps /= by**2
        if self.how == "bounded":
            self.root_eps /= by

    def bounded(self, x: torch.Tensor) -> torch.Tensor:
        """Both x and sqrt(eps) over the row's largest value, which changes nothing: no square exceeds 1."""
        largest = x.abs().amax(-1, keepdim=True) + self.root_eps
        x, rest = x / largest, self.root_eps / largest
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + rest * rest)


class GroupNorm(Foldable):
    """`nn.GroupNorm` on [1, C, H, W].

    Args:
        widths: channels of pictures that have C together; lines: of a band. With lines, `scaled_by` tells whoever
            scales these pictures himself by what.
    """

    def __init__(
        self, groups: int, channels: int, eps: float, form: Form, widths: Sequence[int] = (), lines: int = 0
    ) -> None:
        super().__init__()
        self.widths, self.lines = list(widths), lines
        self.weight = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))
        self.groups = groups
        self.eps = eps
        self.how = form.norms

    def fold(self) -> None:
        channels = len(self.weight)
        if self.lines:
            self.moments = nn.ModuleList(Moments(self.lines) for _ in self.widths)
            self.scaling = Scaling(self, self.widths)
        if self.how == "primitive":
            member = torch.kron(torch.eye(self.groups), torch.ones(1, channels // self.groups))
            self.gather = averaging(member * (self.groups / channels))
            self.spread = averaging(member.t().contiguous())
            self.spread_variance = averaging(member.t().contiguous(), self.eps)
        if self.how != "op":
            self.weight = nn.Parameter(self.weight.data.view(1, -1, 1, 1))
            self.bias = nn.Parameter(self.bias.data.view(1, -1, 1, 1))

    def scaled_by(self, pictures: Sequence[torch.Tensor], plus: torch.Tensor | None = None) -> list[KeptApart]:
        """Scale and shift of each picture (`Scaling`)."""
        found = [moments(x) for moments, x in zip(self.moments, pictures, strict=True)]
        return self.scaling(found, plus)

    def group_mean(self, x: torch.Tensor, spread: nn.Module) -> torch.Tensor:
        """[1, C, H, W] -> [1, C, 1, 1]: the mean of each channel's group."""
        channels = x.shape[1]
        return spread(self.gather(plane_mean(x).view(1, channels))).view(1, channels, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.how == "op":
            return F.group_norm(x, self.groups, self.weight, self.bias, self.eps)
        if self.how == "bounded":
            _, channels, height, width = x.shape
            grouped = x.view(1, self.groups, channels // self.groups * height, width)
            return F.instance_norm(grouped, eps=self.eps).view(x.shape) * self.weight + self.bias
        x = x - self.group_mean(x, self.spread)
        return x * (torch.rsqrt(self.group_mean(x * x, self.spread_variance)) * self.weight) + self.bias


NOT_ZERO = 1e-4
"""Added to what is divided by: fp16 has its inverse."""


class Moments(nn.Module):
    """Means and standard deviations of a picture's channels, a band of lines at a time, so that it is read once.

    Differences from a band's mean are squared as parts of the largest: fp16 has no squares of more than 255, and none
    of less than 0.008 with all their digits.
    """

    def __init__(self, lines: int) -> None:
        super().__init__()
        self.lines = lines

    def forward(self, x: torch.Tensor) -> KeptApart:
        """[1, c, H, W] -> of N bands the means and the deviations, [1, c, N, 1]."""
        means, deviations = [], []
        for band in bands(x, self.lines):
            mean = band.mean((2, 3), keepdim=True)
            apart = band - mean
            largest = apart.abs().amax((2, 3), keepdim=True) + NOT_ZERO
            part = apart * (1.0 / largest)
            means.append(mean)
            deviations.append(torch.sqrt((part * part).mean((2, 3), keepdim=True)) * largest)
        return (means[0], deviations[0]) if len(means) == 1 else (torch.cat(means, 2), torch.cat(deviations, 2))


class Scaling(nn.Module):
    """What a group norm multiplies each channel by and adds, from the moments of bands of pictures that stay apart.

    Deviation and mean of a group come from those of its channels' bands, as parts of the largest again.
    """

    def __init__(self, norm: GroupNorm, widths: Sequence[int]) -> None:
        super().__init__()
        channels = len(norm.weight)
        assert sum(widths) == channels
        self.groups, self.root_eps = norm.groups, norm.eps**0.5
        member = torch.kron(torch.eye(norm.groups), torch.ones(1, channels // norm.groups))
        self.gather = averaging(member * (norm.groups / channels))
        self.spread = averaging(member.t().contiguous())
        self.weight, self.bias = norm.weight, norm.bias
        self.widths = list(widths)

    def forward(self, moments: Sequence[KeptApart], plus: torch.Tensor | None = None) -> list[KeptApart]:
        """Moments of pictures [1, c, H, W] with C channels in all, plus [1, C], added to each pixel before the norm ->
        of each picture scale and shift [1, c, 1, 1]; the shift has `plus` in it."""
        found = [together(*one) for one in moments]
        mean, deviation = found[0] if len(found) == 1 else (torch.cat(one, 1) for one in zip(*found, strict=True))
        if plus is not None:
            mean = mean + plus
        middle = self.spread(self.gather(mean))
        apart = mean - middle
        largest = torch.maximum(apart.abs(), deviation).view(1, self.groups, -1).amax(2) + self.root_eps
        inverse = 1.0 / largest
        own = self.spread(inverse)
        apart, deviation, eps = apart * own, deviation * own, inverse * self.root_eps
        variance = self.gather(deviation * deviation + apart * apart) + eps * eps
        scale = self.spread(torch.rsqrt(variance) * inverse) * self.weight
        shift = self.bias + ((plus - middle) if plus is not None else -middle) * scale
        ends = list(itertools.accumulate(self.widths, initial=0))
        return [
            (scale[:, first:last].view(1, -1, 1, 1), shift[:, first:last].view(1, -1, 1, 1))
            for first, last in itertools.pairwise(ends)
        ]


def together(means: torch.Tensor, deviations: torch.Tensor) -> KeptApart:
    """Of equally large bands [1, c, N, 1] -> mean and deviation of the whole, [1, c]."""
    mean = means.mean(2, keepdim=True)
    apart = means - mean
    largest = torch.maximum(apart.abs(), deviations).amax(2, keepdim=True) + NOT_ZERO
    inverse = 1.0 / largest
    apart, deviations = apart * inverse, deviations * inverse
    deviation = torch.sqrt((deviations * deviations + apart * apart).mean(2, keepdim=True)) * largest
    return mean.flatten(1), deviation.flatten(1)


def bands(x: torch.Tensor, lines: int) -> Sequence[torch.Tensor]:
    """[1, C, H, W] in bands of equally many lines, at most so many: where H has no such divisor, fewer."""
    height = x.shape[2]
    lines = next(count for count in range(min(lines, height), 0, -1) if height % count == 0)
    return [x] if lines == height else torch.split(x, lines, 2)


GELU_LINEAR = 2 * (2 / math.pi) ** 0.5
GELU_CUBIC = 0.044715 * GELU_LINEAR
"""The tanh approximation of GELU (Hendrycks and Gimpel 2016) is x sigmoid(linear x + cubic x^3)."""
GATE_SCALE = GELU_CUBIC ** (1 / 3)
"""A gate so many times as large needs no factor in front of its cube."""


class GeGlu(Foldable):
    """diffusers `FeedForward` with GEGLU; the projection is used as two, so that nothing is sliced.

    Where GELU is written by a sigmoid, the gate is scaled on the way in and what it gives on the way out.
    """

    def __init__(self, channels: int, mult: int, form: Form) -> None:
        super().__init__()
        inner = channels * mult
        projection = nn.Module()
        projection.proj = nn.Linear(channels, 2 * inner)
        self.net = nn.ModuleDict({"0": projection, "2": nn.Linear(inner, channels)})
        self.inner, self.form = inner, form
        self.by_sigmoid = channels in form.sigmoid_gates

    def fold(self) -> None:
        projection = self.net["0"].proj
        assert isinstance(projection, nn.Linear)
        weight, bias = projection.weight.data, projection.bias.data
        value, gate = [weight[: self.inner], bias[: self.inner]], [weight[self.inner :], bias[self.inner :]]
        out = self.net["2"]
        assert isinstance(out, nn.Linear)
        if self.by_sigmoid:
            gate = [part * GATE_SCALE for part in gate]
            out = linear_of(out.weight.data / GATE_SCALE, out.bias.data)
        self.value, self.gate, self.out = linear_of(*value), linear_of(*gate), out
        del self.net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value, gate = self.value(x), self.gate(x)
        if self.by_sigmoid:
            return self.out(value * (gate * torch.sigmoid((gate * gate + GELU_LINEAR / GATE_SCALE) * gate)))
        return self.out(value * gelu(gate, self.form))


def plane_mean(x: torch.Tensor) -> torch.Tensor:
    """[1, C, H, W] -> [1, C, 1, 1], columns first.

    XNNPACK adds one number after another in fp32: over 128 x 256 at once that is wrong by 1.6e-4 where half of the
    picture is blank, over 128 and then 256 by 1e-6.
    """
    return F.avg_pool2d(x, (x.shape[2], 1)).mean((2, 3), keepdim=True)


class Averaging(nn.Linear):
    """A matrix product that only averages or spreads averages: not weights of the model, never quantised."""


def averaging(weight: torch.Tensor, plus: float | None = None) -> Averaging:
    """x -> x @ weight.T + plus; weight [out, in]."""
    with torch.device("meta"):
        linear = Averaging(weight.shape[1], weight.shape[0], bias=plus is not None)
    linear.weight = nn.Parameter(weight, requires_grad=False)
    if plus is not None:
        linear.bias = nn.Parameter(torch.full((weight.shape[0],), plus), requires_grad=False)
    return linear


def row_mean(channels: int, plus: float | None = None) -> Averaging:
    """The mean over the last axis, plus a constant, as a matrix product: [..., C] -> [..., 1]."""
    return averaging(torch.full((1, channels), 1 / channels), plus)


def gelu(x: torch.Tensor, form: Form) -> torch.Tensor:
    """GELU with the error function, or what the form takes for it."""
    return F.gelu(x) if form.gelu == "op" else tanh_primitives(x)


def gelu_tanh(x: torch.Tensor, form: Form) -> torch.Tensor:
    """The tanh approximation of GELU."""
    return F.gelu(x, approximate="tanh") if form.gelu_tanh == "op" else tanh_primitives(x)


def tanh_primitives(x: torch.Tensor) -> torch.Tensor:
    """x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), no larger than x on the way to tanh's argument."""
    half = x * 0.5
    return half * torch.tanh((x * x * (GELU_CUBIC / 2) + GELU_LINEAR / 2) * x) + half
