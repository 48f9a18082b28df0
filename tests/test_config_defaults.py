"""What a silent configuration file means. Oracle: the signatures and classes of diffusers and transformers."""

import inspect
from typing import Any

import pytest
from diffusers import AutoencoderTiny, DreamLiteUNetModel, FlowMatchEulerDiscreteScheduler
from transformers import Qwen2VLImageProcessor
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig, Qwen3VLTextConfig, Qwen3VLVisionConfig

from dreamlite_mobile.configfiles.diffusion import UNET_FIXED, read_scheduler, read_unet, read_vae
from dreamlite_mobile.configfiles.keys import Section
from dreamlite_mobile.configfiles.towers import read_processor, read_text, read_vision

UNET, VAE, TEXT = "unet/config.json", "vae/config.json", "text_encoder/config.json"
SCHEDULER, PROCESSOR = "scheduler/scheduler_config.json", "processor/preprocessor_config.json"


class Recording(dict[str, Any]):
    """An empty configuration that remembers which keys were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return default

    def __contains__(self, key: object) -> bool:
        self.asked.add(str(key))
        return False


def defaults_of(function: Any) -> dict[str, Any]:
    return {
        name: parameter.default for name, parameter in inspect.signature(function).parameters.items() if name != "self"
    }


def test_silent_unet_file_means_the_published_class_defaults() -> None:
    upstream = defaults_of(DreamLiteUNetModel.__init__)
    found = read_unet(Section(UNET, {}))
    assert found.block_out_channels == upstream["block_out_channels"]
    assert found.num_heads == (upstream["attention_head_dim"],) * 3
    assert found.layers_per_block == (upstream["layers_per_block"],) * 3
    assert found.transformer_layers == (upstream["transformer_layers_per_block"],) * 3
    for key in [
        "in_channels",
        "out_channels",
        "num_mid_layers",
        "num_kv_heads",
        "cross_attention_dim",
        "ff_mult",
        "norm_num_groups",
        "norm_eps",
        "flip_sin_to_cos",
        "freq_shift",
    ]:
        assert getattr(found, key) == upstream[key], key


def test_silent_unet_file_is_refused_where_the_class_defaults_to_another_network() -> None:
    section = Section(UNET, {})
    read_unet(section)
    refused = {problem.split(": ")[1].split(" = ")[0] for problem in section.problems}
    assert refused == {
        "encoder_hid_dim",
        "encoder_hid_dim_type",
        "addition_embed_type",
        "addition_time_embed_dim",
        "projection_class_embeddings_input_dim",
        "use_linear_projection",
    }


def test_defaults_of_fixed_unet_keys_are_upstreams() -> None:
    upstream = defaults_of(DreamLiteUNetModel.__init__)
    assert {key: default for key, default, _ in UNET_FIXED if key in upstream} == {
        key: upstream[key] for key, _, _ in UNET_FIXED if key in upstream
    }


def test_silent_vae_file_means_the_published_class_defaults() -> None:
    section = Section(VAE, {})
    found, upstream = read_vae(section), defaults_of(AutoencoderTiny.__init__)
    assert not section.problems
    assert (found.encoder_channels,) * 4 == upstream["encoder_block_out_channels"]
    assert (found.decoder_channels,) * 4 == upstream["decoder_block_out_channels"]
    for key in ["in_channels", "out_channels", "latent_channels", "num_encoder_blocks", "num_decoder_blocks", "act_fn"]:
        assert getattr(found, key) == upstream[key], key
    assert (found.scaling_factor, found.shift_factor) == (upstream["scaling_factor"], upstream["shift_factor"])


def test_silent_scheduler_file_means_the_published_class_defaults() -> None:
    section = Section(SCHEDULER, {})
    found, upstream = read_scheduler(section), FlowMatchEulerDiscreteScheduler.from_config({}).config
    assert not section.problems
    assert {key: upstream[key] for key in found.__slots__} == {key: getattr(found, key) for key in found.__slots__}


def test_silent_text_tower_means_the_published_class_defaults() -> None:
    section = Section(TEXT, {})
    found, upstream, whole = read_text(section), Qwen3VLTextConfig(), Qwen3VLConfig()
    assert not section.problems
    assert (found.num_layers, found.num_heads) == (upstream.num_hidden_layers, upstream.num_attention_heads)
    assert (found.num_kv_heads, found.rope_theta) == (
        upstream.num_key_value_heads,
        upstream.rope_parameters["rope_theta"],
    )
    for key in ["vocab_size", "hidden_size", "intermediate_size", "head_dim", "rms_norm_eps"]:
        assert getattr(found, key) == getattr(upstream, key), key
    for key in ["image_token_id", "vision_start_token_id", "vision_end_token_id"]:
        assert getattr(found, key) == getattr(whole, key), key


def test_silent_vision_tower_means_the_published_class_defaults() -> None:
    found, upstream = read_vision(Section(TEXT, {}), Section(PROCESSOR, {})), Qwen3VLVisionConfig()
    assert found.deepstack_layers == upstream.deepstack_visual_indexes
    assert found.rope_theta == upstream.rope_parameters["rope_theta"]
    for key in [
        "in_channels",
        "depth",
        "hidden_size",
        "intermediate_size",
        "num_heads",
        "patch_size",
        "temporal_patch_size",
        "spatial_merge_size",
        "out_hidden_size",
        "num_position_embeddings",
        "hidden_act",
    ]:
        assert getattr(found, key) == getattr(upstream, key), key


def test_silent_image_processor_means_the_published_class_defaults() -> None:
    upstream = Qwen2VLImageProcessor()
    mean, std = read_processor(Section(PROCESSOR, {"patch_size": 16}), Section(TEXT, {}))
    assert (list(mean), list(std)) == (list(upstream.image_mean), list(upstream.image_std))
    refused = Section(PROCESSOR, {})
    read_processor(refused, Section(TEXT, {}))
    assert f"patch_size = {upstream.patch_size}" in refused.problems[0]


@pytest.mark.parametrize(
    ("read", "upstream", "ignored"),
    [
        (
            read_unet,
            DreamLiteUNetModel.__init__,
            "sample_size dropout upcast_attention resnet_skip_time_act resnet_out_scale_factor cross_attention_norm"
            " mid_block_only_cross_attention addition_embed_type_num_heads",
        ),
        (read_vae, AutoencoderTiny.__init__, "latent_magnitude latent_shift force_upcast"),
        (read_scheduler, FlowMatchEulerDiscreteScheduler.__init__, ""),
    ],
    ids=["unet", "vae", "scheduler"],
)
def test_every_upstream_parameter_is_read_or_ignored_on_purpose(read: Any, upstream: Any, ignored: str) -> None:
    recording = Recording()
    read(Section("file", recording))
    assert defaults_of(upstream).keys() - recording.asked == set(ignored.split())


def test_missing_key_value_heads_mean_ungrouped_attention() -> None:
    heads = read_text(Section(TEXT, {"text_config": {"num_attention_heads": 6, "num_key_value_heads": None}}))
    assert heads.num_kv_heads == Qwen3VLTextConfig(num_attention_heads=6, num_key_value_heads=None).num_key_value_heads
