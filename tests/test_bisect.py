"""Faults planted into files and code are found and named. Oracle: the same component without them, and where they were
planted."""

import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_files import tiny_checkpoint
from planted import LAYER, bench_of, bundle_of, flipped, named, walk
from torch import nn

from dreamlite_mobile.assembly import component_methods
from dreamlite_mobile.bundle import Bundle
from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.cli import bisect as cli_bisect
from dreamlite_mobile.cli.report_parts import verdict
from dreamlite_mobile.components import COMPONENTS
from dreamlite_mobile.errors import BundleError, ConfigError
from dreamlite_mobile.networks import resample
from dreamlite_mobile.networks.form import REFERENCE
from dreamlite_mobile.parity.bisect import Bisection, bisect
from dreamlite_mobile.parity.blocks import Alone, block_names, named_blocks
from dreamlite_mobile.parity.metrics import compare
from dreamlite_mobile.parity.report import bisect_json
from dreamlite_mobile.parity.repro import open_repro, run_repro, write_repro
from dreamlite_mobile.parity.schema import BisectReport
from dreamlite_mobile.runtime.mil.program import read_program
from export import probe, quantize
from export.driver import geometry_of, prompt_encoder
from export.probe_onnx import read_onnx
from export.pte import read_pte


@cache
def sound() -> Bundle:
    return bundle_of("vae_decoder", "xnnpack")


@cache
def sound_walk() -> Bisection:
    return walk(sound())


def test_a_sound_bundle_has_no_culprit_and_every_block_is_measured() -> None:
    found = sound_walk()
    assert (found.culprit, found.first, found.elsewhere, found.notes) == (None, None, (), ())
    assert found.source == "shipped file"
    assert all(block.alone.snr_db > 120 and block.cumulative.snr_db > 110 for block in found.blocks)
    assert not any(block.differences or block.problem or block.shipped for block in found.blocks)


def test_the_last_block_in_the_network_is_the_networks_output() -> None:
    found = sound_walk()
    assert named(found, found.blocks[-1].name).cumulative.snr_db >= found.whole.snr_db


@pytest.mark.parametrize("backend", ["xnnpack", "onnx"])
def test_a_flipped_sign_in_one_layer_of_the_file_is_named(backend: str) -> None:
    found = walk(flipped(backend), only=LAYER)
    assert (found.culprit.name, found.first.name, found.worst.name) == (LAYER,) * 3
    (difference,) = found.culprit.differences
    assert difference.startswith(f"{LAYER}.conv.2") and "have the other sign" in difference
    assert found.culprit.alone.snr_db > 120 and found.culprit.shipped.snr_db < 10
    before = found.blocks[[block.name for block in found.blocks].index(LAYER) - 1]
    assert before.cumulative.snr_db > 110 and found.culprit.cumulative.snr_db < 10


def test_a_flipped_sign_in_the_backends_form_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the code, in every file made with it: constants agree, the block by itself does not."""
    real = resample.column_differences
    monkeypatch.setattr(resample, "column_differences", lambda rows, channels: -real(rows, channels))
    found = walk(bundle_of("vae_decoder", "xnnpack"), only="layers.4")
    assert (found.culprit.name, found.culprit.kind, found.first.name) == ("layers.4", "UpsampleConv", "layers.4")
    assert found.culprit.alone.snr_db < found.floor_db and found.culprit.differences == ()


def widen(network: nn.Module) -> None:
    """eps 1e-6 -> 1e-2, in the primitive form a bias."""
    network.get_submodule("blocks.1.norm2").variance.bias.data.fill_(1e-2)


def test_a_wrong_eps_is_named() -> None:
    found = walk(bundle_of("vision_encoder", "xnnpack", spoil=widen), only="blocks.1")
    assert (found.culprit.name, found.first.name) == ("blocks.1", "blocks.1")
    assert found.culprit.differences[0].startswith("blocks.1.norm2.variance.bias: 1 of 1 values")
    # The eps of its other norm is the same number, and alone the two cannot be told apart.
    assert found.culprit.shipped is None and found.culprit.alone.snr_db > found.floor_db


def test_a_wrong_eps_is_named_in_onnx_where_it_is_an_attribute() -> None:
    def spoil(network: nn.Module) -> None:
        network.get_submodule("blocks.1.norm2").eps = 1e-2

    found = walk(bundle_of("vision_encoder", "onnx", spoil=spoil), only="blocks.1")
    assert (found.culprit.name, found.first.name) == ("blocks.1", "blocks.1")
    assert "epsilon=0.00999" in found.culprit.differences[0]


def overwrite(bundle: Bundle, file: str, weight: bytes, data: bytes) -> None:
    """Replace bytes inside a file of a bundle, which keeps its manifest."""
    path = bundle.path / file
    content = path.read_bytes()
    assert content.count(weight) == 1
    path.write_bytes(content.replace(weight, data))


def test_one_corrupted_weight_block_is_named(tmp_path: Path) -> None:
    bundle = Bundle(Path(shutil.copytree(sound().path, tmp_path / "bundle")), sound().manifest)
    weight = bench_of(bundle).block(f"{LAYER}.conv.4").weight
    stored = weight.detach().permute(0, 2, 3, 1).contiguous().numpy().tobytes()
    assert stored in read_pte((bundle.path / "vae_decoder.pte").read_bytes(), "").constants.values()
    noise = np.random.default_rng(0).normal(size=16).astype("<f4").tobytes()
    overwrite(bundle, "vae_decoder.pte", stored, stored[:256] + noise + stored[320:])
    seen = walk(bundle, only=LAYER)
    assert (seen.culprit.name, seen.first.name) == (LAYER, LAYER)
    (difference,) = seen.culprit.differences
    assert difference.startswith(f"{LAYER}.conv.4.weight: 16 of ") and "differ, relative RMS" in difference
    assert any("is not the file that the manifest lists" in note for note in seen.notes)


def saturate(layer: nn.Linear, name: str) -> None:
    """A scale 16 times too small: most codes end at the end of their range."""
    weight = layer.weight
    real = weight.qdata.float() * weight.scale.reshape(len(weight.qdata), -1)[:, :1]
    weight.scale.div_(16)
    weight.qdata.copy_((real / weight.scale.reshape(len(real), -1)[:, :1]).round().clamp(-128, 127).to(torch.int8))


def test_a_saturated_int8_scale_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = quantize.quantize_linear

    def wrong(linear: nn.Linear, scheme: quantize.Scheme, name: str) -> None:
        real(linear, scheme, name)
        if name == "tower.layers.2.mlp.up_proj":
            saturate(linear, name)

    with monkeypatch.context() as patched:
        patched.setattr(quantize, "quantize_linear", wrong)
        bundle = bundle_of("text_encoder", "xnnpack", "w8")
    found = walk(bundle, only="tower.layers.2")
    assert (found.culprit.name, found.first.name) == ("tower.layers.2", "tower.layers.2")
    assert len(found.culprit.differences) == 2
    assert all(difference.startswith("tower.layers.2.mlp.up_proj.weight") for difference in found.culprit.differences)
    (scales,) = [difference for difference in found.culprit.differences if "(scales)" in difference]
    assert "are 0.0625 times what they should be" in scales
    assert found.culprit.shipped.snr_db < found.floor_db < found.culprit.alone.snr_db


def test_a_block_that_the_backend_refuses_is_named_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    from dreamlite_mobile.errors import ExportError
    from export import xnnpack

    lower = xnnpack.lower

    def refuse(methods: dict, precision: str) -> object:
        if any(isinstance(module, Alone) for module, _ in methods.values()):
            raise ExportError("XNNPACK could not lower forward: no")
        return lower(methods, precision)

    monkeypatch.setattr(xnnpack, "lower", refuse)
    found = walk(sound(), only=LAYER)
    assert found.culprit.name == LAYER and found.culprit.problem == "XNNPACK could not lower forward: no"


def test_a_backend_whose_files_cannot_be_opened_is_exported_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a fault of the file alone shows in its outputs, without a place."""
    monkeypatch.setattr(probe, "probe_of", lambda _: None)
    found = walk(flipped("onnx"))
    assert found.source == "exported again" and "cannot be placed in a block" in found.notes[0]
    assert all(block.cumulative.snr_db > 110 for block in found.blocks) and found.whole.snr_db < 10
    (complaint,) = verdict(found)
    assert "no block is below it when exported afresh: the fault is in the file" in complaint
    (complaint,) = verdict(
        replace(found, blocks=(found.blocks[0], *(replace(b, alone=None) for b in found.blocks[1:])))
    )
    assert "none of the 1 blocks looked at is below it; 8 were left out. Leave out --only" in complaint


def test_only_that_names_no_block_is_refused_with_the_names(run, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"--only: unknown block 'layer5'; known: layers.0, .*Did you mean"):
        walk(sound(), only="layer5")
    monkeypatch.setattr(cli_bisect, "chosen_case", lambda *_: pytest.fail("it began"))
    options = ("--component", "vae_decoder", "--checkpoint", tiny_checkpoint(), "--only", "layer5")
    done = run("bisect", sound().path, *options)
    assert done.code == 1 and "unknown block 'layer5'" in done.err


@pytest.mark.parametrize("component", COMPONENTS)
def test_blocks_are_known_without_weights(component: str) -> None:
    checkpoint = open_checkpoint(tiny_checkpoint())
    geometry = geometry_of(checkpoint.config, prompt_encoder(checkpoint), 64, 64)
    for network in component_methods(checkpoint, component, REFERENCE, geometry, ["generate", "edit"]).values():
        assert block_names(component, checkpoint.config) == [name for name, _ in named_blocks(network)]


@pytest.mark.parametrize("place", ["taken", "nowhere/repro"])
def test_a_place_where_no_repro_can_be_saved_is_refused_before_any_work(
    run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    (tmp_path / "taken").symlink_to(tmp_path / "gone")
    monkeypatch.setattr(cli_bisect, "chosen_case", lambda *_: pytest.fail("it began"))
    options = ("--component", "vae_decoder", "--checkpoint", tiny_checkpoint(), "--save", tmp_path / place)
    done = run("bisect", sound().path, *options)
    assert done.code == 1 and place in done.err


def test_a_low_value_inside_a_network_counts_only_if_its_output_is_low() -> None:
    found, ramp = sound_walk(), np.arange(6.0)
    low = compare(ramp + 0.1, ramp)
    first, *others = found.blocks
    inside = replace(found, blocks=(replace(first, cumulative=low), *others))
    assert (inside.first.name, inside.culprit, verdict(inside)) == (first.name, None, [])
    assert replace(inside, whole=low).culprit.name == first.name


def test_what_disqualifies_a_block_is_in_the_json() -> None:
    """A constant may have any SNR, and what is not finite has none."""
    ramp, found = np.arange(6.0), sound_walk()
    first, second, *others = found.blocks
    first = replace(first, alone=compare(np.full(6, 2.0), ramp))
    second = replace(second, cumulative=compare(ramp * np.inf, ramp))
    spoilt = replace(found, blocks=(first, second, *others), whole=compare(ramp * 0, ramp))
    said = BisectReport.model_validate(bisect_json(spoilt, "b"))
    assert said.blocks[0].defects == ["alone: the result is 2 everywhere"] and said.blocks[0].alone_db is not None
    assert said.blocks[1].defects[0].startswith("cumulative: the result has 6 values") and not said.blocks[2].defects
    assert said.whole_defects == ["the result is 0 everywhere"]
    assert "is no number (the result is 2 everywhere)" not in verdict(found) and "2 everywhere" in verdict(spoilt)[0]


@pytest.mark.parametrize("backend", ["onnx", "xnnpack"])
def test_bytes_that_are_no_program_are_a_bundle_error(backend: str, tmp_path: Path) -> None:
    """Seeded: cut off anywhere, and noise in the first bytes, where the file says what it is."""
    bundle = Bundle(Path(shutil.copytree(flipped(backend).path, tmp_path / "b")), flipped(backend).manifest)
    file = bundle.file(bundle.component("vae_decoder").methods["forward"].file)
    whole, random = np.frombuffer(file.read_bytes(), np.uint8), np.random.default_rng(0)
    damaged = [whole[:end] for end in random.integers(0, len(whole) // 2, 8)]
    damaged += [np.concatenate([random.integers(0, 256, 64, np.uint8), whole[64:]]), whole[:0]]
    reader = read_onnx if backend == "onnx" else lambda path: read_pte(path.read_bytes(), str(path))
    for data in damaged:
        file.write_bytes(data.tobytes())
        with pytest.raises(BundleError, match=r"cannot be (read|taken apart)"):
            reader(file)


@pytest.mark.coreml
def test_a_flipped_sign_in_the_saved_weight_file_of_a_package_is_named_saved_and_repeated(tmp_path: Path) -> None:
    clean = bundle_of("vae_decoder", "coreml", "fp16")
    assert walk(clean).culprit is None
    program = read_program(clean.file(clean.component("vae_decoder").methods["forward"].file))
    (weight,) = [one for one in program.functions["main"].operations if "layers_5_conv_2_weight" in one.outputs[0].name]
    name, offset = weight.attributes["val"].blob
    begin, end = program.weight_file(name).span(offset)
    data = bytearray(program.weight_file(name).path.read_bytes())
    data[begin + 1 : end : 2] = bytes(byte ^ 0x80 for byte in data[begin + 1 : end : 2])
    program.weight_file(name).path.write_bytes(data)
    bench = bench_of(clean)
    found = bisect(bench, LAYER)
    assert (found.source, found.culprit.name, found.first.name, found.worst.name) == ("shipped file", *(LAYER,) * 3)
    (difference,) = found.culprit.differences
    assert difference.startswith(f"{LAYER}.conv.2 (p_layers_5_conv_2_weight") and "have the other sign" in difference
    assert found.culprit.alone.snr_db > 60 and found.culprit.shipped.snr_db < 10
    assert any("is not the file that the manifest lists" in note for note in found.notes)
    folder = write_repro(bench, found, found.culprit, tmp_path / "repro")
    assert run_repro(open_repro(folder)).snr_db == pytest.approx(found.culprit.shipped.snr_db, abs=0.01)
    again = run_repro(open_repro(folder), tmp_path / "again")
    assert again.snr_db == pytest.approx(found.culprit.alone.snr_db, abs=0.01)


@pytest.mark.coreml
def test_a_wrong_eps_in_a_package_is_named() -> None:
    def spoil(network: nn.Module) -> None:
        network.get_submodule("blocks.1.norm2").eps = 0.1

    found = walk(bundle_of("vision_encoder", "coreml", "fp16", spoil=spoil), only="blocks.1")
    assert (found.culprit.name, found.first.name) == ("blocks.1", "blocks.1")
    (difference,) = found.culprit.differences
    assert difference.startswith("blocks.1.norm2 (") and "0.0999756 where 1.01" in difference


@pytest.mark.coreml
def test_compressed_packages_are_opened_too_and_both_methods_of_one() -> None:
    """And the layers of the U-Net that stay in fp16 do so alone as well, by their names."""
    found = walk(bundle_of("unet", "coreml", "w8"), only="down_blocks.0.attentions.0.proj_in")
    assert (found.source, found.culprit, found.elsewhere) == ("shipped file", None, ())
    assert named(found, "down_blocks.0.attentions.0.proj_in").alone.snr_db > 60
    assert sum(block.cumulative is not None for block in found.blocks) > 40
    ends = [block.cumulative.snr_db for block in found.blocks if block.cumulative is not None]
    assert min(ends) > found.floor_db - 3 and found.whole.snr_db > found.floor_db
