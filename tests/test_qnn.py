"""HTP files in fp16: compiled for the Xiaomi 14's chip, run on the emulator, held to torch."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from checkpoint_files import tiny_checkpoint
from outcome import Outcome
from PIL import Image
from qnn_runs import SIZE, bundle, check_planned, compiled, dreamlite, parity, python, said

from dreamlite_mobile import bundle_files
from dreamlite_mobile.bundle import open_bundle
from dreamlite_mobile.cli.export import cutting_of, planned
from dreamlite_mobile.cli.judge import JudgeRequest, judge
from dreamlite_mobile.errors import BundleError, ConfigError
from dreamlite_mobile.runtime.load import load_component

pytestmark = [pytest.mark.qnn, pytest.mark.slow]
SHARDS = 3
CHAINED = """
import json, sys
from pathlib import Path
from export.qnn_sdk import ready
ready()
import numpy as np
from dreamlite_mobile.bundle import open_bundle
from dreamlite_mobile.bundle_checks import geometry
from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.components import component_specs, sample_inputs
from dreamlite_mobile.parity.reference import reference_components
from dreamlite_mobile.runtime.load import load_component

cut, whole = (open_bundle(Path(path)) for path in sys.argv[1:3])
shapes = geometry(cut.manifest)
inputs = sample_inputs(component_specs(shapes, ["generate"], ["unet"])["unet"].methods["generate"], 5)
torch = reference_components(open_checkpoint(Path(sys.argv[3])), shapes, ["generate"])["unet"]
wanted = torch.run("generate", inputs)["velocity"]
found = [load_component(bundle, "unet", emulator=True).run("generate", inputs)["velocity"] for bundle in (cut, whole)]
relative = lambda a, b: float(np.linalg.norm(a - b) / np.linalg.norm(b))
print("SAID" + json.dumps([relative(found[0], wanted), relative(found[1], wanted), relative(*found)]))
"""


def test_a_unet_in_shards_is_as_right_as_in_one_piece_and_is_compiled_once(tmp_path: Path) -> None:
    """Oracle: torch in fp32. The second export finds every shard, though the whole is gone from the cache."""
    asked = ("--emulator", "--components", "unet", "--modes", "generate", "--shards", SHARDS, "--json")
    export = ("export", tiny_checkpoint(), "--backend", "qnn", "--size", SIZE, "--cache", tmp_path / "cache", *asked)
    done = dreamlite(*export, "--out", tmp_path / "cut")
    assert done.code == 0, done.err
    assert all(f"unet shard {index} of {SHARDS}" in done.err for index in range(1, SHARDS + 1))
    assert "the last one" in " ".join(done.err.split()), "a line may be wrapped"
    method = bundle_files.read_manifest(tmp_path / "cut").components["unet"].methods["generate"]
    assert (method.file, *method.then) == tuple(f"unet.{index}.pte" for index in range(1, SHARDS + 1))
    assert method.delegates is not None and method.delegates.count == SHARDS and method.traffic is not None
    parts = [shard.traffic.read_bytes for shard in method.shards if shard.traffic]
    assert len(parts) == SHARDS and sum(parts) == method.traffic.read_bytes
    check_planned(tmp_path / "cut", "unet")
    cut, whole, between = said(CHAINED, tmp_path / "cut", bundle(), tiny_checkpoint())
    assert cut < 4.5e-3 and whole < 4.5e-3 and between < 4.5e-3 and cut < 1.3 * whole
    for piece in (tmp_path / "cache").iterdir():
        if (piece / "unet.1.pte").exists() and (piece / "unet.2.pte").exists():
            shutil.rmtree(piece)
    again = dreamlite(*export, "--out", tmp_path / "again")
    assert again.code == 0 and again.err.count(f"of {SHARDS}") == again.err.count("finished before") == SHARDS
    for name in (method.file, *method.then):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_the_manifest_says_what_the_phone_needs() -> None:
    manifest = bundle_files.read_manifest(bundle())
    assert (manifest.backend, manifest.target) == ("qnn", "SM8650")
    assert manifest.htp is not None
    assert (manifest.htp.architecture, manifest.htp.vtcm_mb, manifest.htp.chipset) == ("V75", 8, 57)
    assert manifest.htp.qnn_build.startswith(f"{manifest.needs.qnn}.")
    assert manifest.needs.executorch == manifest.tools.executorch


def test_every_method_is_one_delegate_with_its_traffic() -> None:
    manifest = bundle_files.read_manifest(bundle())
    methods = [spec for part in manifest.components.values() for spec in part.methods.values()]
    assert len(methods) == 7
    assert all(spec.delegates is not None and spec.delegates.count == 1 for spec in methods)
    assert not any(spec.delegates.operators_outside for spec in methods)
    for spec in methods:
        given = sum(tensor.nbytes for tensor in spec.outputs) // 2
        assert spec.traffic is not None and spec.traffic.written_bytes >= given and spec.traffic.read_bytes > 0
    for name in manifest.components:
        check_planned(bundle(), name)


def test_for_the_phone_both_methods_share_their_weights(tmp_path: Path) -> None:
    """Which the emulator cannot load, and says so."""
    phone = compiled("qnn-phone", "--components", "text_encoder")
    shared, own = bundle_files.read_manifest(phone), bundle_files.read_manifest(bundle())
    assert shared.files["text_encoder.pte"].bytes < 0.6 * own.files["text_encoder.pte"].bytes
    with pytest.raises(BundleError, match=r"share their weights[^.]*\. Export it again with --emulator"):
        judge(JudgeRequest(phone, str(tiny_checkpoint())))


def test_the_emulator_reaches_every_floor() -> None:
    done = parity(bundle())
    assert done.code == 0, done.err
    rows = [row for row in done.data["bundles"][0]["parity"] if "qnn" in row["pair"] and row["precision"] == "fp16"]
    assert {row["component"] for row in rows} >= {
        "text_encoder",
        "vision_encoder",
        "unet",
        "vae_encoder",
        "vae_decoder",
    }
    assert "hundreds of times slower" in done.err


def test_generate_draws_on_the_emulator_when_asked(tmp_path: Path) -> None:
    refused = dreamlite("generate", bundle(), "a red circle", "--out", tmp_path / "a.png")
    assert refused.code == 1 and "is for SM8650" in refused.err and "--emulator" in refused.err
    assert not (tmp_path / "a.png").exists()
    done = dreamlite(
        "generate", bundle(), "a red circle", "--out", tmp_path / "a.png", "--steps", 1, "--emulator", "--json"
    )
    assert done.code == 0, done.err
    assert done.data["steps"] == 1
    assert Image.open(tmp_path / "a.png").size == (SIZE, SIZE)


def test_a_bundle_of_a_newer_qnn_is_refused(tmp_path: Path) -> None:
    newer = tmp_path / "newer"
    shutil.copytree(bundle(), newer)
    manifest = json.loads((newer / "manifest.json").read_text())
    manifest["needs"]["qnn"] = "2.99.0"
    text = json.dumps(manifest)
    (newer / "manifest.json").write_text(text)
    bundle_files.write_manifest(newer, bundle_files.Manifest.model_validate_json(text))
    with pytest.raises(BundleError, match=r"compiled by QNN 2\.99\.0.*QNN_SDK_ROOT"):
        load_component(open_bundle(newer), "unet", emulator=True)


@pytest.mark.parametrize(
    ("options", "cut", "message"),
    [
        ({"soc": "SM8651"}, (), "--soc: unknown SoC 'SM8651'"),
        ({"soc": "SM8350"}, (), "--soc SM8350: its HTP (V68) computes in integers only"),
        ({"precision": "w8"}, (), "text_encoder cannot be 'w8' with this backend; supported: fp16, w8a16, w4a16"),
        ({"precision": "w8a16", "calibration_pictures": 0}, (), "--calibration-pictures 0: expected 1 or more"),
        ({"calibration_pictures": 4}, (), "--calibration-pictures 4: fp16 needs no calibration"),
        ({"backend": "onnx", "calibration_pictures": 4}, (), "4: fp32 needs no calibration; supported: --backend qnn"),
        ({}, ("few", None, None), "--shards few: expected auto or a number"),
        ({}, ("auto", 0, None), "--jobs 0: expected 1 or more"),
        ({}, ("auto", None, "0GB"), "--max-memory 0GB: expected a positive number and a unit"),
    ],
)
def test_what_cannot_be_is_refused_before_work(options: dict[str, Any], cut: tuple[Any, ...], message: str) -> None:
    asked = {"backend": "qnn", "precision": None, "sizes": [str(SIZE)]} | options
    with pytest.raises(ConfigError, match=re.escape(message)):
        planned(str(tiny_checkpoint()), **asked, cutting=cutting_of(*cut, None) if cut else None)


def test_the_command_leaves_nothing_of_what_it_refuses(tmp_path: Path) -> None:
    asked = ("--backend", "qnn", "--size", SIZE, "--soc", "SM8651")
    done = dreamlite("export", tiny_checkpoint(), "--out", tmp_path / "b", *asked)
    assert done.code == 1 and "--soc: unknown SoC 'SM8651'" in done.err and not (tmp_path / "b").exists()


def test_a_soc_means_nothing_to_other_backends(run: Callable[..., Outcome], tmp_path: Path) -> None:
    done = run("export", tiny_checkpoint(), "--out", tmp_path / "b", "--soc", "SM8650", "--size", SIZE)
    assert done.code == 1 and "--soc SM8650: xnnpack files are for every chip" in done.err


GUARD = """
from export.qnn_sdk import ready
ready()
import torch
from dreamlite_mobile.networks import fold
from dreamlite_mobile.networks.form import HTP
from dreamlite_mobile.networks.layers import RMSNorm
from export.qnn import lower
from export.targets import target
norm = RMSNorm(16, 1e-6, HTP)
torch.nn.init.ones_(norm.weight)
lower({"forward": (fold(norm), (torch.randn(1, 24, 8, 16),))}, target("SM8650"))
"""


def test_a_norm_that_the_htp_computes_wrongly_is_refused() -> None:
    done = python(GUARD)
    assert done.code != 0
    assert "RMSNorm rightly on rank 3 only, found rms_norm of [1, 24, 8, 16]" in done.err


PLANTED = """
import json, sys, tempfile
from pathlib import Path
from export.qnn_sdk import ready
ready()
import torch
from dreamlite_mobile.bundle import open_bundle
from dreamlite_mobile.bundle_checks import geometry
from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.cli.judge import bisect_bench
from dreamlite_mobile.components import component_specs
from dreamlite_mobile.networks.layers import RMSNorm
from dreamlite_mobile.parity.bisect import bisect
from dreamlite_mobile.parity.run import sample_cases
from export import qnn

real = RMSNorm.forward

def of_rank_4(norm, x):
    heads = x.shape[1] % 2 == 0 and norm.channels == 32
    return real(norm, x.view(1, -1, 2, norm.channels)).view_as(x) if heads else real(norm, x)

def walk():
    work = Path(tempfile.mkdtemp(dir=sys.argv[3]))
    found = bisect(bisect_bench(bundle, checkpoint, case, work), "tower.layers.1", network=False)
    name = found.culprit and found.culprit.name
    (block,) = [block for block in found.blocks if block.name == "tower.layers.1"]
    return [name, block.alone and block.alone.snr_db, block.problem, found.whole.snr_db]

bundle, checkpoint = open_bundle(Path(sys.argv[1])), open_checkpoint(Path(sys.argv[2]))
specs = component_specs(geometry(bundle.manifest), ["generate"], ["text_encoder"])
(case,) = sample_cases(specs)
said = [walk()]
RMSNorm.forward = of_rank_4
said.append(walk())
qnn.guarded = lambda name, module, inputs: torch.export.export(module, inputs)
said.append(walk())
print("SAID" + json.dumps(said))
"""


def test_a_norm_of_rank_4_is_found_and_named_block_by_block(tmp_path: Path) -> None:
    """Sound code; then norms of rank 4, which the compiler refuses by name; then the same with that guard taken off."""
    sound, guarded, wrong = said(PLANTED, bundle(), tiny_checkpoint(), tmp_path)
    assert sound[0] is None and sound[1] > 48
    assert guarded[0] == "tower.layers.1" and "RMSNorm rightly on rank 3 only" in guarded[2]
    assert wrong[0] == "tower.layers.1" and wrong[1] < 20 and wrong[3] > 48
