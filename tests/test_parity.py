"""Bundles against torch and the ONNX referee; a bundle of other weights must fail."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundles import SIZE, exported
from checkpoint_files import tiny_checkpoint
from PIL import Image
from planted import bundle_of
from small_bundle import change_manifest

from dreamlite_mobile.bundle import Bundle, open_bundle
from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.cli import judge as judge_module
from dreamlite_mobile.cli.judge import Judgement, JudgeRequest, judge, referee_for, referee_key
from dreamlite_mobile.cli.report_parts import difference_picture, matrix_of, step_charts
from dreamlite_mobile.cli.reporting import (
    Output,
    check_all,
    page_facts,
    picture_groups,
    report_json,
    show_report,
    write_report,
)
from dreamlite_mobile.cli.shared import labels
from dreamlite_mobile.errors import BundleError, CheckpointError, ParityError
from dreamlite_mobile.parity.numbers import Counts, Layer
from dreamlite_mobile.parity.run import Drawn
from dreamlite_mobile.parity.schema import ParityReport
from dreamlite_mobile.parity.scored import Scored
from dreamlite_mobile.parity.thresholds import check
from dreamlite_mobile.synthetic import make_checkpoint
from dreamlite_mobile.tiny.evaluate import GROUPS, Evaluation
from export.driver import ExportRequest, plan_export, run_export


@pytest.fixture(scope="module")
def fp32() -> Judgement:
    return judge(
        JudgeRequest(
            exported("fp32"), str(tiny_checkpoint()), published=True, referee=exported("fp32", "onnx"), score=1
        )
    )


@pytest.fixture(scope="module")
def w4() -> Judgement:
    return judge(JudgeRequest(exported("w4"), str(tiny_checkpoint()), referee=exported("fp32", "onnx")))


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


def test_the_report_is_as_its_schema_says_and_knows_steps_and_numbers(fp32: Judgement) -> None:
    report = ParityReport.model_validate(report_json([fp32]))
    (bundle,) = report.bundles
    steps = {row.origin for row in bundle.parity if row.component == "unet" and row.origin != "sample"}
    assert steps == {f"run, call {step}" for step in range(1, 5)}
    assert {(one.component, one.method) for one in bundle.numbers} >= {("unet", "generate"), ("text_encoder", "edit")}
    assert all(one.values > 0 and one.peak is not None and one.overflow == 0 for one in bundle.numbers)
    assert len({row.input_digest for row in bundle.parity}) > len(bundle.precision) * 2


def test_the_score_before_and_after_is_in_the_report_and_on_the_page(fp32: Judgement, tmp_path: Path) -> None:
    (bundle,) = ParityReport.model_validate(report_json([fp32])).bundles
    assert [entry.group for entry in bundle.score] == list(GROUPS)
    assert all(entry.pictures == 1 and entry.lost == entry.gained == 0 for entry in bundle.score)
    assert all(entry.before.by_kind == entry.after.by_kind for entry in bundle.score)
    text = write_report(tmp_path / "report.html", [fp32], []).read_text()
    assert "<h2>Score</h2>" in text and "source and result side by side" in text


def test_a_score_that_an_export_loses_fails(fp32: Judgement) -> None:
    """Oracle: the same pictures, two of them said to have been right before."""
    assert fp32.scored is not None
    right = {
        group: [replace(one, judged=replace(one.judged, right=True)) for one in made]
        for group, made in fp32.scored.before.made.items()
    }
    worse = replace(fp32, scored=Scored(Evaluation(right), fp32.scored.after))
    with pytest.raises(ParityError, match="4 of 4 pictures turned wrong"):
        check_all([worse])


def test_the_page_has_a_chart_of_the_steps_and_a_picture_of_the_differences(fp32: Judgement) -> None:
    assert [chart.title.partition(": ")[2] for chart in step_charts(fp32)] == [
        "unet.generate by step",
        "unet.edit by step",
    ]
    assert all(len(chart.positions) == 4 and len(chart.series) == 3 for chart in step_charts(fp32))
    groups = picture_groups(fp32)
    labels = [picture.label for picture in groups[0].pictures]
    assert labels[:3] == ["torch", "onnx", "xnnpack"] and labels[-1].startswith("xnnpack - torch, x")


def test_a_difference_is_shown_where_it_is_and_enlarged() -> None:
    left = Image.new("RGB", (8, 8), (100, 100, 100))
    right = left.copy()
    right.putpixel((2, 3), (100, 97, 100))
    sides = [Drawn(name, "edit", image, np.zeros(1, np.float32), {}) for name, image in (("b", right), ("a", left))]
    picture = difference_picture(*sides)
    assert picture.label == "b - a, x64" and picture.caption.endswith("at most 3 of 255")
    assert picture.image.getpixel((2, 3)) == (0, 192, 0) and picture.image.getpixel((3, 2)) == (0, 0, 0)


def test_a_second_bundle_makes_a_matrix(fp32: Judgement, w4: Judgement) -> None:
    matrix = matrix_of([fp32, w4])
    cells = dict(matrix.rows)["unet.edit velocity"]
    assert matrix.columns == ("xnnpack-fp32 (xnnpack)", "xnnpack-w4 (xnnpack)")
    assert cells[0].text.endswith("/ 100 (fp32)") and cells[1].text.endswith("/ 27 (w8)")
    quantised = [layer for layer in w4.layers if layer.clipped is not None]
    assert {layer.component for layer in quantised} == {"text_encoder", "vision_encoder", "unet"}
    assert all(layer.clipped.weights and layer.clipped.scales for layer in quantised)


def test_the_page_tells_of_every_bundle(fp32: Judgement, w4: Judgement, tmp_path: Path) -> None:
    facts = dict(page_facts([fp32, w4]))
    assert facts["xnnpack-fp32"].startswith("xnnpack (cpu), fp32, 64x64,")
    assert facts["xnnpack-w4"].startswith("xnnpack (cpu), w4/w8/fp32, 64x64,")
    assert dict(page_facts([w4]))["bundle"] == "xnnpack-w4"
    text = write_report(tmp_path / "report.html", [fp32, w4], []).read_text()
    for label in ("xnnpack-fp32", "xnnpack-w4"):
        assert f"<td>{label}: unet." in text and f"{label}: unet.edit: largest number" in text


def test_folders_of_equal_name_are_told_apart(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a/x/bundle", "b/x/bundle", "other", "b/x/../x/bundle")]
    assert labels(paths) == ["a/x/bundle", "b/x/bundle", "other", "b/x/bundle"]


@pytest.mark.parametrize(("backend", "fails"), [("coreml", True), ("qnn", True), ("xnnpack", False), ("onnx", False)])
def test_overflow_of_fp16_fails_the_backends_that_compute_in_it(fp32: Judgement, backend: str, fails: bool) -> None:
    """Whatever their weights are stored in: here every component is said to be fp32."""
    manifest = fp32.bundle.manifest.model_copy(update={"backend": backend})
    layer = Layer("unet", "edit", "conv_in", "Conv2d", Counts(values=4, peak=1e5, overflow=1))
    judgement = Judgement(Bundle(fp32.bundle.path, manifest), fp32.request, "b", layers=[layer])
    assert [text.startswith("unet.edit conv_in (Conv2d): peak 100,000") for text in judgement.number_problems] == (
        [True] if fails else []
    )


def test_bundles_share_a_referee_only_where_it_fits_both(fp32: Judgement) -> None:
    bundle = fp32.bundle
    entries = bundle.manifest.components

    def other(**changes: object) -> Bundle:
        return Bundle(bundle.path, bundle.manifest.model_copy(update=changes))

    same = other(precision="x", components=dict(reversed(entries.items())))
    assert referee_key(same) == referee_key(bundle)
    for unlike in (other(modes=("edit",)), other(components={"unet": entries["unet"]})):
        assert referee_key(unlike) != referee_key(bundle)


def test_a_referee_that_lacks_a_method_is_refused() -> None:
    encoder, decoder = (bundle_of(name, "onnx") for name in ("vae_encoder", "vae_decoder"))
    with pytest.raises(BundleError, match=r"as referee .* it has methods \[\], expected \['vae_encoder.forward'\]"):
        referee_for(encoder, decoder.path)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("nowhere",), "nowhere"),
        (("--blocks", "vae"), "unknown component 'vae'; known: "),
        (("--html", "nowhere/report.html"), "the folder nowhere does not exist"),
        (("--html", "/proc/report.html"), "cannot be written"),
        (("--html", "."), "it is a folder or a device"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    run, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...], message: str
) -> None:
    """A second bundle that is none, an unknown component, a page that cannot be written."""
    monkeypatch.setattr(judge_module, "export_referee", lambda *_: pytest.fail("it began"))
    monkeypatch.setattr(judge_module, "judged", lambda *_: pytest.fail("it began"))
    done = run("parity", exported("fp32"), *more, "--checkpoint", tiny_checkpoint())
    assert done.code == 1 and message in done.err and not done.out


def test_a_report_of_another_checkpoint_is_refused_before_any_work(run, fp32: Judgement, tmp_path: Path) -> None:
    data = report_json([fp32])
    data["bundles"][0]["checkpoint"] = "cd" * 32
    (tmp_path / "earlier.json").write_text(json.dumps(data))
    options = ("--checkpoint", tmp_path / "none", "--against", tmp_path / "earlier.json")
    done = run("parity", exported("fp32"), *options)
    assert done.code == 1 and "is of the checkpoint cdcdcdcdcdcd, but" in done.err


def test_json_against_an_earlier_report_holds_what_changed(capsys, fp32: Judgement, tmp_path: Path) -> None:
    (tmp_path / "earlier.json").write_text(json.dumps(report_json([fp32])))
    show_report([fp32], Output(as_json=True, against=tmp_path / "earlier.json"))
    found = ParityReport.model_validate_json(capsys.readouterr().out)
    assert found.diff is not None and len(found.diff.changes) == len(fp32.rows)
    assert not any(change.regression for change in found.diff.changes) and not found.diff.gone


def test_w4_reaches_its_floors(w4: Judgement) -> None:
    check(w4.rows)
    assert {row.precision for row in w4.rows if row.pair == "xnnpack vs torch"} == {"fp32", "w8", "w4"}


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
