"""Pieces shared by the networks, each written as its form asks. Batch 1, static shapes, rank at most 4."""

import torch
import torch.nn.functional as F
from torch import nn

from dreamlite_mobile.networks.form import Foldable, Form, linear_of


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

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.primitive:
            return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)
        x = x - self.mean(x)
        return x * torch.rsqrt(self.mean(x * x) + self.eps) * self.weight + self.bias


class RMSNorm(Foldable):
    """RMS normalisation over the last axis (diffusers `RMSNorm`, transformers `Qwen3VLTextRMSNorm`)."""

    def __init__(self, channels: int, eps: float, form: Form) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels))
        self.eps = eps
        self.primitive = form.norms == "primitive"

    def fold(self) -> None:
        if self.primitive:
            self.mean = row_mean(len(self.weight))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.primitive:
            return F.rms_norm(x, self.weight.shape, self.weight, self.eps)
        return x * torch.rsqrt(self.mean(x * x) + self.eps) * self.weight


class GroupNorm(Foldable):
    """`nn.GroupNorm` on [1, C, H, W]."""

    def __init__(self, groups: int, channels: int, eps: float, form: Form) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))
        self.groups = groups
        self.eps = eps
        self.primitive = form.norms == "primitive"

    def fold(self) -> None:
        if self.primitive:
            channels = len(self.weight)
            member = torch.kron(torch.eye(self.groups), torch.ones(1, channels // self.groups))
            self.gather = linear_of(member * (self.groups / channels))
            self.spread = linear_of(member.t().contiguous())

    def group_mean(self, x: torch.Tensor) -> torch.Tensor:
        """[1, C, H, W] -> [1, C, 1, 1]: the mean of each channel's group."""
        channels = x.shape[1]
        return self.spread(self.gather(x.mean((2, 3), keepdim=True).view(1, channels))).view(1, channels, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.primitive:
            return F.group_norm(x, self.groups, self.weight, self.bias, self.eps)
        x = x - self.group_mean(x)
        scale = torch.rsqrt(self.group_mean(x * x) + self.eps) * self.weight.view(1, -1, 1, 1)
        return x * scale + self.bias.view(1, -1, 1, 1)


class GeGlu(Foldable):
    """diffusers `FeedForward` with GEGLU; the projection is used as two, so that nothing is sliced."""

    def __init__(self, channels: int, mult: int) -> None:
        super().__init__()
        inner = channels * mult
        projection = nn.Module()
        projection.proj = nn.Linear(channels, 2 * inner)
        self.net = nn.ModuleDict({"0": projection, "2": nn.Linear(inner, channels)})
        self.inner = inner

    def fold(self) -> None:
        projection = self.net["0"].proj
        assert isinstance(projection, nn.Linear)
        weight, bias = projection.weight.data, projection.bias.data
        self.value = linear_of(weight[: self.inner], bias[: self.inner])
        self.gate = linear_of(weight[self.inner :], bias[self.inner :])
        self.out = self.net["2"]
        del self.net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.value(x) * F.gelu(self.gate(x)))


def row_mean(channels: int) -> nn.Linear:
    """The mean over the last axis as a matrix product: [..., C] -> [..., 1]."""
    return linear_of(torch.full((1, channels), 1 / channels))


def gelu_tanh(x: torch.Tensor, form: Form) -> torch.Tensor:
    """The tanh approximation of GELU."""
    if form.gelu_tanh == "op":
        return F.gelu(x, approximate="tanh")
    inner = (x * x * 0.044715 + 1.0) * x * 0.7978845608028654
    return x * 0.5 * (torch.tanh(inner) + 1.0)
