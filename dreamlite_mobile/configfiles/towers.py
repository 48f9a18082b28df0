"""The Qwen3-VL towers and the image processor, which transformers saves."""

from dreamlite_mobile.config import TextConfig, VisionConfig
from dreamlite_mobile.configfiles.keys import Section

VISION_ACTIVATIONS = {name: name for name in ("gelu_pytorch_tanh", "gelu", "silu")}
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def read_text(section: Section) -> TextConfig:
    """The text tower of text_encoder/config.json (`Qwen3VLTextConfig`), rotary settings in either spelling."""
    section.fixed("model_type", "qwen3_vl", "qwen3_vl")
    section.fixed("quantization_config", None, None)
    text = section.child("text_config")
    text.fixed("model_type", "qwen3_vl_text", "qwen3_vl_text")
    text.fixed("hidden_act", "silu", "silu")
    text.fixed("attention_bias", False, False)
    text.fixed("quantization_config", None, None)
    rope, theta = _rope(text, "default", 500_000.0)
    rope.fixed("mrope_interleaved", True, True)
    sections = rope.integers("mrope_section", (24, 20, 20), least=0)
    if len(sections) != 3:
        rope.refuse("mrope_section", list(sections), "3 integers: time, height, width")
        sections = (24, 20, 20)
    heads = text.integer("num_attention_heads", 32)
    ungrouped = "num_key_value_heads" in text.values and text.values["num_key_value_heads"] is None
    return TextConfig(
        vocab_size=text.integer("vocab_size", 151936),
        hidden_size=text.integer("hidden_size", 4096),
        intermediate_size=text.integer("intermediate_size", 22016),
        num_layers=text.integer("num_hidden_layers", 32, most=512),
        num_heads=heads,
        num_kv_heads=heads if ungrouped else text.integer("num_key_value_heads", 32),
        head_dim=text.integer("head_dim", 128),
        rms_norm_eps=text.number("rms_norm_eps", 1e-6, above=0),
        rope_theta=theta,
        mrope_section=(sections[0], sections[1], sections[2]),
        image_token_id=section.integer("image_token_id", 151655, least=0),
        vision_start_token_id=section.integer("vision_start_token_id", 151652, least=0),
        vision_end_token_id=section.integer("vision_end_token_id", 151653, least=0),
    )


def read_vision(section: Section, processor: Section) -> VisionConfig:
    """The vision tower of text_encoder/config.json (`Qwen3VLVisionConfig`) and how the processor feeds it."""
    vision = section.child("vision_config").renamed(num_attention_heads="num_heads", num_hidden_layers="depth")
    vision.fixed("quantization_config", None, None)
    _, theta = _rope(vision, "axial", 10_000.0)
    mean, std = read_processor(processor, vision)
    config = VisionConfig(
        in_channels=vision.integer("in_channels", 3, least=3, most=3),
        depth=vision.integer("depth", 27, most=512),
        hidden_size=vision.integer("hidden_size", 1152),
        intermediate_size=vision.integer("intermediate_size", 4304),
        num_heads=vision.integer("num_heads", 16),
        patch_size=vision.integer("patch_size", 16, most=512),
        temporal_patch_size=vision.integer("temporal_patch_size", 2, most=64),
        spatial_merge_size=vision.integer("spatial_merge_size", 2, most=512),
        out_hidden_size=vision.integer("out_hidden_size", 3584),
        num_position_embeddings=vision.integer("num_position_embeddings", 2304),
        deepstack_layers=_deepstack(vision),
        rope_theta=theta,
        # the mapping's values are exactly the literals of the field
        hidden_act=vision.choice("hidden_act", "gelu_pytorch_tanh", VISION_ACTIVATIONS),  # type: ignore[arg-type]
        image_mean=mean,
        image_std=std,
    )
    head_dim = vision.values.get("head_dim")
    if head_dim is not None and head_dim != config.hidden_size // config.num_heads:
        vision.refuse("head_dim", head_dim, "absent, or hidden_size / num_heads")
    return config


def read_processor(
    processor: Section, vision: Section
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of the image processor (`Qwen2VLImageProcessor`); its patches must fit the tower."""
    processor = processor.renamed(min_pixels="shortest_edge", max_pixels="longest_edge")
    processor.fixed("do_rescale", True, True)
    processor.fixed("do_normalize", True, True)
    factor = processor.number("rescale_factor", 1 / 255, above=0)
    if abs(factor * 255 - 1) > 1e-6:
        processor.refuse("rescale_factor", factor, "1/255")
    for key, default, tower in (
        ("patch_size", 14, vision.values.get("patch_size", 16)),
        ("temporal_patch_size", 2, vision.values.get("temporal_patch_size", 2)),
        ("merge_size", 2, vision.values.get("spatial_merge_size", 2)),
    ):
        value = processor.integer(key, default)
        if value != tower:
            processor.refuse(key, value, f"{tower}, as in vision_config of {vision.file}")
    if processor.flag("do_resize", True):
        _check_keeps_size(processor)
    mean = processor.numbers("image_mean", CLIP_MEAN)
    std = processor.numbers("image_std", CLIP_STD, above=0)
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


def _check_keeps_size(processor: Section) -> None:
    """DreamLite shows the tower 512x512; a processor that would resize it again is not the published one."""
    size = processor.child("size")
    named = {key: processor.values[key] for key in ("shortest_edge", "longest_edge") if key in processor.values}
    bounds = Section(size.file, {**size.values, **named}, size.problems, size.path)
    pixels = VisionConfig().image_size ** 2
    bounds.integer("shortest_edge", 56 * 56, least=0, most=pixels)
    bounds.integer("longest_edge", 28 * 28 * 1280, least=pixels, most=2**40)


def _rope(tower: Section, kind: str, default_theta: float) -> tuple[Section, float]:
    """The rotary settings and their base, spelled the old way (`rope_scaling` beside `rope_theta`) or the new one."""
    # transformers gives the old spelling precedence when a file has both
    rope = tower.child("rope_scaling" if tower.values.get("rope_scaling") else "rope_parameters")
    rope.fixed("rope_type" if "rope_type" in rope.values else "type", "default", "default", kind)
    return rope, rope.number("rope_theta", tower.number("rope_theta", default_theta, above=0), above=0)


def _deepstack(vision: Section) -> tuple[int, ...]:
    if vision.values.get("deepstack_visual_indexes") == []:
        return ()
    return vision.integers("deepstack_visual_indexes", (8, 16, 24), least=0)
