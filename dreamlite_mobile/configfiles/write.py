"""Writing the configuration files of a checkpoint: a folder that diffusers and transformers load themselves."""

import json
from pathlib import Path
from typing import Any

from dreamlite_mobile.config import (
    BlockKind,
    DreamLiteConfig,
    SchedulerConfig,
    TextConfig,
    UNetConfig,
    VaeConfig,
    VisionConfig,
)

DIFFUSERS_VERSION = "0.42.1"
TRANSFORMERS_VERSION = "5.23.0"
"""The releases whose classes these files describe."""

DOWN_NAMES: dict[BlockKind, str] = {
    "full": "DreamLiteCrossAttnDownBlock2D",
    "cross": "DreamLiteCrossAttnNoSelfAttnDownBlock2D",
    "plain": "DreamLiteDownBlock2D",
}
UP_NAMES: dict[BlockKind, str] = {
    "full": "DreamLiteCrossAttnUpBlock2D",
    "cross": "DreamLiteCrossAttnNoSelfAttnUpBlock2D",
    "plain": "DreamLiteUpBlock2D",
}


def write_config_files(config: DreamLiteConfig, folder: Path, dtype: str = "float16") -> None:
    """Write every configuration file of a checkpoint (not the tokenizer's) into the existing `folder`.

    Args:
        dtype: the dtype of the weights beside them, as `text_encoder/config.json` states it.

    Raises:
        OSError: the folder cannot be written.
    """
    files: dict[str, dict[str, Any]] = {
        "model_index.json": _model_index(),
        "unet/config.json": _unet(config.unet),
        "vae/config.json": _vae(config.vae),
        "text_encoder/config.json": _text_encoder(config.text, config.vision, dtype),
        "scheduler/scheduler_config.json": _scheduler(config.scheduler),
        "processor/preprocessor_config.json": _image_processor(config.vision),
        "processor/video_preprocessor_config.json": _video_processor(config.vision),
    }
    for name, values in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _model_index() -> dict[str, Any]:
    return {
        "_class_name": "DreamLiteMobilePipeline",
        "_diffusers_version": DIFFUSERS_VERSION,
        "processor": ["transformers", "Qwen3VLProcessor"],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "Qwen3VLForConditionalGeneration"],
        "tokenizer": ["transformers", "Qwen2TokenizerFast"],
        "unet": ["diffusers", "DreamLiteUNetModel"],
        "vae": ["diffusers", "AutoencoderTiny"],
    }


def _unet(unet: UNetConfig) -> dict[str, Any]:
    return {
        "_class_name": "DreamLiteUNetModel",
        "_diffusers_version": DIFFUSERS_VERSION,
        "act_fn": "silu",
        "addition_embed_type": "time",
        "addition_time_embed_dim": unet.addition_time_embed_dim,
        "attention_head_dim": unet.num_heads,
        "block_out_channels": unet.block_out_channels,
        "cross_attention_dim": unet.cross_attention_dim,
        "down_block_types": [DOWN_NAMES[kind] for kind in unet.down_kinds],
        "encoder_hid_dim": unet.encoder_hid_dim,
        "encoder_hid_dim_type": "text_proj_rms",
        "ff_mult": unet.ff_mult,
        "flip_sin_to_cos": unet.flip_sin_to_cos,
        "freq_shift": int(unet.freq_shift) if unet.freq_shift == int(unet.freq_shift) else unet.freq_shift,
        "in_channels": unet.in_channels,
        "layers_per_block": unet.layers_per_block,
        "mid_block_type": "DreamLiteUNetMidBlock2DCrossAttn",
        "norm_eps": unet.norm_eps,
        "norm_num_groups": unet.norm_num_groups,
        "num_kv_heads": unet.num_kv_heads,
        "num_mid_layers": unet.num_mid_layers,
        "out_channels": unet.out_channels,
        "projection_class_embeddings_input_dim": unet.projection_class_embeddings_input_dim,
        "qk_norm": "rms_norm",
        "transformer_layers_per_block": unet.transformer_layers,
        "up_block_types": [UP_NAMES[kind] for kind in unet.up_kinds],
        "use_linear_projection": True,
        "use_sep_conv": True,
    }


def _vae(vae: VaeConfig) -> dict[str, Any]:
    return {
        "_class_name": "AutoencoderTiny",
        "_diffusers_version": DIFFUSERS_VERSION,
        "act_fn": vae.act_fn,
        "decoder_block_out_channels": [vae.decoder_channels] * len(vae.num_decoder_blocks),
        "encoder_block_out_channels": [vae.encoder_channels] * len(vae.num_encoder_blocks),
        "in_channels": vae.in_channels,
        "latent_channels": vae.latent_channels,
        "num_decoder_blocks": vae.num_decoder_blocks,
        "num_encoder_blocks": vae.num_encoder_blocks,
        "out_channels": vae.out_channels,
        "scaling_factor": vae.scaling_factor,
        "shift_factor": vae.shift_factor,
        "upsample_fn": "nearest",
        "upsampling_scaling_factor": 2,
    }


def _text_encoder(text: TextConfig, vision: VisionConfig, dtype: str) -> dict[str, Any]:
    return {
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "dtype": dtype,
        "image_token_id": text.image_token_id,
        "model_type": "qwen3_vl",
        "text_config": _text_tower(text),
        "tie_word_embeddings": True,
        "transformers_version": TRANSFORMERS_VERSION,
        # Qwen places <|video_pad|> right after <|image_pad|>
        "video_token_id": text.image_token_id + 1,
        "vision_config": _vision_tower(vision),
        "vision_end_token_id": text.vision_end_token_id,
        "vision_start_token_id": text.vision_start_token_id,
    }


def _text_tower(text: TextConfig) -> dict[str, Any]:
    return {
        "attention_bias": False,
        "attention_dropout": 0.0,
        "head_dim": text.head_dim,
        "hidden_act": "silu",
        "hidden_size": text.hidden_size,
        "intermediate_size": text.intermediate_size,
        "max_position_embeddings": 262144,
        "model_type": "qwen3_vl_text",
        "num_attention_heads": text.num_heads,
        "num_hidden_layers": text.num_layers,
        "num_key_value_heads": text.num_kv_heads,
        "rms_norm_eps": text.rms_norm_eps,
        # the spelling that transformers 4.57 and 5 both read
        "rope_scaling": {
            "mrope_interleaved": True,
            "mrope_section": text.mrope_section,
            "rope_type": "default",
        },
        "rope_theta": text.rope_theta,
        "tie_word_embeddings": True,
        "vocab_size": text.vocab_size,
    }


def _vision_tower(vision: VisionConfig) -> dict[str, Any]:
    tower: dict[str, Any] = {
        "deepstack_visual_indexes": vision.deepstack_layers,
        "depth": vision.depth,
        "hidden_act": vision.hidden_act,
        "hidden_size": vision.hidden_size,
        "in_channels": vision.in_channels,
        "intermediate_size": vision.intermediate_size,
        "model_type": "qwen3_vl_vision",
        "num_heads": vision.num_heads,
        "num_position_embeddings": vision.num_position_embeddings,
        "out_hidden_size": vision.out_hidden_size,
        "patch_size": vision.patch_size,
        "spatial_merge_size": vision.spatial_merge_size,
        "temporal_patch_size": vision.temporal_patch_size,
    }
    if vision.rope_theta != VisionConfig().rope_theta:
        tower["rope_parameters"] = {"rope_theta": vision.rope_theta, "rope_type": "axial"}
    return tower


def _scheduler(scheduler: SchedulerConfig) -> dict[str, Any]:
    return {
        "_class_name": "FlowMatchEulerDiscreteScheduler",
        "_diffusers_version": DIFFUSERS_VERSION,
        "base_image_seq_len": scheduler.base_image_seq_len,
        "base_shift": scheduler.base_shift,
        "max_image_seq_len": scheduler.max_image_seq_len,
        "max_shift": scheduler.max_shift,
        "num_train_timesteps": scheduler.num_train_timesteps,
        "shift": scheduler.shift,
        "shift_terminal": None,
        "time_shift_type": "exponential",
        "use_dynamic_shifting": scheduler.use_dynamic_shifting,
    }


def _pixels(vision: VisionConfig) -> dict[str, Any]:
    """What the picture and the video processor have in common."""
    return {
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": vision.image_mean,
        "image_std": vision.image_std,
        "merge_size": vision.spatial_merge_size,
        "patch_size": vision.patch_size,
        "resample": 3,
        "rescale_factor": 1 / 255,
        "temporal_patch_size": vision.temporal_patch_size,
    }


def _image_processor(vision: VisionConfig) -> dict[str, Any]:
    return {
        **_pixels(vision),
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "processor_class": "Qwen3VLProcessor",
        "size": {"longest_edge": 16777216, "shortest_edge": 65536},
    }


def _video_processor(vision: VisionConfig) -> dict[str, Any]:
    return {
        **_pixels(vision),
        "processor_class": "Qwen3VLProcessor",
        "size": {"longest_edge": 25165824, "shortest_edge": 4096},
        "video_processor_type": "Qwen3VLVideoProcessor",
    }
