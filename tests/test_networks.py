"""Every form of every network equals the published class in fp32; oracle: diffusers and transformers."""

from dataclasses import replace

import pytest
import torch
from checkpoint_files import tiny_checkpoint
from oracle import ODD, WIDE, last_decoder_layer, published_qwen, published_unet, published_vae, relative_error
from torch import nn
from torch.nn import functional as F

from dreamlite_mobile.assembly import component_methods
from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.components import COMPONENTS, component_specs
from dreamlite_mobile.config import MOBILE, TINY, DreamLiteConfig, UNetConfig
from dreamlite_mobile.networks import SOURCES, TextEncoder, TextLayout, build, expected_tensors, fold
from dreamlite_mobile.networks.form import COREML, FORMS, HTP_PHASES, LONGEST_AXIS, REFERENCE, Form
from dreamlite_mobile.networks.layers import GeGlu
from dreamlite_mobile.networks.resample import DownsampleConv, UpsampleConv
from dreamlite_mobile.networks.transformer import Transformer2D
from dreamlite_mobile.networks.unet import Resnet
from export.backends import example_inputs
from export.driver import geometry_of, prompt_encoder

TOLERANCE = 2e-6
GELU_TOLERANCE = 5e-4
"""Of a form that writes GELU by its tanh approximation; its other choices are held to `TOLERANCE` in integers."""
CONFIGS = {"tiny": TINY, "odd": ODD}
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
every_width = pytest.mark.parametrize("config", [*CONFIGS.values(), WIDE], ids=[*CONFIGS, "published width"])


def filled(name: str, config: DreamLiteConfig, form: Form, published: nn.Module) -> nn.Module:
    """Our network with the published module's weights."""
    network = build(name, config, form)
    prefix = SOURCES[name].prefix
    state = published.state_dict()
    network.load_state_dict({key: state[prefix + key].clone() for key in network.state_dict()}, assign=True)
    return fold(network)


def tolerance(form: Form) -> float:
    return TOLERANCE if form.gelu == "op" else GELU_TOLERANCE


def tiled(form: Form) -> Form:
    """The form with tiles small enough to matter at test sizes."""
    banded = ((32, 64, 4), (32, 96, 2), (64, 192, 2)) if form.bands else ()
    parts = ((64, 4), (128, 2)) if form.up_parts else ()
    sigmoids = (32, 64) if form.sigmoid_gates else ()
    form = replace(form, bands=banded, up_parts=parts, sigmoid_gates=sigmoids)
    return replace(form, row_tiles=((32, 16), (64, 8), (128, 4))) if form.row_tiles else form


@every_form
@every_config
@pytest.mark.parametrize("edit", [False, True], ids=["generate", "edit"])
@torch.no_grad()
def test_unet_equals_diffusers(form: Form, config: DreamLiteConfig, edit: bool) -> None:
    cfg = config.unet
    published = published_unet(cfg)
    height, width, length = (12, 8, 40) if edit else (8, 16, 20)
    latents = torch.randn(1, 4, height, width)
    condition = torch.randn(1, 4, height, width) if edit else torch.zeros(1, 4, height, width)
    states, mask = torch.randn(1, length, cfg.encoder_hid_dim), (torch.rand(1, length) > 0.4).float()
    timestep, size = torch.tensor([612.5]), torch.tensor([8.0 * width, 8.0 * height])
    expected = published(
        torch.cat([latents, condition], 3),
        timestep,
        states,
        encoder_attention_mask=mask,
        added_cond_kwargs={"time_ids": size[None]},
        return_dict=False,
    )[0][..., :width]
    step = filled("step_embedder", config, REFERENCE, published)(timestep, size)
    network = filled("unet", config, tiled(form), published)
    assert relative_error(network(latents, condition, step, states, mask), expected) <= tolerance(form)


@pytest.mark.parametrize(("channels", "operator"), [(256, "sigmoid"), (512, "sigmoid"), (896, "tanh")])
@torch.no_grad()
def test_a_feed_forward_in_phases_is_the_tanh_approximation(channels: int, operator: str) -> None:
    """However it is written; gates of up to ten in both directions and some of next to nothing."""
    block = GeGlu(channels, 2, HTP_PHASES)
    inner = 2 * channels
    for weight in block.parameters():
        nn.init.normal_(weight, 0.0, channels**-0.5)
    projection, out = (block.get_submodule(name) for name in ("net.0.proj", "net.2"))
    rows = torch.cat([torch.randn(1, 32, channels) * size for size in (1e-3, 1.0, 5.0)], 1)
    value, gate = projection(rows).split(inner, -1)
    expected = out(value * F.gelu(gate, approximate="tanh"))
    assert gate.min() < -10 and gate.max() > 10
    assert relative_error(fold(block)(rows), expected) < 1e-6
    traced = torch.export.export(block, (rows,)).graph
    assert {node.name for node in traced.nodes} & {"sigmoid", "tanh"} == {operator}


@pytest.mark.parametrize("level", range(3))
def test_no_axis_of_the_core_ml_form_is_longer_than_the_neural_engine_takes(level: int) -> None:
    """Transformers and resnets of the published U-Net at 1024x1024, without numbers. As one piece, rows times heads are
    up to 131,072."""
    cfg = only_level(MOBILE.unet, level)
    channels, heads, kind = cfg.block_out_channels[0], cfg.num_heads[0], cfg.down_kinds[0]
    height, width = 128 >> level, 256 >> level
    given = [(1, channels, height, width), (1, 200, cfg.cross_attention_dim), (1, 1, 200)]

    def longest(form: Form) -> int:
        with torch.device("meta"):
            block = fold(Transformer2D(cfg, channels, heads, 1, kind, form))
            graph = torch.export.export(block, tuple(torch.empty(shape) for shape in given)).graph
        values = [node.meta["val"] for node in graph.nodes if node.op == "call_function"]
        flat = [one for value in values for one in (value if isinstance(value, list | tuple) else [value])]
        return max(length for value in flat for length in value.shape)

    assert longest(COREML) <= LONGEST_AXIS < longest(REFERENCE)


@every_form
@every_width
@torch.no_grad()
def test_text_tower_equals_transformers_before_the_final_norm(form: Form, config: DreamLiteConfig) -> None:
    qwen = published_qwen(config.text, config.vision)
    ids = torch.randint(0, 900, (1, 37))
    with last_decoder_layer(qwen) as states:
        qwen(input_ids=ids)
    tower = filled("text_encoder", config, form, qwen)
    encoder = fold(TextEncoder(tower, TextLayout(length=45, drop=5)))
    padded = torch.cat([ids, torch.randint(0, 900, (1, 8))], 1)
    found = encoder(qwen.model.language_model.embed_tokens(padded))[:, : 37 - 5]
    assert relative_error(found, states[0][:, 5:]) <= tolerance(form)


@every_form
@every_width
@torch.no_grad()
def test_vision_and_text_towers_equal_transformers_on_an_edit(form: Form, config: DreamLiteConfig) -> None:
    qwen = published_qwen(config.text, config.vision)
    cfg, start, length = config.vision, 7, config.vision.num_tokens + 23
    patches = torch.randn(cfg.num_patches, cfg.patch_dim)
    frames = patches.view(-1, 3, 1, cfg.patch_size**2).expand(-1, -1, cfg.temporal_patch_size, -1)
    ids = torch.randint(1, 900, (1, length))
    ids[0, start : start + cfg.num_tokens] = config.text.image_token_id
    with last_decoder_layer(qwen) as states:
        qwen(
            input_ids=ids,
            pixel_values=frames.reshape(cfg.num_patches, -1),
            image_grid_thw=torch.tensor([[1, cfg.grid, cfg.grid]]),
            mm_token_type_ids=(ids == config.text.image_token_id).int(),
        )
    tokens, deepstack = filled("vision_encoder", config, form, qwen)(patches)
    embeddings = qwen.model.language_model.embed_tokens(ids).clone()
    embeddings[0, start : start + cfg.num_tokens] = tokens
    layout = TextLayout(length, drop=4, image=(start, start + cfg.num_tokens), grid=cfg.grid // cfg.spatial_merge_size)
    encoder = fold(TextEncoder(filled("text_encoder", config, form, qwen), layout))
    assert relative_error(encoder(embeddings, deepstack), states[0][:, 4:]) <= tolerance(form)


@every_width
@torch.no_grad()
def test_vision_features_equal_transformers(config: DreamLiteConfig) -> None:
    qwen = published_qwen(config.text, config.vision)
    cfg = config.vision
    patches = torch.randn(cfg.num_patches, cfg.patch_dim)
    frames = patches.view(-1, 3, 1, cfg.patch_size**2).expand(-1, -1, cfg.temporal_patch_size, -1)
    expected = qwen.model.visual(
        frames.reshape(cfg.num_patches, -1), grid_thw=torch.tensor([[1, cfg.grid, cfg.grid]]), return_dict=True
    )
    tokens, deepstack = filled("vision_encoder", config, REFERENCE, qwen)(patches)
    assert relative_error(tokens, expected.pooler_output) <= TOLERANCE
    assert relative_error(deepstack, torch.stack(expected.deepstack_features)) <= TOLERANCE


@every_form
@every_width
@torch.no_grad()
def test_autoencoder_equals_diffusers(form: Form, config: DreamLiteConfig) -> None:
    published = published_vae(config.vae)
    image, latents = torch.rand(1, 3, 64, 96) * 2 - 1, torch.randn(1, 4, 8, 12) * 2
    encoder, decoder = (filled(name, config, form, published) for name in ("vae_encoder", "vae_decoder"))
    assert relative_error(encoder(image), published.encode(image).latents) <= tolerance(form)
    assert relative_error(decoder(latents), published.decode(latents).sample) <= tolerance(form)


FULL_WIDTH = [(0, 8, 12), (1, 6, 4), (2, 4, 6)]


@pytest.mark.parametrize(("level", "height", "width"), FULL_WIDTH)
@torch.no_grad()
def test_full_width_blocks_equal_diffusers(level: int, height: int, width: int) -> None:
    """One resnet and one transformer of every level at the published width, every form."""
    cfg = only_level(MOBILE.unet, level)
    published = published_unet(cfg)
    channels = cfg.block_out_channels[0]
    block = published.down_blocks[0]
    x, step = torch.randn(1, channels, height, width), torch.randn(1, cfg.time_embed_dim)
    context, mask = torch.randn(1, 24, cfg.cross_attention_dim), (torch.rand(1, 1, 24) > 0.3).float()
    bias = (mask - 1) * 1e4
    for form in FORMS.values():
        resnet = fold(copy_weights(Resnet(cfg, channels, channels, form), block.resnets[0]))
        assert relative_error(resnet(x, torch.nn.functional.silu(step)), block.resnets[0](x, step)) <= tolerance(form)
        transformer = Transformer2D(cfg, channels, cfg.num_heads[0], cfg.transformer_layers[0], cfg.down_kinds[0], form)
        fold(copy_weights(transformer, block.attentions[0]))
        expected = block.attentions[0](x, context, encoder_attention_mask=bias, return_dict=False)[0]
        assert relative_error(transformer(x, context, bias), expected) <= tolerance(form)


@pytest.mark.parametrize("how", ["transposed", "differences"])
@torch.no_grad()
def test_full_width_upsampling_is_exact_in_every_writing(how: str) -> None:
    torch.manual_seed(0)
    channels = MOBILE.unet.block_out_channels[-1]
    weight, bias = torch.randn(channels, channels, 3, 3) / (9 * channels) ** 0.5, torch.randn(channels)
    x = torch.randn(1, channels, 4, 6)
    large = torch.nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
    expected = torch.nn.functional.conv2d(large, weight, bias, padding=1)
    layer = UpsampleConv(channels, replace(REFERENCE, upsample=how))
    layer.load_state_dict({"weight": weight, "bias": bias})
    assert relative_error(fold(layer)(x), expected) <= TOLERANCE


@torch.no_grad()
def test_full_width_downsampling_is_exact_in_taps() -> None:
    torch.manual_seed(0)
    channels = MOBILE.unet.block_out_channels[0]
    weight, bias = torch.randn(channels, channels, 3, 3) / (9 * channels) ** 0.5, torch.randn(channels)
    x = torch.randn(1, channels, 6, 8)
    expected = torch.nn.functional.conv2d(x, weight, bias, stride=2, padding=1)
    layer = DownsampleConv(channels, replace(REFERENCE, downsample="taps"))
    layer.load_state_dict({"weight": weight, "bias": bias})
    assert relative_error(fold(layer)(x), expected) <= TOLERANCE


def test_published_configuration_has_the_published_names_and_parameter_count() -> None:
    with torch.device("meta"):
        unet = published_unet_names(MOBILE.unet)
        qwen = published_qwen_names(MOBILE)
    expected = expected_tensors(MOBILE)
    assert expected["unet"] == unet
    assert sum(torch.Size(shape).numel() for shape in unet.values()) == 389_968_388
    assert expected["text_encoder"] == qwen


def published_unet_names(cfg: UNetConfig) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in published_unet(cfg).state_dict().items()}


def published_qwen_names(config: DreamLiteConfig) -> dict[str, tuple[int, ...]]:
    state = published_qwen(config.text, config.vision).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in state.items() if name != "lm_head.weight"}


def only_level(cfg: UNetConfig, level: int) -> UNetConfig:
    """The published U-Net reduced to one level, at its full width."""
    return replace(
        cfg,
        block_out_channels=cfg.block_out_channels[level : level + 1],
        down_kinds=cfg.down_kinds[level : level + 1],
        up_kinds=("plain",),
        layers_per_block=(1,),
        num_heads=cfg.num_heads[level : level + 1],
        transformer_layers=(1,),
    )


def copy_weights(ours: nn.Module, published: nn.Module) -> nn.Module:
    ours.load_state_dict({key: value.clone() for key, value in published.state_dict().items()}, assign=True)
    return ours


EXPORTED = [(name, form) for name in COMPONENTS for form in ("xnnpack", "htp", "htp-integers")]


@pytest.mark.parametrize(("name", "form"), EXPORTED, ids=[f"{name}-{form}" for name, form in EXPORTED])
@torch.no_grad()
def test_graphs_are_static_of_rank_4_and_copy_no_keys(name: str, form: str) -> None:
    """What HTP and XNNPACK need; keys and values must not be repeated over query heads."""
    checkpoint = open_checkpoint(tiny_checkpoint())
    geometry = geometry_of(checkpoint.config, prompt_encoder(checkpoint), 64, 96)
    modules = component_methods(checkpoint, name, tiled(FORMS[form]), geometry, ["generate", "edit"])
    method, spec = list(component_specs(geometry)[name].methods.items())[-1]
    nodes = torch.export.export(modules[method], example_inputs(spec)).graph.nodes
    values = [node.meta["val"] for node in nodes if node.op == "call_function"]
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    assert len(tensors) > 20
    assert all(isinstance(side, int) for tensor in tensors for side in tensor.shape)
    assert max(tensor.ndim for tensor in tensors) <= 4
    assert not [node.target for node in nodes if "repeat" in str(node.target)]
