"""The published classes (diffusers, transformers) built from our configurations with seeded weights: the oracle."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import TypeVar

import torch
from diffusers import AutoencoderTiny, DreamLiteUNetModel
from torch import nn
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from dreamlite_mobile.config import MOBILE, TINY, DreamLiteConfig, TextConfig, UNetConfig, VaeConfig, VisionConfig

M = TypeVar("M", bound=nn.Module)

BLOCK_NAMES = {"full": "DreamLiteCrossAttn", "cross": "DreamLiteCrossAttnNoSelfAttn", "plain": "DreamLite"}

ODD = DreamLiteConfig(
    unet=replace(
        TINY.unet,
        num_heads=(4, 2, 8),
        num_kv_heads=2,
        layers_per_block=(2, 1, 2),
        transformer_layers=(2, 1, 1),
        num_mid_layers=2,
        ff_mult=2,
        down_kinds=("plain", "cross", "full"),
        up_kinds=("full", "full", "cross"),
    ),
    text=replace(
        TINY.text, num_layers=3, num_heads=6, num_kv_heads=3, head_dim=16, mrope_section=(4, 2, 2), rope_theta=1e4
    ),
    vision=replace(
        TINY.vision,
        depth=4,
        num_heads=2,
        patch_size=16,
        hidden_act="gelu",
        num_position_embeddings=25,
        deepstack_layers=(1, 2),
    ),
    vae=replace(TINY.vae, act_fn="silu", num_encoder_blocks=(2, 1, 2, 1), num_decoder_blocks=(1, 2, 1, 2)),
)
"""Unlike TINY wherever the classes allow it: head counts, layers, block kinds, positions, activations."""


WIDE = replace(
    MOBILE,
    text=replace(
        MOBILE.text,
        num_layers=2,
        vocab_size=1024,
        image_token_id=1020,
        vision_start_token_id=1017,
        vision_end_token_id=1018,
    ),
    vision=replace(MOBILE.vision, depth=2, deepstack_layers=(0,)),
)
"""The published widths, with few layers (use its U-Net block by block)."""


def published_unet(cfg: UNetConfig, seed: int = 0) -> DreamLiteUNetModel:
    torch.manual_seed(seed)
    unet = DreamLiteUNetModel(
        in_channels=cfg.in_channels,
        out_channels=cfg.out_channels,
        block_out_channels=cfg.block_out_channels,
        down_block_types=tuple(BLOCK_NAMES[kind] + "DownBlock2D" for kind in cfg.down_kinds),
        up_block_types=tuple(BLOCK_NAMES[kind] + "UpBlock2D" for kind in cfg.up_kinds),
        layers_per_block=cfg.layers_per_block,
        attention_head_dim=cfg.num_heads,
        transformer_layers_per_block=cfg.transformer_layers,
        num_mid_layers=cfg.num_mid_layers,
        num_kv_heads=cfg.num_kv_heads,
        cross_attention_dim=cfg.cross_attention_dim,
        encoder_hid_dim=cfg.encoder_hid_dim,
        encoder_hid_dim_type="text_proj_rms",
        ff_mult=cfg.ff_mult,
        norm_num_groups=cfg.norm_num_groups,
        norm_eps=cfg.norm_eps,
        use_linear_projection=True,
        addition_embed_type="time",
        addition_time_embed_dim=cfg.addition_time_embed_dim,
        projection_class_embeddings_input_dim=cfg.projection_class_embeddings_input_dim,
    )
    return lively(unet)


def published_qwen(text: TextConfig, vision: VisionConfig, seed: int = 0) -> Qwen3VLForConditionalGeneration:
    """Made once for several tests: do not change its weights. What is drawn after it is the same every time."""
    model = seeded_qwen(text, vision, seed)
    torch.manual_seed(seed)
    return model


@lru_cache(maxsize=2)
def seeded_qwen(text: TextConfig, vision: VisionConfig, seed: int) -> Qwen3VLForConditionalGeneration:
    torch.manual_seed(seed)
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": text.vocab_size,
            "hidden_size": text.hidden_size,
            "intermediate_size": text.intermediate_size,
            "num_hidden_layers": text.num_layers,
            "num_attention_heads": text.num_heads,
            "num_key_value_heads": text.num_kv_heads,
            "head_dim": text.head_dim,
            "rms_norm_eps": text.rms_norm_eps,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": text.rope_theta,
                "mrope_section": list(text.mrope_section),
                "mrope_interleaved": True,
            },
        },
        vision_config={
            "depth": vision.depth,
            "hidden_size": vision.hidden_size,
            "hidden_act": vision.hidden_act,
            "intermediate_size": vision.intermediate_size,
            "num_heads": vision.num_heads,
            "patch_size": vision.patch_size,
            "temporal_patch_size": vision.temporal_patch_size,
            "spatial_merge_size": vision.spatial_merge_size,
            "out_hidden_size": vision.out_hidden_size,
            "num_position_embeddings": vision.num_position_embeddings,
            "deepstack_visual_indexes": list(vision.deepstack_layers),
        },
        image_token_id=text.image_token_id,
        vision_start_token_id=text.vision_start_token_id,
        vision_end_token_id=text.vision_end_token_id,
        video_token_id=0,
    )
    return lively(Qwen3VLForConditionalGeneration(config), spread=2.0)


def published_vae(cfg: VaeConfig, seed: int = 0) -> AutoencoderTiny:
    torch.manual_seed(seed)
    stages = len(cfg.num_encoder_blocks)
    return lively(
        AutoencoderTiny(
            encoder_block_out_channels=(cfg.encoder_channels,) * stages,
            decoder_block_out_channels=(cfg.decoder_channels,) * stages,
            num_encoder_blocks=cfg.num_encoder_blocks,
            num_decoder_blocks=cfg.num_decoder_blocks,
            act_fn=cfg.act_fn,
            latent_channels=cfg.latent_channels,
            scaling_factor=cfg.scaling_factor,
            shift_factor=cfg.shift_factor,
        )
    )


def lively(model: M, spread: float = 1.0) -> M:
    """Evaluation mode, with norms and biases moved off their ones and zeros so that a lost one shows."""
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data.add_(torch.randn_like(parameter) * 0.1)
        elif not parameter.is_meta and parameter.std() < 0.05:
            parameter.data.mul_(spread)
    return model.eval().requires_grad_(False)


@contextmanager
def last_decoder_layer(qwen: Qwen3VLForConditionalGeneration) -> Iterator[list[torch.Tensor]]:
    """Collects the states before the final norm; transformers 5 returns them after it (design.md, trap 3)."""
    states: list[torch.Tensor] = []
    hook = qwen.model.language_model.layers[-1].register_forward_hook(
        lambda _module, _inputs, output: states.append(output)
    )
    try:
        yield states
    finally:
        hook.remove()


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """L2 norm of the difference over that of the expectation."""
    assert found.shape == expected.shape, (found.shape, expected.shape)
    return float((found - expected).norm() / expected.norm())
