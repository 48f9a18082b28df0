"""Step and picture size as the embedding that every resnet of the U-Net takes.

Computed once in fp32, outside the graph of the U-Net: the sine of 500 radians means nothing in fp16.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from dreamlite_mobile.config import UNetConfig


class StepEmbedder(nn.Module):
    """Step and picture size -> the embedding every resnet takes, in fp32 and outside the graph of the U-Net."""

    def __init__(self, cfg: UNetConfig) -> None:
        super().__init__()
        width, out = cfg.block_out_channels[0], cfg.time_embed_dim
        self.time_embedding = TimestepMLP(width, out)
        self.add_embedding = TimestepMLP(cfg.projection_class_embeddings_input_dim, out)
        self.cfg = cfg

    def forward(self, timesteps: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
        """timesteps [N] (1000 x sigma), size [2] (width, height in pixels) -> [N, T], after the resnets' SiLU."""
        cfg = self.cfg
        time = sinusoid(timesteps, cfg.block_out_channels[0], cfg.flip_sin_to_cos, cfg.freq_shift)
        sizes = sinusoid(size, cfg.addition_time_embed_dim, cfg.flip_sin_to_cos, cfg.freq_shift)
        return F.silu(self.time_embedding(time) + self.add_embedding(sizes.view(1, -1)))


class TimestepMLP(nn.Module):
    """`TimestepEmbedding`."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(channels, out)
        self.linear_2 = nn.Linear(out, out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))


def sinusoid(values: torch.Tensor, channels: int, cosine_first: bool, shift: float) -> torch.Tensor:
    """values [N] -> [N, channels] (`get_timestep_embedding`)."""
    half = channels // 2
    exponent = -math.log(10000) * torch.arange(half, dtype=torch.float32) / (half - shift)
    angles = values.float()[:, None] * torch.exp(exponent)
    parts = [angles.cos(), angles.sin()] if cosine_first else [angles.sin(), angles.cos()]
    return torch.cat(parts, 1)
