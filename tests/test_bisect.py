"""Faults planted into files and code are found and named. Oracle: the same component without them, and where they were
planted."""

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_files import tiny_checkpoint
from planted import bench_of, bundle_of, named, walk
from torch import nn

from dreamlite_mobile.bundle import Bundle
from dreamlite_mobile.cli.report_parts import verdict
from dreamlite_mobile.errors import BundleError
from dreamlite_mobile.networks import resample
from dreamlite_mobile.parity.bisect import Bisection
from dreamlite_mobile.parity.repro import open_repro, run_repro
from dreamlite_mobile.parity.schema import BisectReport
from export import probe, quantize
from export.pte import read_pte

ROOT = Path(resample.__file__).parents[2]
START = "from dreamlite_mobile.cli import main; main()"
LAYER = "layers.5"
"""The block of the decoder that faults are planted into: a residual block in its middle."""


def negate(network: nn.Module) -> None:
    network.get_submodule(f"{LAYER}.conv.2").weight.data.neg_()


@cache
def flipped(backend: str) -> Bundle:
    return bundle_of("vae_decoder", backend, spoil=negate)


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
    assert found.culprit.shipped.snr_db < found.floor_db < found.culprit.alone.snr_db


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
        if any(getattr(module, "block", None) is not None for module, _ in methods.values()):
            raise ExportError("XNNPACK could not lower forward: no")
        return lower(methods, precision)

    monkeypatch.setattr(xnnpack, "lower", refuse)
    found = walk(sound(), only=LAYER)
    assert found.culprit.name == LAYER and found.culprit.problem == "XNNPACK could not lower forward: no"


def test_a_backend_whose_files_cannot_be_opened_is_exported_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a fault of the file alone shows in its outputs, without a place."""
    monkeypatch.setattr(probe, "probe_of", lambda _: None)
    found = walk(flipped("onnx"), only="none of them")
    assert found.source == "exported again" and "cannot be placed in a block" in found.notes[0]
    assert all(block.cumulative.snr_db > 110 for block in found.blocks) and found.whole.snr_db < 10
    (complaint,) = verdict(found)
    assert "no block is below it when exported afresh: the fault is in the file" in complaint


def dreamlite(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", START, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        timeout=1200,
    )


def test_what_the_command_finds_it_saves_and_the_repro_shows_the_same_number_in_a_process_of_its_own(
    tmp_path: Path,
) -> None:
    options = ("--component", "vae_decoder", "--checkpoint", tiny_checkpoint(), "--input", "sample", "--only", LAYER)
    places = ("--save", tmp_path / "repro", "--html", tmp_path / "page.html")
    done = dreamlite("bisect", flipped("xnnpack").path, *options, *places, "--json")
    assert done.returncode == 3 and f"vae_decoder.forward: {LAYER} (Block) is at " in done.stderr
    found = BisectReport.model_validate_json(done.stdout)
    assert (found.culprit, found.first, found.worst, found.repro) == (LAYER, LAYER, LAYER, str(tmp_path / "repro"))
    assert "have the other sign" in (tmp_path / "page.html").read_text()
    files = {path.name for path in (tmp_path / "repro").iterdir()}
    assert {"inputs.npz", "weights.safetensors", "block.pte", "repro.json", "manifest.json"} <= files
    said = json.loads((tmp_path / "repro" / "repro.json").read_text())
    assert (said["block"], said["kind"]) == (LAYER, "Block") and said["versions"]["executorch"]
    repeated = dreamlite("repro", tmp_path / "repro", "--json")
    assert repeated.returncode == 3 and "below the floor of 100 dB" in repeated.stderr
    (block,) = [block for block in found.blocks if block.block == LAYER]
    assert json.loads(repeated.stdout)["snr_db"] == pytest.approx(block.shipped_db, abs=0.01)
    again = run_repro(open_repro(tmp_path / "repro"), tmp_path / "again")
    assert again.snr_db == pytest.approx(block.alone_db, abs=0.5)


def test_a_folder_that_is_no_repro_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a repro"):
        open_repro(tmp_path)
