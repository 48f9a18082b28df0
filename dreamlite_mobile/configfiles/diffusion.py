"""The parts that diffusers saves: U-Net, tiny autoencoder and scheduler."""

from typing import cast

from dreamlite_mobile.config import BlockKind, SchedulerConfig, UNetConfig, VaeConfig
from dreamlite_mobile.configfiles.keys import Json, Section

DOWN_BLOCKS = {
    "DreamLiteCrossAttnDownBlock2D": "full",
    "CrossAttnDownBlock2D": "full",
    "DreamLiteCrossAttnNoSelfAttnDownBlock2D": "cross",
    "CrossAttnDownRemoveSelfAttnBlock2D": "cross",
    "DreamLiteDownBlock2D": "plain",
    "DownBlock2D": "plain",
}
MID_BLOCKS = {"DreamLiteUNetMidBlock2DCrossAttn": "full", "UNetMidBlock2DCrossAttn": "full"}
UP_BLOCKS = {
    "DreamLiteCrossAttnUpBlock2D": "full",
    "CrossAttnUpBlock2D": "full",
    "DreamLiteCrossAttnNoSelfAttnUpBlock2D": "cross",
    "CrossAttnUpRemoveSelfAttnBlock2D": "cross",
    "CrossAttnUpRemoveSelfAttnBlock2DV1": "cross",
    "DreamLiteUpBlock2D": "plain",
    "UpBlock2D": "plain",
}
"""Block names and aliases of diffusers' `unet_dreamlite.py` -> our kinds."""

VAE_ACTIVATIONS = {"relu": "relu", "silu": "silu", "swish": "silu", "gelu": "gelu", "mish": "mish"}


def read_unet(section: Section) -> UNetConfig:
    """unet/config.json of `DreamLiteUNetModel`; upstream's `attention_head_dim` is the number of heads."""
    for key, default, supported in UNET_FIXED:
        section.fixed(key, default, *supported)
    down = _kinds(section, "down_block_types", DOWN_BLOCKS, ("cross", "cross", "full"))
    up = _kinds(section, "up_block_types", UP_BLOCKS, ("full", "cross", "plain"))
    section.choice("mid_block_type", "DreamLiteUNetMidBlock2DCrossAttn", MID_BLOCKS)
    levels = len(down)
    only_cross = section.values.get("only_cross_attention", False)
    if only_cross is not False and only_cross != [False] * levels:
        section.refuse("only_cross_attention", only_cross, "false")
    channels = section.integers("block_out_channels", (320, 640, 1280))
    time_width = section.values.get("time_embedding_dim")
    if time_width is not None and time_width != 4 * channels[0]:
        section.refuse("time_embedding_dim", time_width, f"null | {4 * channels[0]} (4 x block_out_channels[0])")
    return UNetConfig(
        in_channels=section.integer("in_channels", 4),
        out_channels=section.integer("out_channels", 4),
        block_out_channels=channels,
        down_kinds=down,
        up_kinds=up,
        layers_per_block=section.integers("layers_per_block", 2, most=64, length=levels),
        num_heads=section.integers("attention_head_dim", 64, length=levels),
        transformer_layers=section.integers("transformer_layers_per_block", 1, most=64, length=levels),
        num_mid_layers=section.integer("num_mid_layers", 1, most=64),
        num_kv_heads=section.integer("num_kv_heads", 1),
        cross_attention_dim=section.integer("cross_attention_dim", 2048),
        encoder_hid_dim=section.integer("encoder_hid_dim", None),
        ff_mult=section.integer("ff_mult", 6, most=64),
        norm_num_groups=section.integer("norm_num_groups", 32),
        norm_eps=section.number("norm_eps", 1e-5, above=0),
        addition_time_embed_dim=section.integer("addition_time_embed_dim", None),
        projection_class_embeddings_input_dim=section.integer("projection_class_embeddings_input_dim", None),
        flip_sin_to_cos=section.flag("flip_sin_to_cos", True),
        freq_shift=section.number("freq_shift", 0),
    )


UNET_FIXED: tuple[tuple[str, Json, tuple[Json, ...]], ...] = (
    ("center_input_sample", False, (False,)),
    ("downsample_padding", 1, (1,)),
    ("mid_block_scale_factor", 1, (1, 1.0)),
    ("act_fn", "silu", ("silu", "swish")),
    ("reverse_transformer_layers_per_block", None, (None,)),
    ("encoder_hid_dim_type", None, ("text_proj_rms",)),
    ("num_attention_heads", None, (None,)),
    ("dual_cross_attention", False, (False,)),
    ("use_linear_projection", False, (True,)),
    ("class_embed_type", None, (None,)),
    ("num_class_embeds", None, (None,)),
    ("class_embeddings_concat", False, (False,)),
    ("addition_embed_type", None, ("time",)),
    ("resnet_time_scale_shift", "default", ("default",)),
    ("time_embedding_type", "positional", ("positional",)),
    ("time_embedding_act_fn", None, (None,)),
    ("timestep_post_act", None, (None,)),
    ("time_cond_proj_dim", None, (None,)),
    ("conv_in_kernel", 3, (3,)),
    ("conv_out_kernel", 3, (3,)),
    ("attention_type", "default", ("default",)),
    ("_class_name", "DreamLiteUNetModel", ("DreamLiteUNetModel",)),
    ("qk_norm", "rms_norm", ("rms_norm",)),
    ("use_sep_conv", True, (True,)),
    ("quantization_config", None, (None,)),
)
"""Key, upstream default, values whose arithmetic `networks/unet.py` writes."""


def read_vae(section: Section) -> VaeConfig:
    """vae/config.json of `AutoencoderTiny`; `latent_magnitude`, `latent_shift` and `force_upcast` never reach it."""
    section.fixed("_class_name", "AutoencoderTiny", "AutoencoderTiny")
    section.fixed("upsample_fn", "nearest", "nearest")
    section.fixed("upsampling_scaling_factor", 2, 2)
    section.fixed("quantization_config", None, None)
    encoder_blocks = section.integers("num_encoder_blocks", (1, 3, 3, 3), least=0, most=64)
    decoder_blocks = section.integers("num_decoder_blocks", (3, 3, 3, 1), least=0, most=64)
    act = section.choice("act_fn", "relu", VAE_ACTIVATIONS)
    shift = 0.0 if section.values.get("shift_factor", 0.0) is None else section.number("shift_factor", 0.0)
    return VaeConfig(
        in_channels=section.integer("in_channels", 3, least=3, most=3),
        out_channels=section.integer("out_channels", 3, least=3, most=3),
        latent_channels=section.integer("latent_channels", 4),
        encoder_channels=_one_width(section, "encoder_block_out_channels", len(encoder_blocks)),
        decoder_channels=_one_width(section, "decoder_block_out_channels", len(decoder_blocks)),
        num_encoder_blocks=encoder_blocks,
        num_decoder_blocks=decoder_blocks,
        act_fn=act,  # type: ignore[arg-type]  # the mapping's values are exactly the literals of the field
        scaling_factor=section.number("scaling_factor", 1.0, above=0),
        shift_factor=shift,
    )


def read_scheduler(section: Section) -> SchedulerConfig:
    """scheduler/scheduler_config.json of `FlowMatchEulerDiscreteScheduler`.

    A silent file means the class's defaults (max_shift 1.15): the 1.16 in the pipeline's call is a fallback that a
    scheduler, which always carries its own value, never leaves to it.
    """
    section.fixed("_class_name", "FlowMatchEulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler")
    section.fixed("shift_terminal", None, None, 0, 0.0)
    section.fixed("time_shift_type", "exponential", "exponential")
    for key in ("invert_sigmas", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"):
        section.fixed(key, False, False)
    section.fixed("stochastic_sampling", False, False)
    return SchedulerConfig(
        num_train_timesteps=section.integer("num_train_timesteps", 1000),
        base_image_seq_len=section.integer("base_image_seq_len", 256),
        max_image_seq_len=section.integer("max_image_seq_len", 4096),
        base_shift=section.number("base_shift", 0.5),
        max_shift=section.number("max_shift", 1.15),
        shift=section.number("shift", 1.0, above=0),
        use_dynamic_shifting=section.flag("use_dynamic_shifting", False),
    )


def _kinds(section: Section, key: str, known: dict[str, str], default: tuple[BlockKind, ...]) -> tuple[BlockKind, ...]:
    names = section.values.get(key)
    if names is None:
        return default
    if not isinstance(names, list) or not 0 < len(names) <= 8:
        section.refuse(key, names, f"a list of 1 to 8 of {' | '.join(known)}")
        return default
    entries = Section(section.file, dict(zip(map(str, range(len(names))), names, strict=True)), section.problems)
    entries.path = f"{section.path}{key}."
    return tuple(cast("BlockKind", entries.choice(str(i), next(iter(known)), known)) for i in range(len(names)))


def _one_width(section: Section, key: str, stages: int) -> int:
    """The channels of an autoencoder half, which must be equal in all its stages."""
    widths = section.integers(key, (64, 64, 64, 64))
    if len(set(widths)) > 1 or len(widths) != stages:
        section.refuse(key, list(widths), f"{stages} equal widths, one for each stage")
    return widths[0]
