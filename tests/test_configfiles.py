"""Configuration files, read and written. Oracle: diffusers and transformers build from what is written."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_files import change_json, config_folder
from diffusers import AutoencoderTiny, DreamLiteUNetModel
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import ODD, published_unet
from transformers import AutoConfig, Qwen3VLForConditionalGeneration

from dreamlite_mobile.config import EMBEDDED, MOBILE, TINY, DreamLiteConfig
from dreamlite_mobile.configfiles import inconsistencies, read_config
from dreamlite_mobile.errors import ConfigError
from dreamlite_mobile.networks import expected_tensors

CONFIGS = {"mobile": MOBILE, "tiny": TINY, "embedded": EMBEDDED, "odd": ODD}
UNET, VAE, TEXT = "unet/config.json", "vae/config.json", "text_encoder/config.json"
SCHEDULER, PROCESSOR = "scheduler/scheduler_config.json", "processor/preprocessor_config.json"
FILES = ("model_index.json", UNET, VAE, TEXT, SCHEDULER, PROCESSOR)


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_written_is_read_back(name: str, tmp_path: Path) -> None:
    assert read_config(config_folder(tmp_path, CONFIGS[name])) == CONFIGS[name]


@pytest.mark.parametrize("name", CONFIGS)
def test_published_classes_build_the_expected_tensors_from_written_files(name: str, tmp_path: Path) -> None:
    folder = config_folder(tmp_path, CONFIGS[name])
    with torch.device("meta"):
        published = {
            "unet": DreamLiteUNetModel.from_config(DreamLiteUNetModel.load_config(folder / "unet")),
            "vae": AutoencoderTiny.from_config(AutoencoderTiny.load_config(folder / "vae")),
            "text_encoder": Qwen3VLForConditionalGeneration(AutoConfig.from_pretrained(folder / "text_encoder")),
        }
    for subfolder, expected in expected_tensors(CONFIGS[name]).items():
        shapes = {key: tuple(tensor.shape) for key, tensor in published[subfolder].state_dict().items()}
        shapes.pop("lm_head.weight", None)
        assert shapes == expected


def test_rotary_settings_reach_the_published_towers(tmp_path: Path) -> None:
    config = replace(ODD, vision=replace(ODD.vision, rope_theta=777.0))
    loaded = AutoConfig.from_pretrained(config_folder(tmp_path, config) / "text_encoder")
    assert loaded.text_config.rope_parameters["rope_theta"] == ODD.text.rope_theta
    assert tuple(loaded.text_config.rope_parameters["mrope_section"]) == ODD.text.mrope_section
    assert loaded.vision_config.rope_parameters["rope_theta"] == 777.0


REFUSED: list[tuple[str, str, Any]] = [
    (UNET, "resnet_time_scale_shift", "scale_shift"),
    (UNET, "class_embed_type", "timestep"),
    (UNET, "num_class_embeds", 10),
    (UNET, "use_sep_conv", False),
    (UNET, "use_linear_projection", False),
    (UNET, "qk_norm", "layer_norm"),
    (UNET, "qk_norm", None),
    (UNET, "time_embedding_type", "fourier"),
    (UNET, "time_embedding_act_fn", "silu"),
    (UNET, "time_embedding_dim", 64),
    (UNET, "conv_in_kernel", 1),
    (UNET, "only_cross_attention", True),
    (UNET, "only_cross_attention", [False, True, False]),
    (UNET, "dual_cross_attention", True),
    (UNET, "reverse_transformer_layers_per_block", [1, 1, 1]),
    (UNET, "transformer_layers_per_block", [[1, 1], 1, 1]),
    (UNET, "encoder_hid_dim_type", "text_proj"),
    (UNET, "addition_embed_type", "text_time"),
    (UNET, "center_input_sample", True),
    (UNET, "mid_block_scale_factor", 1.5),
    (UNET, "downsample_padding", 0),
    (UNET, "act_fn", "gelu"),
    (UNET, "norm_num_groups", None),
    (UNET, "num_kv_heads", None),
    (UNET, "num_attention_heads", 8),
    (UNET, "mid_block_type", None),
    (UNET, "down_block_types", ["DownBlock2D", "SimpleCrossAttnDownBlock2D", "DownBlock2D"]),
    (UNET, "attention_type", "gated"),
    (UNET, "cross_attention_dim", [1, 2, 3]),
    (UNET, "norm_eps", 0.0),
    (UNET, "norm_eps", 10**400),
    (UNET, "block_out_channels", [32, 64, True]),
    (VAE, "upsample_fn", "bilinear"),
    (VAE, "encoder_block_out_channels", [32, 32, 64, 64]),
    (VAE, "act_fn", "tanh"),
    (VAE, "scaling_factor", 0),
    (SCHEDULER, "shift_terminal", 0.02),
    (SCHEDULER, "use_karras_sigmas", True),
    (SCHEDULER, "time_shift_type", "linear"),
    (SCHEDULER, "stochastic_sampling", True),
    (SCHEDULER, "_class_name", "EulerDiscreteScheduler"),
    (TEXT, "text_config.attention_bias", True),
    (TEXT, "text_config.hidden_act", "gelu"),
    (TEXT, "text_config.rope_scaling.rope_type", "yarn"),
    (TEXT, "text_config.rope_scaling.mrope_interleaved", False),
    (TEXT, "text_config.rope_scaling.mrope_section", [16, 16]),
    (TEXT, "text_config.num_hidden_layers", 0),
    (TEXT, "text_config.quantization_config", {"bits": 4}),
    (TEXT, "vision_config.hidden_act", "quick_gelu"),
    (TEXT, "vision_config.head_dim", 4),
    (TEXT, "vision_config.rope_parameters.rope_type", "linear"),
    (TEXT, "model_type", "qwen2_5_vl"),
    (PROCESSOR, "patch_size", 14),
    (PROCESSOR, "do_normalize", False),
    (PROCESSOR, "rescale_factor", 0.0078125),
    (PROCESSOR, "image_std", [0.5, 0.5, 0]),
    (PROCESSOR, "size.longest_edge", 1000),
]


@pytest.mark.parametrize(("file", "key", "value"), REFUSED, ids=[f"{key}={value}"[:60] for _, key, value in REFUSED])
def test_unsupported_setting_is_refused_by_name(file: str, key: str, value: Any, tmp_path: Path) -> None:
    folder = config_folder(tmp_path, TINY)
    change_json(folder / file, *key.split("."), value=value)
    with pytest.raises(ConfigError) as error:
        read_config(folder)
    (problem,) = str(error.value).splitlines()[1:]
    assert problem.strip().startswith(f"{file}: {key}")
    assert "supported: " in problem


def test_all_unsupported_settings_are_listed_in_one_error(tmp_path: Path) -> None:
    folder = config_folder(tmp_path, TINY)
    chosen = [REFUSED[0], REFUSED[32], REFUSED[36], REFUSED[41], REFUSED[52]]
    for file, key, value in chosen:
        change_json(folder / file, *key.split("."), value=value)
    with pytest.raises(ConfigError) as error:
        read_config(folder)
    assert [line.split(" = ")[0].strip() for line in str(error.value).splitlines()[1:]] == [
        f"{file}: {key}" for file, key, _ in (chosen[0], chosen[3], chosen[4], chosen[1], chosen[2])
    ]


@pytest.mark.parametrize(
    ("names", "kinds"),
    [
        (["CrossAttnDownRemoveSelfAttnBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"], ("cross", "full", "plain")),
        (["DreamLiteDownBlock2D", "DreamLiteCrossAttnDownBlock2D", "DownBlock2D"], ("plain", "full", "plain")),
    ],
)
def test_down_block_names_and_aliases(names: list[str], kinds: tuple[str, ...], tmp_path: Path) -> None:
    folder = config_folder(tmp_path, TINY)
    change_json(folder / UNET, "down_block_types", value=names)
    assert read_config(folder).unet.down_kinds == kinds


def test_up_block_aliases(tmp_path: Path) -> None:
    folder = config_folder(tmp_path, TINY)
    names = ["CrossAttnUpBlock2D", "CrossAttnUpRemoveSelfAttnBlock2DV1", "UpBlock2D"]
    change_json(folder / UNET, "up_block_types", value=names)
    assert read_config(folder) == TINY


@pytest.mark.parametrize("key", ["layers_per_block", "transformer_layers_per_block"])
def test_one_number_stands_for_every_level(key: str, tmp_path: Path) -> None:
    folder = config_folder(tmp_path, TINY)
    change_json(folder / UNET, key, value=1)
    assert read_config(folder) == TINY


def test_new_spelling_of_rotary_settings_is_equal_to_the_old(tmp_path: Path) -> None:
    folder = config_folder(tmp_path, ODD)
    document = json.loads((folder / TEXT).read_text())
    text = document["text_config"]
    text["rope_parameters"] = {**text.pop("rope_scaling"), "rope_theta": text.pop("rope_theta")}
    (folder / TEXT).write_text(json.dumps(document))
    assert read_config(folder) == ODD
    assert AutoConfig.from_pretrained(folder / "text_encoder").text_config.rope_parameters["rope_theta"] == 1e4


def test_image_processor_nested_as_transformers_5_saves_it(tmp_path: Path) -> None:
    folder = config_folder(tmp_path, TINY)
    settings_file = folder / PROCESSOR
    nested = {"image_processor": {**json.loads(settings_file.read_text()), "image_mean": [0.1, 0.2, 0.3]}}
    settings_file.unlink()
    (folder / "processor/processor_config.json").write_text(json.dumps(nested))
    assert read_config(folder).vision.image_mean == (0.1, 0.2, 0.3)


def test_image_processor_may_lie_with_the_text_encoder(tmp_path: Path) -> None:
    folder = config_folder(tmp_path, TINY)
    (folder / PROCESSOR).rename(folder / "text_encoder/preprocessor_config.json")
    assert read_config(folder) == TINY


@pytest.mark.parametrize("key", ["_name_or_path", "a_key_of_tomorrow", "dropout", "resnet_skip_time_act"])
def test_keys_without_arithmetic_are_ignored(key: str, tmp_path: Path) -> None:
    folder = config_folder(tmp_path, TINY)
    change_json(folder / UNET, key, value=0.5)
    assert read_config(folder) == TINY


def test_unknown_pipeline_lists_the_known_ones(tmp_path: Path) -> None:
    folder = config_folder(tmp_path, TINY)
    change_json(folder / "model_index.json", "_class_name", value="DreamLitePipelin")
    with pytest.raises(
        ConfigError, match=r"DreamLiteMobilePipeline, DreamLitePipeline\. Did you mean 'DreamLitePipeline'"
    ):
        read_config(folder)


@pytest.mark.parametrize(
    "entry", [["diffusers", "UNet2DConditionModel"], ["diffusers"], None, "DreamLiteUNetModel", [1, [2]]]
)
def test_unknown_network_class_is_refused(entry: Any, tmp_path: Path) -> None:
    folder = config_folder(tmp_path, TINY)
    change_json(folder / "model_index.json", "unet", value=entry)
    with pytest.raises(ConfigError, match="DreamLiteUNetModel"):
        read_config(folder)


@pytest.mark.parametrize(
    ("config", "mentions"),
    [
        (replace(TINY, text=replace(TINY.text, hidden_size=64)), "encoder_hid_dim = 128"),
        (replace(TINY, vision=replace(TINY.vision, out_hidden_size=64)), "out_hidden_size = 64"),
        (replace(TINY, vae=replace(TINY.vae, latent_channels=16)), "latent_channels = 16"),
        (replace(TINY, vae=replace(TINY.vae, num_decoder_blocks=(1, 1, 1))), "4 stages"),
        (replace(TINY, unet=replace(TINY.unet, num_heads=(3, 4, 8))), "attention_head_dim[0] = 3"),
        (replace(TINY, unet=replace(TINY.unet, num_kv_heads=3)), "num_kv_heads = 3"),
        (replace(TINY, unet=replace(TINY.unet, norm_num_groups=64)), "norm_num_groups = 64"),
        (replace(TINY, unet=replace(TINY.unet, block_out_channels=(32, 64))), "down_block_types has 3 entries"),
        (replace(TINY, unet=replace(TINY.unet, addition_time_embed_dim=64)), "input_dim = 64; supported: 128"),
        (replace(TINY, text=replace(TINY.text, num_kv_heads=3)), "num_key_value_heads = 3"),
        (replace(TINY, text=replace(TINY.text, mrope_section=(6, 6, 5))), "mrope_section = [6, 6, 5]"),
        (replace(TINY, text=replace(TINY.text, image_token_id=5000)), "image_token_id = 5000"),
        (replace(TINY, vision=replace(TINY.vision, deepstack_layers=(1, 0))), "[1, 0]"),
        (replace(TINY, vision=replace(TINY.vision, deepstack_layers=(0, 3))), "below depth 3"),
        (replace(TINY, vision=replace(TINY.vision, num_position_embeddings=145)), "145; supported: a square"),
        (replace(TINY, vision=replace(TINY.vision, patch_size=48)), "= 96; supported: a divisor of the 512"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_contradictions_between_parts_are_named(config: DreamLiteConfig, mentions: str) -> None:
    assert any(mentions in problem for problem in inconsistencies(config))


@pytest.mark.parametrize(
    ("key", "value"), [("base_image_seq_len", 4096), ("base_shift", 1e9), ("max_shift", -50.0), ("shift", 1e30)]
)
def test_schedules_that_cannot_be_computed_are_refused(key: str, value: float, tmp_path: Path) -> None:
    folder = config_folder(tmp_path, TINY)
    change_json(folder / SCHEDULER, key, value=value)
    with pytest.raises(ConfigError, match=f"scheduler {key} = .*supported"):
        read_config(folder)


def test_a_component_of_another_class_is_refused(tmp_path: Path) -> None:
    folder = config_folder(tmp_path, TINY)
    change_json(folder / UNET, "_class_name", value="UNet2DConditionModel")
    change_json(folder / VAE, "_class_name", value="AutoencoderKL")
    with pytest.raises(ConfigError, match=r"(?s)2 unsupported setting.*UNet2DConditionModel.*AutoencoderKL"):
        read_config(folder)


@pytest.mark.parametrize("name", CONFIGS)
def test_our_configurations_have_no_contradictions(name: str) -> None:
    assert inconsistencies(CONFIGS[name]) == []


@pytest.mark.parametrize("groups", [1, 2, 6, 8, 16, 24, 32, 48, 64])
def test_norm_groups_are_refused_exactly_where_the_published_class_refuses_them(groups: int) -> None:
    unet = replace(TINY.unet, block_out_channels=(48, 64, 128), norm_num_groups=groups)
    try:
        published_unet(unet)
    except ValueError:
        expected = False
    else:
        expected = True
    assert (inconsistencies(replace(TINY, unet=unet)) == []) == expected


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_named(name: str, tmp_path: Path) -> None:
    folder = config_folder(tmp_path, TINY)
    (folder / name).unlink()
    with pytest.raises(ConfigError, match=name.rpartition("/")[2].replace("preprocessor_config.json", "preprocessor")):
        read_config(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "data", [b"", b"{", b"[1]", b"null", b"\xff\xfe{}", b"[" * 100_000, b'{"a": ' * 100_000], ids=range(7)
)
def test_file_that_is_no_json_object_is_named(name: str, data: bytes, tmp_path: Path) -> None:
    folder = config_folder(tmp_path, TINY)
    (folder / name).write_bytes(data)
    with pytest.raises(ConfigError, match=name.rpartition("/")[2]):
        read_config(folder)


SLOW_MACHINE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 300) | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
WRITTEN: dict[str, Any] = {}


@st.composite
def changed_files(draw: st.DrawFn) -> dict[str, Any]:
    """The tiny checkpoint's files with a few values replaced by anything JSON can hold, or removed."""
    files: dict[str, Any] = json.loads(json.dumps(WRITTEN))
    for _ in range(draw(st.integers(1, 3))):
        node = files[draw(st.sampled_from(FILES))]
        key = draw(st.sampled_from(sorted(node)))
        while isinstance(node[key], dict) and node[key] and draw(st.booleans()):
            node = node[key]
            key = draw(st.sampled_from(sorted(node)))
        if draw(st.booleans()):
            node[key] = draw(JSON)
        else:
            del node[key]
            break
    return files


@pytest.fixture(scope="module", autouse=True)
def _written(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = config_folder(tmp_path_factory.mktemp("written"), TINY)
    WRITTEN.update({name: json.loads((folder / name).read_text()) for name in FILES})


@settings(max_examples=100, deadline=None, suppress_health_check=SLOW_MACHINE)
@given(st.data())
def test_any_change_is_read_or_refused_clearly(tmp_path: Path, data: st.DataObject) -> None:
    for name, document in data.draw(changed_files()).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(document))
    try:
        config = read_config(tmp_path)
    except ConfigError as error:
        assert str(tmp_path) in str(error)
    else:
        assert expected_tensors(config).keys() == {"unet", "vae", "text_encoder"}
