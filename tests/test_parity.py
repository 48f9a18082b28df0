"""Bundles against torch and the ONNX referee; a bundle of other weights must fail."""

import json
import shutil
from pathlib import Path

import pytest
from bundles import SIZE, exported
from checkpoint_files import tiny_checkpoint
from small_bundle import change_manifest

from dreamlite_mobile.bundle import open_bundle
from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.cli.judge import Judgement, JudgeRequest, judge
from dreamlite_mobile.errors import BundleError, CheckpointError, ParityError
from dreamlite_mobile.parity.thresholds import check
from dreamlite_mobile.synthetic import make_checkpoint
from export.driver import ExportRequest, plan_export, run_export


@pytest.fixture(scope="module")
def fp32() -> Judgement:
    return judge(
        JudgeRequest(exported("fp32"), str(tiny_checkpoint()), published=True, referee=exported("fp32", "onnx"))
    )


def test_fp32_reaches_every_floor_against_torch_onnx_and_the_published_pipeline(fp32: Judgement) -> None:
    check(fp32.rows)
    assert {row.pair for row in fp32.rows} == {
        "onnx vs torch",
        "xnnpack vs torch",
        "xnnpack vs onnx",
        "torch vs published",
    }


def test_every_method_is_judged_on_a_sample_and_on_a_real_run(fp32: Judgement) -> None:
    seen = {
        (row.component, row.method, row.origin.split(",")[0]) for row in fp32.rows if row.pair == "xnnpack vs torch"
    }
    manifest = open_bundle(exported("fp32")).manifest
    expected = {(name, method) for name, entry in manifest.components.items() for method in entry.methods}
    for origin in ("sample", "run"):
        assert expected <= {(name, method) for name, method, found in seen if found == origin}


def test_w4_reaches_its_floors() -> None:
    judgement = judge(JudgeRequest(exported("w4"), str(tiny_checkpoint()), referee=exported("fp32", "onnx")))
    check(judgement.rows)
    assert {row.precision for row in judgement.rows if row.pair == "xnnpack vs torch"} == {"fp32", "w8", "w4"}


def test_a_bundle_of_other_weights_fails(tmp_path: Path) -> None:
    """The same graph with one component from another checkpoint, its identity forged."""
    other = open_checkpoint(make_checkpoint("tiny", 1, tmp_path / "other"))
    request = ExportRequest(other, "tiny", "xnnpack", SIZE, SIZE, components=("vae_decoder",))
    folder = run_export(plan_export(request), tmp_path / "bundle").bundle.path
    data = json.loads((folder / "manifest.json").read_text())
    data["checkpoint"]["sha256"] = open_checkpoint(tiny_checkpoint()).identity
    change_manifest(folder, data)
    judgement = judge(JudgeRequest(folder, str(tiny_checkpoint())))
    with pytest.raises(ParityError, match=r"vae_decoder.forward image \(xnnpack vs torch, fp32\): SNR"):
        check(judgement.rows)


def test_another_checkpoint_is_refused(tmp_path: Path) -> None:
    other = make_checkpoint("tiny", 1, tmp_path / "other")
    with pytest.raises(CheckpointError, match="was made from"):
        judge(JudgeRequest(exported("fp32"), str(other)))


def test_a_checkpoint_that_is_not_named_and_was_a_local_folder_is_asked_for(tmp_path: Path) -> None:
    copy = shutil.copytree(exported("fp32"), tmp_path / "copy")
    with pytest.raises(CheckpointError, match="--checkpoint"):
        judge(JudgeRequest(Path(copy)))


def test_a_referee_that_is_no_onnx_bundle_of_the_same_checkpoint_is_refused() -> None:
    with pytest.raises(BundleError, match="as referee .* it has backend xnnpack, expected onnx"):
        judge(JudgeRequest(exported("w4"), str(tiny_checkpoint()), referee=exported("fp32")))
