"""The full-size U-Net with seeded weights, as published and as ours, for the XNNPACK benchmarks. 32x64 latents."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import DreamLiteUNetModel
from torch import nn

from dreamlite_mobile.config import MOBILE, BlockKind
from dreamlite_mobile.networks import build, fold
from dreamlite_mobile.networks.form import XNNPACK
from dreamlite_mobile.networks.unet import UNet

HEIGHT, WIDTH, STATES = 32, 32, 200
"""Latents of one picture; the U-Net sees twice the width. 200 prompt states are the most that generating needs."""

NAMES: dict[BlockKind, str] = {
    "full": "DreamLiteCrossAttn",
    "cross": "DreamLiteCrossAttnNoSelfAttn",
    "plain": "DreamLite",
}
Tensors = tuple[torch.Tensor, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """The same piece as published and as ours, each with its own inputs for the same output."""

    name: str
    published: nn.Module
    published_inputs: Tensors
    ours: nn.Module
    our_inputs: Tensors


class PublishedStep(nn.Module):
    """One step of the published class; the picture's half of the velocity."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(
        self,
        latents: torch.Tensor,
        timestep: torch.Tensor,
        states: torch.Tensor,
        mask: torch.Tensor,
        size: torch.Tensor,
    ) -> torch.Tensor:
        velocity = self.unet(
            latents,
            timestep,
            states,
            encoder_attention_mask=mask,
            added_cond_kwargs={"time_ids": size},
            return_dict=False,
        )[0]
        return velocity[..., :WIDTH]


class PublishedTransformer(nn.Module):
    """One published transformer with its keyword arguments in a row."""

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, x: torch.Tensor, context: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return self.transformer(x, context, encoder_attention_mask=bias, return_dict=False)[0]


def published_unet() -> DreamLiteUNetModel:
    """The published class with the published configuration and seeded weights."""
    torch.manual_seed(0)
    cfg = MOBILE.unet
    unet = DreamLiteUNetModel(
        block_out_channels=cfg.block_out_channels,
        down_block_types=tuple(NAMES[kind] + "DownBlock2D" for kind in cfg.down_kinds),
        up_block_types=tuple(NAMES[kind] + "UpBlock2D" for kind in cfg.up_kinds),
        mid_block_type="DreamLiteUNetMidBlock2DCrossAttn",
        layers_per_block=2,
        attention_head_dim=cfg.num_heads,
        transformer_layers_per_block=cfg.transformer_layers,
        num_mid_layers=cfg.num_mid_layers,
        num_kv_heads=cfg.num_kv_heads,
        cross_attention_dim=cfg.cross_attention_dim,
        encoder_hid_dim=cfg.encoder_hid_dim,
        encoder_hid_dim_type="text_proj_rms",
        qk_norm="rms_norm",
        ff_mult=cfg.ff_mult,
        use_sep_conv=True,
        use_linear_projection=True,
        addition_embed_type="time",
        addition_time_embed_dim=cfg.addition_time_embed_dim,
        projection_class_embeddings_input_dim=cfg.projection_class_embeddings_input_dim,
        norm_num_groups=cfg.norm_num_groups,
    )
    return unet.eval().requires_grad_(False)


def our_unet(published: nn.Module) -> UNet:
    """Ours in the XNNPACK form over the published module's tensors."""
    network = build("unet", MOBILE, XNNPACK)
    state = published.state_dict()
    network.load_state_dict({name: state[name] for name in network.state_dict()}, assign=True)
    folded = fold(network)
    assert isinstance(folded, UNet)
    return folded


def step_case(published: DreamLiteUNetModel, ours: UNet) -> Case:
    """A whole step."""
    torch.manual_seed(1)
    cfg = MOBILE.unet
    latents, condition = torch.randn(1, 4, HEIGHT, WIDTH), torch.randn(1, 4, HEIGHT, WIDTH)
    states, mask = torch.randn(1, STATES, cfg.encoder_hid_dim), torch.ones(1, STATES)
    mask[:, STATES // 2 :] = 0
    timestep, size = torch.tensor([612.5]), torch.tensor([[8.0 * WIDTH, 8.0 * HEIGHT]])
    embedded = published.time_embedding(published.time_proj(timestep))
    embedded = embedded + published.get_aug_embed(
        emb=embedded, encoder_hidden_states=states, added_cond_kwargs={"time_ids": size}
    )
    return Case(
        "whole step",
        PublishedStep(published),
        (torch.cat([latents, condition], 3), timestep, states, mask, size),
        ours,
        (latents, condition, F.silu(embedded), states, mask),
    )


def block_cases(published: DreamLiteUNetModel, ours: UNet) -> Iterator[Case]:
    """One of every kind of block."""
    torch.manual_seed(2)
    cfg = MOBILE.unet
    step = torch.randn(1, cfg.time_embed_dim)
    context, bias = torch.randn(1, STATES, cfg.cross_attention_dim), torch.zeros(1, 1, STATES)
    for level, channels in enumerate(cfg.block_out_channels):
        x = torch.randn(1, channels, HEIGHT >> level, 2 * WIDTH >> level)
        down, mine = published.down_blocks[level], ours.down_blocks[level]
        yield Case(f"resnet {channels}", down.resnets[1], (x, step), mine.resnets[1], (x, F.silu(step)))
        inputs = (x, context, bias)
        yield Case(
            f"transformer {channels}", PublishedTransformer(down.attentions[0]), inputs, mine.attentions[0], inputs
        )
        if level < len(cfg.block_out_channels) - 1:
            yield Case(f"downsample {channels}", down.downsamplers[0], (x,), mine.downsamplers[0], (x,))
    for index, channels in enumerate(reversed(cfg.block_out_channels[1:])):
        level = len(cfg.block_out_channels) - 1 - index
        x = torch.randn(1, channels, HEIGHT >> level, 2 * WIDTH >> level)
        up = published.up_blocks[index].upsamplers[0], ours.up_blocks[index].upsamplers[0]
        yield Case(f"upsample {channels}", up[0], (x,), up[1], (x,))
    wide = torch.randn(1, cfg.block_out_channels[1] + cfg.block_out_channels[0], HEIGHT, 2 * WIDTH)
    last = published.up_blocks[-1].resnets[0], ours.up_blocks[-1].resnets[0]
    yield Case(
        f"resnet {wide.shape[1]} to {cfg.block_out_channels[0]}", last[0], (wide, step), last[1], (wide, F.silu(step))
    )
