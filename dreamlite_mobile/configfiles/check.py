"""What must agree between the parts of a configuration, and inside each, for its networks to exist."""

from collections.abc import Iterator
from itertools import pairwise

from dreamlite_mobile.config import DreamLiteConfig, SchedulerConfig, UNetConfig

MAX_SHIFT = 3.0
"""Of an exponent; published is 0.5 to 1.15. Twice this, extrapolated, still leaves 50 steps apart in float32."""
MAX_FACTOR = 100.0


def inconsistencies(config: DreamLiteConfig) -> list[str]:
    """Every contradiction in `config`, one line each; empty for a configuration that can be built."""
    return [
        *_between_parts(config),
        *_scheduler(config.scheduler),
        *_unet_levels(config.unet),
        *(_unet_widths(config.unet) if not list(_unet_levels(config.unet)) else ()),
        *_text(config),
        *_vision(config),
    ]


def _between_parts(config: DreamLiteConfig) -> Iterator[str]:
    unet, text, vision, vae = config.unet, config.text, config.vision, config.vae
    if text.hidden_size != unet.encoder_hid_dim:
        yield (
            f"text_encoder hidden_size = {text.hidden_size} but unet encoder_hid_dim = {unet.encoder_hid_dim}; "
            "supported: equal"
        )
    if vision.out_hidden_size != text.hidden_size:
        yield (
            f"vision_config out_hidden_size = {vision.out_hidden_size} but text_config hidden_size = "
            f"{text.hidden_size}; supported: equal"
        )
    if not unet.in_channels == unet.out_channels == vae.latent_channels:
        yield (
            f"unet in_channels = {unet.in_channels}, out_channels = {unet.out_channels}, vae latent_channels = "
            f"{vae.latent_channels}; supported: all equal"
        )
    if len(vae.num_encoder_blocks) != len(vae.num_decoder_blocks):
        yield (
            f"vae num_encoder_blocks has {len(vae.num_encoder_blocks)} stages, num_decoder_blocks "
            f"{len(vae.num_decoder_blocks)}; supported: as many"
        )


def _scheduler(scheduler: SchedulerConfig) -> Iterator[str]:
    """Shifts whose exponential leaves the noise levels apart from each other and from 0 and 1."""
    if scheduler.base_image_seq_len >= scheduler.max_image_seq_len:
        yield (
            f"scheduler base_image_seq_len = {scheduler.base_image_seq_len}; supported: below max_image_seq_len "
            f"{scheduler.max_image_seq_len}"
        )
    for key, value, low, high in (
        ("base_shift", scheduler.base_shift, -MAX_SHIFT, MAX_SHIFT),
        ("max_shift", scheduler.max_shift, -MAX_SHIFT, MAX_SHIFT),
        ("shift", scheduler.shift, 1 / MAX_FACTOR, MAX_FACTOR),
    ):
        if not low <= value <= high:
            yield f"scheduler {key} = {value:g}; supported: {low:g} to {high:g}"


def _unet_levels(unet: UNetConfig) -> Iterator[str]:
    levels = len(unet.block_out_channels)
    for key, values in (
        ("down_block_types", unet.down_kinds),
        ("up_block_types", unet.up_kinds),
        ("layers_per_block", unet.layers_per_block),
        ("attention_head_dim", unet.num_heads),
        ("transformer_layers_per_block", unet.transformer_layers),
    ):
        if len(values) != levels:
            yield f"unet {key} has {len(values)} entries; supported: {levels}, as block_out_channels"
    if unet.projection_class_embeddings_input_dim != 2 * unet.addition_time_embed_dim:
        yield (
            f"unet projection_class_embeddings_input_dim = {unet.projection_class_embeddings_input_dim}; supported: "
            f"{2 * unet.addition_time_embed_dim} (2 x addition_time_embed_dim: width and height)"
        )
    for key, width in (
        ("addition_time_embed_dim", unet.addition_time_embed_dim),
        ("block_out_channels[0]", unet.block_out_channels[0]),
    ):
        if width % 2 or width // 2 <= unet.freq_shift:
            yield f"unet {key} = {width}; supported: an even number above twice freq_shift ({unet.freq_shift:g})"


def _unet_widths(unet: UNetConfig) -> Iterator[str]:
    """Heads divide channels, key/value heads divide heads, norm groups divide every level."""
    attention = {level for level, kind in enumerate(unet.down_kinds) if kind != "plain"}
    attention |= {level for level, kind in enumerate(reversed(unet.up_kinds)) if kind != "plain"}
    attention.add(len(unet.block_out_channels) - 1)
    for level in sorted(attention):
        channels, heads = unet.block_out_channels[level], unet.num_heads[level]
        if channels % heads:
            yield f"unet attention_head_dim[{level}] = {heads}; supported: a divisor of the level's {channels} channels"
        if heads % unet.num_kv_heads:
            yield f"unet num_kv_heads = {unet.num_kv_heads}; supported: a divisor of the {heads} heads of level {level}"
    for width in sorted(set(unet.block_out_channels)):
        # what divides every level's width divides the doubled and concatenated ones as well
        if width % unet.norm_num_groups:
            yield f"unet norm_num_groups = {unet.norm_num_groups}; supported: a divisor of each level's width ({width})"


def _text(config: DreamLiteConfig) -> Iterator[str]:
    text = config.text
    if text.num_heads % text.num_kv_heads:
        yield f"text_config num_key_value_heads = {text.num_kv_heads}; supported: a divisor of {text.num_heads} heads"
    if text.head_dim % 2:
        yield f"text_config head_dim = {text.head_dim}; supported: an even number"
    if sum(text.mrope_section) != text.head_dim // 2:
        yield (
            f"text_config mrope_section = {list(text.mrope_section)}; supported: three parts of {text.head_dim // 2} "
            "(head_dim / 2)"
        )
    tokens = {
        "image_token_id": text.image_token_id,
        "vision_start_token_id": text.vision_start_token_id,
        "vision_end_token_id": text.vision_end_token_id,
    }
    for key, token in tokens.items():
        if token >= text.vocab_size or list(tokens.values()).count(token) > 1:
            yield f"text_encoder {key} = {token}; supported: an id of its own below vocab_size {text.vocab_size}"


def _vision(config: DreamLiteConfig) -> Iterator[str]:
    vision = config.vision
    if vision.hidden_size % vision.num_heads or (vision.hidden_size // vision.num_heads) % 4:
        yield (
            f"vision_config num_heads = {vision.num_heads}; supported: hidden_size {vision.hidden_size} in heads of a "
            "multiple of 4"
        )
    square = vision.patch_size * vision.spatial_merge_size
    if vision.image_size % square:
        yield (
            f"vision_config patch_size x spatial_merge_size = {square}; supported: a divisor of the "
            f"{vision.image_size}-pixel picture"
        )
    if round(vision.num_position_embeddings**0.5) ** 2 != vision.num_position_embeddings:
        yield f"vision_config num_position_embeddings = {vision.num_position_embeddings}; supported: a square number"
    layers = vision.deepstack_layers
    ordered = all(first < second for first, second in pairwise(layers))
    if not ordered or any(layer >= vision.depth for layer in layers) or len(layers) > config.text.num_layers:
        yield (
            f"vision_config deepstack_visual_indexes = {list(layers)}; supported: rising layer numbers below depth "
            f"{vision.depth}, at most as many as the text tower's {config.text.num_layers} layers"
        )
