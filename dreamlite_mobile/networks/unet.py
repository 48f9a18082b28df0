"""The DreamLite U-Net (`DreamLiteUNetModel`, diffusers 0.42) re-expressed for inference.

Batch 1, static shapes, rank at most 4. Attention is in `transformer.py`. Step and size embeddings come from a network
of their own (`step.py`).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from dreamlite_mobile.config import BlockKind, UNetConfig
from dreamlite_mobile.networks.form import Foldable, Form
from dreamlite_mobile.networks.layers import GroupNorm, RMSNorm
from dreamlite_mobile.networks.resample import DownsampleConv, UpsampleConv
from dreamlite_mobile.networks.separable import BandedConv, SeparableConv
from dreamlite_mobile.networks.transformer import KeysValues, Transformer2D, of_one

Cross = torch.Tensor | Sequence[Sequence[KeysValues]]
"""The prompt's context [1, S, E], or of each transformer of a block, of each of its layers, what it gives."""


class Bands(Foldable):
    """A resnet's two convolutions in bands of lines; derived from those that were loaded, which go."""

    first: BandedConv
    second: BandedConv

    def __init__(self, resnet: "Resnet", out: int, inner_lines: int) -> None:
        super().__init__()
        self.of = [resnet]
        self.inner, self.inner_lines = [out, out], inner_lines

    def fold(self) -> None:
        (resnet,) = self.of
        self.first = BandedConv(resnet.conv1, resnet.widths, len(self.inner), resnet.lines)
        self.second = BandedConv(resnet.conv2, self.inner, 1, self.inner_lines, resnet.conv_shortcut, resnet.widths)
        del resnet.conv1, resnet.conv2, resnet.conv_shortcut, self.of


class Resnet(nn.Module):
    """`ResnetBlock2DDreamLite` with separable convolutions: the first doubles the channels, the second halves them.

    Args:
        widths: channels of the pictures that come in, which count as one with all their channels.
    """

    def __init__(self, cfg: UNetConfig, widths: int | Sequence[int], out: int, form: Form) -> None:
        super().__init__()
        self.widths = [widths] if isinstance(widths, int) else list(widths)
        channels = sum(self.widths)
        self.lines = form.lines(out, channels) if len(self.widths) > 1 else 0
        inner_lines = form.lines(out, out) if self.lines else 0
        self.norm1 = GroupNorm(cfg.norm_num_groups, channels, cfg.norm_eps, form, self.widths, inner_lines)
        self.conv1 = SeparableConv(channels, 2 * out)
        self.time_emb_proj = nn.Linear(cfg.time_embed_dim, 2 * out)
        self.norm2 = GroupNorm(cfg.norm_num_groups, 2 * out, cfg.norm_eps, form, [out, out], inner_lines)
        self.conv2 = SeparableConv(2 * out, out)
        self.conv_shortcut = nn.Conv2d(channels, out, 1) if channels != out else None
        if self.lines:
            self.bands = Bands(self, out, inner_lines)

    def forward(self, x: torch.Tensor | Sequence[torch.Tensor], step: torch.Tensor) -> torch.Tensor:
        """x [1, C, H, W], or pictures of these channels; step [1, T] (after its SiLU) -> [1, C_out, H, W]."""
        pictures = [x] if isinstance(x, torch.Tensor) else list(x)
        if self.lines:
            inner = self.bands.first(pictures, self.norm1.scaled_by(pictures))
            (made,) = self.bands.second(inner, self.norm2.scaled_by(inner, self.time_emb_proj(step)), pictures)
            return made
        x = pictures[0] if len(pictures) == 1 else torch.cat(pictures, 1)
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
        self.conv = UpsampleConv(channels, form, parts=form.upsamplers(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)

    def apart(self, x: torch.Tensor, pictures: int) -> list[torch.Tensor]:
        """[1, C, H, W] -> so many pictures [1, c, 2H, 2W] that have the C channels together."""
        return [self(x)] if pictures == 1 else self.conv.apart(x, pictures)


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

    def forward(self, x: torch.Tensor, step: torch.Tensor, cross: Cross, bias: torch.Tensor) -> list[torch.Tensor]:
        outputs = []
        for layer, resnet in enumerate(self.resnets):
            x = resnet(x, step)
            if len(self.attentions):
                x = self.attentions[layer](x, of_one(cross, layer), bias)
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

    def forward(self, x: torch.Tensor, step: torch.Tensor, cross: Cross, bias: torch.Tensor) -> torch.Tensor:
        x = self.resnets[0](x, step)
        for layer, attention in enumerate(self.attentions):
            x = self.resnets[layer + 1](attention(x, of_one(cross, layer), bias), step)
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
        pictures = pictures_from_below(cfg, index, form)
        come = [below // pictures] * pictures
        self.resnets = nn.ModuleList(
            Resnet(
                cfg,
                [*(come if layer == 0 else [channels]), above if layer == layers - 1 else channels],
                channels,
                form,
            )
            for layer in range(layers)
        )
        self.attentions = attentions(cfg, level, layers, cfg.up_kinds[index], form)
        self.upsamplers = nn.ModuleList([Upsample(channels, form)] if index < levels - 1 else [])
        self.gives, self.phases = pictures_from_below(cfg, index + 1, form), form.phases

    def forward(
        self,
        below: Sequence[torch.Tensor],
        skips: list[torch.Tensor],
        step: torch.Tensor,
        cross: Cross,
        bias: torch.Tensor,
    ) -> list[torch.Tensor]:
        """What comes from below, and what goes on, is one picture or several that count as one with all their
        channels. `skips` is used up from its end."""
        for layer, resnet in enumerate(self.resnets):
            pictures = [*below, skips.pop()]
            x = resnet(pictures if self.phases else torch.cat(pictures, 1), step)
            if len(self.attentions):
                x = self.attentions[layer](x, of_one(cross, layer), bias)
            below = [x]
        for upsampler in self.upsamplers:
            assert isinstance(upsampler, Upsample)
            below = upsampler.apart(x, self.gives)
        return list(below)


def pictures_from_below(cfg: UNetConfig, index: int, form: Form) -> int:
    """In how many pictures an up block takes what the one before it gives: where it works in bands, each as wide as it
    is itself."""
    levels = len(cfg.block_out_channels)
    if not 0 < index < levels:
        return 1
    below, channels = cfg.block_out_channels[levels - index], cfg.block_out_channels[levels - 1 - index]
    pictures, left = divmod(below, channels)
    apart = form.lines(channels, below) and not left and form.upsamplers(below) % pictures == 0
    return pictures if apart else 1


class UNet(nn.Module):
    """One denoising step on the in-context pair (target | condition), side by side along the width."""

    def __init__(self, cfg: UNetConfig, form: Form) -> None:
        super().__init__()
        levels = range(len(cfg.block_out_channels))
        self.mask, self.phases = form.mask, form.phases
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
        # what is computed is handed on in fp16: a cast in front of every resnet moves up to 80 MB each
        step = step_embedding * 1.0 if self.phases else step_embedding
        context = self.encoder_hid_proj(prompt_states)
        bias = ((mask - 1.0) * self.mask).view(1, 1, -1)
        cross = self.of_prompt(context) if self.phases else [context] * (2 * len(self.down_blocks) + 1)
        skips = [self.conv_in(torch.cat([latents, condition], 3))]
        for down in self.down_blocks:
            skips += down(skips[-1], step, cross.pop(0), bias)
        pictures = [self.mid_block(skips[-1], step, cross.pop(0), bias)]
        for up in self.up_blocks:
            pictures = up(pictures, skips, step, cross.pop(0), bias)
        (x,) = pictures
        return self.conv_out(F.silu(self.conv_norm_out(x)))[:, :, :, :target_width]

    def of_prompt(self, context: torch.Tensor) -> list[Cross]:
        """What the context gives the transformers of each block, in their order."""
        blocks = [*self.down_blocks, self.mid_block, *self.up_blocks]
        return [[attention.keys_values(context) for attention in block.attentions] for block in blocks]


def attentions(cfg: UNetConfig, level: int, count: int, kind: BlockKind, form: Form) -> nn.ModuleList:
    """The transformers of one block; none in a plain one."""
    if kind == "plain":
        return nn.ModuleList()
    channels, heads = cfg.block_out_channels[level], cfg.num_heads[level]
    layers = cfg.transformer_layers[level]
    return nn.ModuleList(Transformer2D(cfg, channels, heads, layers, kind, form) for _ in range(count))
