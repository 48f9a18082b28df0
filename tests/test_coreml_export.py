"""Writing packages: precisions, cutting, repeatability, full-width blocks. Oracle: the same modules in torch fp32."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import coremltools
import numpy as np
import pytest
import torch
from bundles import exported, trained
from checkpoint_files import tiny_checkpoint
from torch import nn

from dreamlite_mobile.assembly import component_methods
from dreamlite_mobile.bundle import open_bundle
from dreamlite_mobile.bundle_checks import geometry as bundle_geometry
from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.components import ComponentSpec, MethodSpec, TensorSpec, component_specs, sample_inputs
from dreamlite_mobile.errors import ExportError
from dreamlite_mobile.networks.form import COREML
from dreamlite_mobile.parity.blocks import layer_names
from dreamlite_mobile.parity.metrics import compare
from dreamlite_mobile.parity.numbers import package_layers
from dreamlite_mobile.parity.reference import reference_components
from dreamlite_mobile.parity.thresholds import floor
from dreamlite_mobile.runtime.coreml import CoreMLComponent
from dreamlite_mobile.runtime.load import load_component
from dreamlite_mobile.runtime.mil.program import read_program
from dreamlite_mobile.tiny.embedded import PACKAGED
from export import backends
from export.coreml import (
    Packages,
    compressed,
    converted,
    describe,
    quiet,
    save,
    stored_bytes,
    unverified,
    write_packages,
)
from export.cutting import Part, cut_methods
from export.driver import geometry_of, prompt_encoder

pytestmark = pytest.mark.coreml
SIZE = 64


@cache
def specs() -> dict[str, ComponentSpec]:
    checkpoint = open_checkpoint(tiny_checkpoint())
    return component_specs(geometry_of(checkpoint.config, prompt_encoder(checkpoint), SIZE, SIZE))


@cache
def modules(name: str) -> dict[str, nn.Module]:
    checkpoint = open_checkpoint(tiny_checkpoint())
    geometry = geometry_of(checkpoint.config, prompt_encoder(checkpoint), SIZE, SIZE)
    return component_methods(checkpoint, name, COREML, geometry, ["generate", "edit"])


def part(name: str, method: str) -> Part:
    return Part(modules(name)[method], specs()[name].methods[method])


@cache
def model(name: str, method: str) -> Any:
    """Converted once for all precisions."""
    with quiet(), unverified():
        return converted(f"{name}.{method}", part(name, method))


def worst(package: Path, piece: Part) -> float:
    """The least SNR of the piece's outputs through the evaluator, in fp16, on a seeded sample."""
    inputs = sample_inputs(piece.method, 1)
    program = package / "Data/com.apple.CoreML/model.mlmodel"
    found = CoreMLComponent({"forward": [program]}, {"forward": piece.method}, name="piece", native=False).run(
        "forward", inputs
    )
    with torch.no_grad():
        expected = piece.module(*(torch.from_numpy(inputs[spec.name]) for spec in piece.method.inputs))
    expected = expected if isinstance(expected, tuple) else (expected,)
    results = [
        compare(found[spec.name], value.numpy()) for spec, value in zip(piece.method.outputs, expected, strict=True)
    ]
    assert not [defect for result in results for defect in result.defects]
    return min(result.snr_db for result in results)


QUANTISED = [
    ("text_encoder", "generate", "w8"),
    ("text_encoder", "generate", "p6"),
    ("text_encoder", "generate", "p4"),
    ("text_encoder", "edit", "w8"),
    ("text_encoder", "edit", "p6"),
    ("vision_encoder", "forward", "w8"),
    ("unet", "generate", "w8"),
]
"""Of random weights, in which a U-Net in p6 stays below its floor: that one is judged on the trained ones."""


@pytest.mark.parametrize(("name", "method", "precision"), QUANTISED)
def test_compressed_components_reach_their_floors_and_are_smaller(
    tmp_path: Path, name: str, method: str, precision: str
) -> None:
    for each in ("fp16", precision):
        with quiet(), unverified():
            save(compressed(model(name, method), each), tmp_path / f"{each}.mlpackage")
    assert worst(tmp_path / f"{precision}.mlpackage", part(name, method)) >= floor(precision, "coreml").component_snr_db
    sizes = {
        each: (tmp_path / f"{each}.mlpackage/Data/com.apple.CoreML/weights/weight.bin").stat().st_size
        for each in ("fp16", precision)
    }
    assert sizes[precision] < 0.8 * sizes["fp16"]


def test_trained_weights_in_p6_reach_30_db() -> None:
    """Text tower and U-Net of the packaged weights, from the saved bundle; random ones lose more on their way through a
    U-Net."""
    bundle, checkpoint = open_bundle(trained("p6", "coreml"), verify="quick"), open_checkpoint(PACKAGED)
    shape = bundle_geometry(bundle.manifest)
    assert floor("p6", "coreml").component_snr_db == 30
    for name in ("text_encoder", "unet"):
        inputs = sample_inputs(component_specs(shape, ["generate"])[name].methods["generate"], 1)
        expected = reference_components(checkpoint, shape, ["generate"])[name].run("generate", inputs)
        (found,) = load_component(bundle, name).run("generate", inputs).values()
        result = compare(found, next(iter(expected.values())))
        assert bundle.component(name).precision == "p6" and not result.defects and result.snr_db >= 30, name


def test_each_precision_uses_its_own_operator(tmp_path: Path) -> None:
    """And a rotary table, large as it is, stays as it is."""
    expected = {"w8": "constexpr_blockwise_shift_scale", "p6": "constexpr_lut_to_dense"}
    for precision, operator in expected.items():
        with quiet(), unverified():
            save(compressed(model("text_encoder", "generate"), precision), tmp_path / f"{precision}.mlpackage")
        program = read_program(tmp_path / f"{precision}.mlpackage/Data/com.apple.CoreML/model.mlmodel")
        operations = program.functions["main"].operations
        found = [one for one in operations if one.kind.startswith("constexpr")]
        linear = {one.inputs["weight"][0] for one in operations if one.kind == "linear"}
        assert {one.kind for one in found} == {operator}
        assert {one.outputs[0].name for one in found} == linear


def test_codes_of_shipped_weights_are_counted_by_layer_and_a_small_scale_is_named(tmp_path: Path) -> None:
    """Oracle: the network's own linear layers; then one of them with every code at an end."""
    with quiet(), unverified():
        save(compressed(model("text_encoder", "generate"), "w8"), tmp_path / "a.mlpackage")
    program = read_program(tmp_path / "a.mlpackage/Data/com.apple.CoreML/model.mlmodel")
    module = modules("text_encoder")["generate"]
    names = layer_names("text_encoder", open_checkpoint(tiny_checkpoint()).config)
    linear = {
        name: (layer.weight.numel(), layer.out_features)
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear)
    }
    found = package_layers([program], names)
    assert {name: (codes.weights, codes.scales) for name, codes in found.items()} == linear
    assert not any(codes.saturated for codes in found.values()) and all(codes.at_end for codes in found.values())
    name = "tower.layers.1.mlp.up_proj"
    operation = next(
        one for one in program.functions["main"].operations if "layers_1_mlp_up_proj_weight" in one.outputs[0].name
    )
    blob = operation.held["data"].blob
    assert blob is not None
    begin, end = program.weight_file(blob[0]).span(blob[1])
    with program.weight_file(blob[0]).path.open("r+b") as stream:
        stream.seek(begin)
        stream.write(bytes([127]) * (end - begin))
    spoilt = package_layers([read_program(program.path)], names)
    assert [key for key, codes in spoilt.items() if codes.saturated] == [name]


def run_packages(folder: Path, made: Packages, spec: ComponentSpec) -> dict[str, dict[str, np.ndarray]]:
    paths = {method: [folder / file for file in programs] for method, programs in made.programs.items()}
    component = CoreMLComponent(paths, spec.methods, name=spec.name, native=False)
    return {method: component.run(method, sample_inputs(its, 1)) for method, its in spec.methods.items()}


def test_a_component_in_several_packages_equals_the_whole_one(tmp_path: Path) -> None:
    """Both modes, cut at the same layers, each package with two functions; tables and masks come on top of weights."""
    spec, limit = specs()["text_encoder"], 900_000
    made = write_packages(spec, modules("text_encoder"), "fp16", tmp_path, limit)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == sorted(
        made.files
    )
    packages = sorted(path.name for path in tmp_path.iterdir())
    assert packages == ["text_encoder.1.mlpackage", "text_encoder.2.mlpackage"]
    cut = run_packages(tmp_path, made, spec)
    whole = load_component(open_bundle(exported("fp16", "coreml")), "text_encoder")
    for method, its in spec.methods.items():
        expected = whole.run(method, sample_inputs(its, 1))["prompt_states"]
        assert np.array_equal(cut[method]["prompt_states"], expected)
    for name in packages:
        assert (tmp_path / name / "Data/com.apple.CoreML/weights/weight.bin").stat().st_size < 1.5 * limit


@pytest.mark.parametrize("name", ["unet", "vision_encoder"])
@torch.no_grad()
def test_parts_follow_each_other_to_the_same_result(name: str) -> None:
    """In torch, bit for bit: results of one part that others need are handed on, also past the next one."""
    pieces = cut_methods(modules(name), specs()[name].methods, 700_000, lambda _, weight: weight.numel() * 2.0)
    counts = {len(parts) for parts in pieces.values()}
    assert len(counts) == 1 and counts.pop() >= 3
    for method, parts in pieces.items():
        values = {
            key: torch.from_numpy(value) for key, value in sample_inputs(specs()[name].methods[method], 1).items()
        }
        expected = modules(name)[method](*values.values())
        for piece in parts:
            made = piece.module(*(values[spec.name] for spec in piece.method.inputs))
            values |= {spec.name: value for spec, value in zip(piece.method.outputs, made, strict=True)}
        expected = expected if isinstance(expected, tuple) else (expected,)
        for spec, value in zip(specs()[name].methods[method].outputs, expected, strict=True):
            assert torch.equal(values[spec.name], value)


def test_parts_of_both_methods_hold_the_same_weights_below_the_limit() -> None:
    limit = 1_500_000.0
    pieces = cut_methods(modules("unet"), specs()["unet"].methods, limit, lambda _, weight: weight.numel() * 2.0)
    held = [
        [
            sum(weight.numel() * 2 for key, weight in piece.module.named_parameters() if used(piece.module, key))
            for piece in parts
        ]
        for parts in pieces.values()
    ]
    assert held[0] == held[1] and all(0 < volume <= limit for volume in held[0])


def test_weights_weigh_what_a_package_stores(tmp_path: Path) -> None:
    """Oracle: the weight file. Sensitive and depthwise layers stay in fp16; scales come on top."""
    weights = modules("unet")["generate"].named_parameters()
    expected = sum(stored_bytes(key, weight, "w8") for key, weight in weights)
    with quiet(), unverified():
        save(compressed(model("unet", "generate"), "w8"), tmp_path / "a.mlpackage")
    found = (tmp_path / "a.mlpackage/Data/com.apple.CoreML/weights/weight.bin").stat().st_size
    assert 1.0 <= found / expected < 1.1


def test_a_cut_that_the_other_method_does_not_have_is_an_export_error() -> None:
    """Two weights that one method uses in two operators and the other in one."""

    class Two(nn.Module):
        def __init__(self, together: bool) -> None:
            super().__init__()
            self.a, self.b = nn.Parameter(torch.ones(64)), nn.Parameter(torch.ones(64))
            self.together = together

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.addcmul(x, self.a, self.b) if self.together else x * self.a * self.b

    method = MethodSpec((TensorSpec("x", (64,)),), (TensorSpec("y", (64,)),))
    with pytest.raises(ExportError, match="no cut has 1 weights before it in a method of 1 operators"):
        cut_methods(
            {"apart": Two(False), "together": Two(True)},
            {"apart": method, "together": method},
            150,
            lambda _, weight: weight.numel() * 2.0,
        )


def used(module: nn.Module, key: str) -> bool:
    return any(node.op == "get_attr" and node.target == key for node in module.graph.nodes)


def test_tower_is_cut_between_its_layers() -> None:
    """Only the states are handed on."""
    parts = cut_methods(
        modules("text_encoder"), specs()["text_encoder"].methods, 400_000, lambda _, weight: weight.numel() * 2.0
    )["generate"]
    handed = [[spec.shape for spec in piece.method.outputs] for piece in parts[:-1]]
    length, width = specs()["text_encoder"].methods["generate"].inputs[0].shape[1:]
    assert handed and all(shapes == [(1, length, width)] for shapes in handed)


def test_an_axis_too_long_for_the_neural_engine_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The decoder's pictures are 64 wide, its first values 8."""
    chosen, said = backends.CoreMLExporter(None), []
    chosen.tell = said.append
    for longest, name in ((64, "fits"), (63, "long")):
        monkeypatch.setattr(backends, "LONGEST_AXIS", longest)
        (tmp_path / name).mkdir()
        chosen.write(specs()["vae_decoder"], modules("vae_decoder"), "fp16", tmp_path / name)
    (line,) = said
    count = int(line.split()[0])
    assert "results have an axis of more than 63" in line and "the first is vae_decoder.mlpackage: main: " in line
    program = read_program(tmp_path / "long/vae_decoder.mlpackage/Data/com.apple.CoreML/model.mlmodel")
    assert 0 < count < len([one for one in program.functions["main"].operations if not one.kind.startswith("const")])


def test_the_same_module_gives_the_same_bytes(tmp_path: Path) -> None:
    spec = specs()["vae_decoder"]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        files = write_packages(spec, modules("vae_decoder"), "fp16", tmp_path / name).files
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    manifest = json.loads((tmp_path / "a" / "vae_decoder.mlpackage" / "Manifest.json").read_text())
    assert manifest["rootModelIdentifier"] in manifest["itemInfoEntries"]


def test_leaving_out_the_checks_changes_nothing(tmp_path: Path) -> None:
    """Oracle: the stock conversion."""
    piece = part("vae_decoder", "forward")
    with quiet():
        save(converted("stock", piece), tmp_path / "stock.mlpackage")
        with unverified():
            save(converted("quick", piece), tmp_path / "quick.mlpackage")
    for name in ("stock", "quick"):
        describe(tmp_path / f"{name}.mlpackage", {"forward": piece}, "vae_decoder", "fp16")
    for file in ("Data/com.apple.CoreML/model.mlmodel", "Data/com.apple.CoreML/weights/weight.bin"):
        assert (tmp_path / "stock.mlpackage" / file).read_bytes() == (tmp_path / "quick.mlpackage" / file).read_bytes()


class Branching(nn.Module):
    """A branch on data, which cannot be traced."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class Sorted(nn.Module):
    """An operator that Core ML lacks."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.svdvals(x)


@pytest.mark.parametrize("module", [Branching(), Sorted()])
def test_what_cannot_be_converted_is_an_export_error(tmp_path: Path, module: nn.Module) -> None:
    method = MethodSpec((TensorSpec("x", (3, 3)),), (TensorSpec("y", (3, 3)),))
    with pytest.raises(ExportError, match="odd.forward: cannot be converted to Core ML"):
        write_packages(ComponentSpec("odd", {"forward": method}), {"forward": module}, "fp16", tmp_path)
    assert not list(tmp_path.iterdir())


class Relu(nn.Module):
    """Something that converts."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.relu()


def test_outputs_of_another_shape_are_an_export_error(tmp_path: Path) -> None:
    method = MethodSpec((TensorSpec("x", (3, 3)),), (TensorSpec("y", (3, 4)),))
    with pytest.raises(ExportError, match=r"the converted outputs are .*\(3, 3\).*expected .*\(3, 4\)"):
        write_packages(ComponentSpec("odd", {"forward": method}), {"forward": Relu()}, "fp16", tmp_path)


def test_coremltools_is_the_pinned_one() -> None:
    assert coremltools.__version__ == "9.0"
    assert isinstance(specs(), Mapping)
