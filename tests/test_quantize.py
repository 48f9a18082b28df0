"""Quantised linear layers; oracles: the published classes' `nn.Linear`s, and the definition of a rounded weight."""

import io
import math
from dataclasses import replace

import pytest
import torch
from checkpoint_files import tiny_checkpoint
from executorch.runtime import Runtime
from oracle import published_qwen, published_unet
from torch import nn

from dreamlite_mobile.assembly import load_network, text_encoder
from dreamlite_mobile.checkpoint import Filled, open_checkpoint
from dreamlite_mobile.components import COMPONENTS
from dreamlite_mobile.config import MOBILE, TINY, DreamLiteConfig
from dreamlite_mobile.errors import ExportError
from dreamlite_mobile.networks import TextEncoder, TextLayout, build, fold
from dreamlite_mobile.networks.form import XNNPACK
from dreamlite_mobile.networks.text import TextTower
from dreamlite_mobile.parity.metrics import compare
from export.backends import XnnpackExporter
from export.driver import ExportRequest, plan_export
from export.estimate import is_streamed, lowering_bytes
from export.quantize import model_linears, quantise, quantiser, quantize, settled_linears, supported
from export.xnnpack import Lowered, lower

WIDE = replace(TINY.text, num_layers=1, hidden_size=256, intermediate_size=1024, num_heads=8, num_kv_heads=4)
"""One layer whose weights (983,040 of them) outweigh everything else in its file."""

WIDE_WEIGHTS = 256 * 32 * (8 + 4 + 4 + 8) + 3 * 256 * 1024


def seeded(name: str, config: DreamLiteConfig = TINY) -> nn.Module:
    """A network in the XNNPACK form with normally distributed weights, finished."""
    random = torch.Generator().manual_seed(0)
    network = build(name, config, XNNPACK).to_empty(device="cpu")
    for parameter in network.parameters():
        fan_in = math.prod(parameter.shape[1:])
        parameter.data = torch.randn(parameter.shape, generator=random) / math.sqrt(fan_in)
    return fold(network)


def two_modes(config: DreamLiteConfig) -> dict[str, TextEncoder]:
    """A text tower with two prompt lengths."""
    tower = seeded("text_encoder", config)
    assert isinstance(tower, TextTower)
    return {"generate": text_encoder(tower, TextLayout(24, 8)), "edit": text_encoder(tower, TextLayout(16, 4))}


def weights_of(module: nn.Module, names: dict[str, str]) -> int:
    return sum(module.get_submodule(name).weight.numel() for name in names)


def published_weights(module: nn.Module, without: tuple[str, ...] = ()) -> int:
    """Weights in the `nn.Linear`s of a published class."""
    return sum(
        child.weight.numel()
        for name, child in module.named_modules()
        if isinstance(child, nn.Linear) and not name.startswith(without)
    )


def test_every_linear_layer_of_the_published_unet_is_quantised_and_nothing_else() -> None:
    unet = seeded("unet")
    stored = quantise({"forward": unet}, "unet", "w8")
    embedders = ("time_embedding", "add_embedding")  # a network of their own, in fp32
    assert weights_of(unet, stored) == published_weights(published_unet(TINY.unet), embedders)


def test_every_linear_layer_of_the_published_vision_tower_is_quantised_and_nothing_else() -> None:
    vision = seeded("vision_encoder")
    stored = quantise({"forward": vision}, "vision_encoder", "w8")
    assert weights_of(vision, stored) == published_weights(published_qwen(TINY.text, TINY.vision).model.visual)


def test_every_linear_layer_of_the_published_text_tower_is_quantised_and_nothing_else() -> None:
    modules = two_modes(TINY)
    stored = quantise(dict(modules), "text_encoder", "w4")
    published = published_qwen(TINY.text, TINY.vision).model.language_model
    assert weights_of(modules["generate"], stored) == published_weights(published)


@pytest.mark.parametrize(("precision", "bits", "groups"), [("w8", 8, 1), ("w4", 4, 3)])
def test_a_weight_is_off_by_at_most_half_a_step_of_its_scale(precision: str, bits: int, groups: int) -> None:
    block = nn.Sequential(nn.Linear(96, 64))
    weight = block[0].weight.detach().clone()
    quantize(block, precision)
    groups_of_weights = weight.view(64, groups, 96 // groups)
    step = groups_of_weights.abs().amax(2, keepdim=True) * 2 / (2**bits - 1)
    found = block[0].weight.dequantize().view_as(groups_of_weights)
    assert ((found - groups_of_weights).abs() <= step / 2 * 1.001).all()
    assert ((found / step).round() - found / step).abs().max() < 1e-3  # and lies on the grid of that scale


def test_activations_are_rounded_to_8_bits_row_by_row() -> None:
    block = nn.Sequential(nn.Linear(32, 32, bias=False))
    block[0].weight.data = torch.eye(32)
    quantize(block, "w8")
    rows = torch.linspace(-1, 1, 32).repeat(2, 1) * torch.tensor([[1.0], [1000.0]])
    error = (block(rows) - rows).abs().amax(1)
    assert 0 < error[0] < 2 / 255 * 1.1
    assert 0 < error[1] < 2000 / 255 * 1.1


def test_layers_quantised_while_a_checkpoint_is_read_are_those_quantised_afterwards() -> None:
    """And while it is read, no more than one linear layer of the tower stands there in float32."""
    checkpoint = open_checkpoint(tiny_checkpoint())
    afterwards = load_network(checkpoint, "text_encoder", XNNPACK)
    stored = quantize(afterwards, "w4")
    alive: list[int] = []

    def prepare(network: nn.Module) -> Filled:
        quantising = quantiser("text_encoder", "w4")(network)

        def filled(name: str, module: nn.Module) -> None:
            alive.append(sum(plain(child) for child in network.modules()))
            quantising(name, module)

        return filled

    network = load_network(checkpoint, "text_encoder", XNNPACK, prepare)
    assert max(alive) == 1 and not any(plain(child) for child in network.modules())
    for name in stored:
        found, wanted = (tower.get_submodule(name).weight for tower in (network, afterwards))
        assert torch.equal(found.qdata, wanted.qdata) and torch.equal(found.scale, wanted.scale)


def test_a_tower_that_is_quantised_while_it_is_read_is_expected_to_hold_less() -> None:
    """At the published size, where 10 GB must do."""
    checkpoint = replace(open_checkpoint(tiny_checkpoint()), config=TINY)
    plans = {
        precision: plan_export(ExportRequest(checkpoint, "tiny", "xnnpack", 64, 64, precision=precision))
        for precision in ("w4", "fp32")
    }
    assert [is_streamed(plans["w4"], name) for name in ("text_encoder", "unet")] == [True, False]
    assert not is_streamed(plans["fp32"], "text_encoder")
    full = replace(plans["w4"], geometry=replace(plans["w4"].geometry, config=MOBILE))
    assert 5e9 < lowering_bytes(full, "text_encoder") < 10e9


def plain(module: nn.Module) -> bool:
    """Whether it is a linear layer that holds its weights in float32."""
    return type(module) is nn.Linear and type(module.weight) is nn.Parameter and not module.weight.is_meta


def test_layers_from_which_a_form_derives_others_are_left_for_later() -> None:
    unet, tower = (build(name, TINY, XNNPACK) for name in ("unet", "text_encoder"))
    assert settled_linears(tower) == {name for name, _ in model_linears(tower)}
    later = {name for name, _ in model_linears(unet)} - settled_linears(unet)
    assert any(name.endswith("to_q") for name in later)


def test_methods_share_the_quantised_tensors() -> None:
    modules = two_modes(TINY)
    quantise(dict(modules), "text_encoder", "w8")
    name = "tower.layers.0.mlp.gate_proj"
    first, second = (module.get_submodule(name).weight.qdata for module in modules.values())
    assert first is second


def test_quantising_again_changes_nothing() -> None:
    block = nn.Sequential(nn.Linear(32, 32))
    stored = quantize(block, "w8")
    weight = block[0].weight
    assert quantize(block, "w8") == stored == {"0": "int8 per channel"}
    assert block[0].weight is weight


def test_inputs_that_do_not_divide_into_groups_get_8_bits() -> None:
    block = nn.Sequential(nn.Linear(48, 32), nn.Linear(32, 32))
    assert quantize(block, "w4") == {"0": "int8 per channel", "1": "int4 per group of 32"}


def test_fp32_is_left_alone() -> None:
    block = nn.Sequential(nn.Linear(32, 32))
    weight = block[0].weight
    assert quantise({"forward": block}, "vae_decoder", "fp32") == {}
    assert block[0].weight is weight


def test_another_precision_on_top_is_refused() -> None:
    block = nn.Sequential(nn.Linear(32, 32))
    quantize(block, "w8")
    with pytest.raises(ExportError, match=r"0 is already quantised \(torch.int8, blocks of 32 inputs\)"):
        quantize(block, "w4")


@pytest.mark.parametrize(
    ("component", "precision", "message"),
    [
        ("vae_decoder", "w8", "vae_decoder cannot be 'w8'.*supported: fp32$"),
        ("unet", "w4", "unet cannot be 'w4', which is for text_encoder; supported: fp32, w8$"),
        ("unet", "w3", "unknown precision 'w3'; known: fp32, w4, w8"),
    ],
)
def test_a_precision_the_component_cannot_take_is_refused(component: str, precision: str, message: str) -> None:
    block = nn.Sequential(nn.Linear(32, 32))
    with pytest.raises(ExportError, match=message):
        quantise({"forward": block}, component, precision)
    assert type(block[0].weight) is nn.Parameter


def test_a_component_without_linear_layers_is_refused() -> None:
    with pytest.raises(ExportError, match="unet cannot be 'w8': it has no linear layers"):
        quantise({"forward": nn.Sequential(nn.Conv2d(4, 4, 1))}, "unet", "w8")


def test_a_weight_that_is_not_finite_is_refused_by_name() -> None:
    block = nn.Sequential(nn.Linear(32, 32))
    block[0].weight.data[3, 4] = torch.inf
    with pytest.raises(ExportError, match="0 cannot be quantised: its weight has values that are not finite"):
        quantize(block, "w8")


def test_the_command_line_offers_what_can_be_quantised() -> None:
    assert {name: supported(name) for name in COMPONENTS} == dict(XnnpackExporter.precisions)


def lowered_text(precision: str) -> tuple[Lowered, bytes, dict[str, nn.Module], dict[str, torch.Tensor]]:
    """The wide tower's two methods, quantised and lowered: program, file, quantised modules, inputs."""
    modules: dict[str, nn.Module] = dict(two_modes(replace(TINY, text=WIDE)))
    torch.manual_seed(0)
    inputs = {"generate": torch.randn(1, 24, 256), "edit": torch.randn(1, 16, 256)}
    lowered = lower({name: (module, (inputs[name],)) for name, module in modules.items()}, precision)
    file = io.BytesIO()
    lowered.write(file)
    return lowered, file.getvalue(), modules, inputs


@pytest.mark.parametrize(("precision", "bytes_each"), [("w8", 1.0), ("w4", 0.5 + 2 / 32)])
def test_both_methods_are_one_delegate_each_and_share_weights_of_that_size(precision: str, bytes_each: float) -> None:
    lowered, file, modules, inputs = lowered_text(precision)
    for name, report in lowered.reports.items():
        assert (name, report.delegates, len(report.outside)) == (name, 1, 0)
    # Weights once, with room for graphs, rotary tables and scales: two copies would be twice as large.
    assert WIDE_WEIGHTS * bytes_each < len(file) < WIDE_WEIGHTS * bytes_each * 1.15
    program = Runtime.get().load_program(file)
    for name, module in modules.items():
        (found,) = program.load_method(name).execute([inputs[name]])
        # The oracle: torch computing with the same rounded weights. What is left: values that round the other way.
        assert compare(found.numpy(), module(inputs[name]).numpy()).snr_db > 35.0
