"""The DreamLite U-Net (`DreamLiteUNetModel`, diffusers 0.42) re-expressed for inference.

Batch 1, static shapes, rank at most 4. Attention is in `transformer.py`. Step and size embeddings come from a network
of their own (`step.py`).
"""

import torch
import torch.nn.functional as F
from torch import nn

from dreamlite_mobile.config import BlockKind, UNetConfig
from dreamlite_mobile.networks.form import Form
from dreamlite_mobile.networks.layers import GroupNorm, RMSNorm
from dreamlite_mobile.networks.resample import DownsampleConv, UpsampleConv
from dreamlite_mobile.networks.transformer import Transformer2D


class SeparableConv(nn.Module):
    """`DepthwiseSeparableConv`: 3x3 per channel, then 1x1, no biases."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, out, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pointwise(self.depthwise(x))


class Resnet(nn.Module):
    """`ResnetBlock2DDreamLite` with separable convolutions: the first doubles the channels, the second halves them."""

    def __init__(self, cfg: UNetConfig, channels: int, out: int, form: Form) -> None:
        super().__init__()
        self.norm1 = GroupNorm(cfg.norm_num_groups, channels, cfg.norm_eps, form)
        self.conv1 = SeparableConv(channels, 2 * out)
        self.time_emb_proj = nn.Linear(cfg.time_embed_dim, 2 * out)
        self.norm2 = GroupNorm(cfg.norm_num_groups, 2 * out, cfg.norm_eps, form)
        self.conv2 = SeparableConv(2 * out, out)
        self.conv_shortcut = nn.Conv2d(channels, out, 1) if channels != out else None

    def forward(self, x: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """x [1, C, H, W], step [1, T] (after its SiLU) -> [1, C_out, H, W]."""
        y = self.conv1(F.silu(self.norm1(x)))
        y = y + self.time_emb_proj(step).view(1, -1, 1, 1)
        y = self.conv2(F.silu(self.norm2(y)))
        return (x if self.conv_shortcut is None else self.conv_shortcut(x)) + y


class Downsample(nn.Module):
    """`Downsample2D`: a padded 3x3 convolution with stride 2."""

    def __init__(self, channels: int, form: Form) -> None:
        super().__init__()
        self.conv = DownsampleConv(channels, form)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


class Upsample(nn.Module):
    """`Upsample2D`: nearest x2, then a padded 3x3 convolution."""

    def __init__(self, channels: int, form: Form) -> None:
        super().__init__()
        self.conv = UpsampleConv(channels, form)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


class DownBlock(nn.Module):
    """One level on the way down; its outputs (each layer, then the smaller picture) are the skips."""

    def __init__(self, cfg: UNetConfig, level: int, form: Form) -> None:
        super().__init__()
        channels = cfg.block_out_channels[level]
        before = cfg.block_out_channels[max(level - 1, 0)]
        layers = cfg.layers_per_block[level]
        self.resnets = nn.ModuleList(
            Resnet(cfg, before if layer == 0 else channels, channels, form) for layer in range(layers)
        )
        self.attentions = attentions(cfg, level, layers, cfg.down_kinds[level], form)
        last = level == len(cfg.block_out_channels) - 1
        self.downsamplers = nn.ModuleList([] if last else [Downsample(channels, form)])

    def forward(
        self, x: torch.Tensor, step: torch.Tensor, context: torch.Tensor, bias: torch.Tensor
    ) -> list[torch.Tensor]:
        outputs = []
        for layer, resnet in enumerate(self.resnets):
            x = resnet(x, step)
            if len(self.attentions):
                x = self.attentions[layer](x, context, bias)
            outputs.append(x)
        for downsampler in self.downsamplers:
            x = downsampler(x)
            outputs.append(x)
        return outputs


class MidBlock(nn.Module):
    """`DreamLiteUNetMidBlock2DCrossAttn`."""

    def __init__(self, cfg: UNetConfig, form: Form) -> None:
        super().__init__()
        level = len(cfg.block_out_channels) - 1
        channels = cfg.block_out_channels[level]
        self.resnets = nn.ModuleList(Resnet(cfg, channels, channels, form) for _ in range(cfg.num_mid_layers + 1))
        self.attentions = attentions(cfg, level, cfg.num_mid_layers, "full", form)

    def forward(self, x: torch.Tensor, step: torch.Tensor, context: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        x = self.resnets[0](x, step)
        for layer, attention in enumerate(self.attentions):
            x = self.resnets[layer + 1](attention(x, context, bias), step)
        return x


class UpBlock(nn.Module):
    """One level on the way up; every layer takes one skip."""

    def __init__(self, cfg: UNetConfig, index: int, form: Form) -> None:
        super().__init__()
        levels = len(cfg.block_out_channels)
        level = levels - 1 - index
        channels = cfg.block_out_channels[level]
        below = cfg.block_out_channels[min(level + 1, levels - 1)]
        above = cfg.block_out_channels[max(level - 1, 0)]
        layers = cfg.layers_per_block[level] + 1
        self.resnets = nn.ModuleList(
            Resnet(
                cfg,
                (below if layer == 0 else channels) + (above if layer == layers - 1 else channels),
                channels,
                form,
            )
            for layer in range(layers)
        )
        self.attentions = attentions(cfg, level, layers, cfg.up_kinds[index], form)
        self.upsamplers = nn.ModuleList([Upsample(channels, form)] if index < levels - 1 else [])

    def forward(
        self,
        x: torch.Tensor,
        skips: list[torch.Tensor],
        step: torch.Tensor,
        context: torch.Tensor,
        bias: torch.Tensor,
    ) -> torch.Tensor:
        """`skips` is used up from its end."""
        for layer, resnet in enumerate(self.resnets):
            x = resnet(torch.cat([x, skips.pop()], 1), step)
            if len(self.attentions):
                x = self.attentions[layer](x, context, bias)
        for upsampler in self.upsamplers:
            x = upsampler(x)
        return x


class UNet(nn.Module):
    """One denoising step on the in-context pair (target | condition), side by side along the width."""

    def __init__(self, cfg: UNetConfig, form: Form) -> None:
        super().__init__()
        levels = range(len(cfg.block_out_channels))
        self.mask = form.mask
        width = cfg.block_out_channels[0]
        self.conv_in = nn.Conv2d(cfg.in_channels, width, 3, padding=1)
        self.encoder_hid_proj = nn.Sequential(
            nn.Linear(cfg.encoder_hid_dim, cfg.cross_attention_dim), RMSNorm(cfg.cross_attention_dim, 1e-5, form)
        )
        self.down_blocks = nn.ModuleList(DownBlock(cfg, level, form) for level in levels)
        self.mid_block = MidBlock(cfg, form)
        self.up_blocks = nn.ModuleList(UpBlock(cfg, index, form) for index in levels)
        self.conv_norm_out = GroupNorm(cfg.norm_num_groups, width, cfg.norm_eps, form)
        self.conv_out = nn.Conv2d(width, cfg.out_channels, 3, padding=1)

    def forward(
        self,
        latents: torch.Tensor,
        condition: torch.Tensor,
        step_embedding: torch.Tensor,
        prompt_states: torch.Tensor,
        mask: torch.Tensor,
    ) -> torch.Tensor:
        """One step.

        Args:
            latents: [1, 4, h, w], the noisy target.
            condition: [1, 4, h, w], latents of the source picture, or zeros to generate.
            step_embedding: [1, T], from `StepEmbedder`.
            prompt_states: [1, S, D], the text encoder's states.
            mask: [1, S], 1 where a prompt state is valid and 0 where it is padding.

        Returns:
            velocity [1, 4, h, w] of the target half.
        """
        target_width = latents.shape[3]
        context = self.encoder_hid_proj(prompt_states)
        bias = ((mask - 1.0) * self.mask).view(1, 1, -1)
        x = self.conv_in(torch.cat([latents, condition], 3))
        skips = [x]
        for down in self.down_blocks:
            skips += down(skips[-1], step_embedding, context, bias)
        x = self.mid_block(skips[-1], step_embedding, context, bias)
        for up in self.up_blocks:
            x = up(x, skips, step_embedding, context, bias)
        return self.conv_out(F.silu(self.conv_norm_out(x)))[:, :, :, :target_width]


def attentions(cfg: UNetConfig, level: int, count: int, kind: BlockKind, form: Form) -> nn.ModuleList:
    """The transformers of one block; none in a plain one."""
    if kind == "plain":
        return nn.ModuleList()
    channels, heads = cfg.block_out_channels[level], cfg.num_heads[level]
    layers = cfg.transformer_layers[level]
    return nn.ModuleList(Transformer2D(cfg, channels, heads, layers, kind, form) for _ in range(count))
