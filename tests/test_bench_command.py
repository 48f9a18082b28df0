"""`dreamlite bench` from push to report: an emulated phone behind a real adb server, whose app runs the very bundle."""

import csv
import shutil
from base64 import b64encode
from pathlib import Path

import pytest
from adb_device.phone import Phone
from bundles import exported
from checkpoint_files import tiny_checkpoint
from PIL import Image
from sized_bundle import SECOND, second_size, two_sizes
from small_bundle import change_manifest, manifest_data

from dreamlite_mobile.device.link import Link
from dreamlite_mobile.device.report import BenchReport, read_report
from dreamlite_mobile.synthetic import make_checkpoint

pytestmark = pytest.mark.usefixtures("plugged")
QUICK = ("--runs", 4, "--warm-up", 1, "--rounds", 2, "--steps", 2)


def test_a_bundle_is_pushed_run_judged_and_reported(run, phone: Phone, tmp_path: Path) -> None:
    page, table = tmp_path / "bench.html", tmp_path / "bench.csv"
    found = run("bench", exported("fp32"), *QUICK, "--gate", 600, "--json", "--html", page, "--csv", table)
    assert found.code == 0, found.err
    report = BenchReport.model_validate_json(found.out)
    assert [(case.mode, case.warm.runs, case.cold.runs) for case in report.cases] == [
        ("generate", 4, 2),
        ("edit", 4, 2),
    ]
    assert report.phone.fingerprint and report.host_tools["executorch"] and report.adb.startswith("server 1.0.")
    for case in report.cases:
        assert case.correctness is not None and case.correctness.exact
        assert sum(stage.share for stage in case.stages) == pytest.approx(1, abs=0.25)
        assert case.peak_pss_bytes == max(one.result.peak_pss_bytes for one in case.rounds) > 10 << 20
        samples = [sample for one in case.rounds for sample in one.result.samples]
        assert [sample.kind for sample in samples] == 2 * ["first", "warm_up", "timed", "timed"]
        assert all(sample.cpu_khz and sample.conditions.thermal_status == 0 for sample in samples)
        assert case.cold.median > case.rounds[0].result.samples[0].total_ms
    assert len(phone.started) == 4 and report.phone.soc == "SM8650"
    assert "U-Net" not in page.read_text() and "unet step 2" in page.read_text()
    lines = list(csv.DictReader(table.read_text().splitlines()))
    totals = [float(line["total_ms"]) for line in lines if line["stage"] == "total"]
    assert totals == [one.total_ms for case in report.cases for rnd in case.rounds for one in rnd.result.samples]
    assert {line["stage"] for line in lines} >= {"total", "unet", "vae_decoder", "vae_encoder", "host work"}


ONCE = ("--runs", 1, "--warm-up", 0, "--rounds", 1, "--steps", 1, "--mode", "generate")


def test_a_median_over_the_gate_exits_with_3_and_leaves_its_report(run, phone: Phone, tmp_path: Path) -> None:
    phone.faults.slow = 0.3
    page = tmp_path / "a.html"
    found = run("bench", exported("fp32"), *ONCE, "--gate", 0.2, "--save", tmp_path, "--html", page)
    assert found.code == 3 and "over the limit of 0.2 s" in found.err and "most of it in host work" in found.err
    (kept,) = tmp_path.glob("bench-emulated-xnnpack-fp32-*.json")
    assert read_report(kept).gate_passed is False
    assert "over the limit" in page.read_text() and "unet step 1" in found.out


def test_a_wrong_picture_fails_however_fast_and_is_kept(run, phone: Phone, tmp_path: Path) -> None:
    """Beside the result file, and on the page beside the one that the host drew."""
    phone.faults.wrong_picture = True
    page = tmp_path / "a.html"
    found = run("bench", exported("fp32"), *ONCE, "--gate", 600, "--save", tmp_path, "--html", page)
    assert found.code == 3 and "wrong pictures" in found.err and "the floor is 50 dB" in found.err
    (result,), (picture,) = tmp_path.glob("bench-*.json"), tmp_path.glob("bench-*.png")
    assert picture.name == f"{result.stem}.1-generate.png"
    kept = picture.read_bytes()
    assert Image.open(picture).size == (64, 64) and b64encode(kept).decode() in page.read_text()
    assert page.read_text().count("data:image/png;base64,") == 2


def test_a_bundle_of_two_sizes_is_measured_in_the_one_asked_for(run) -> None:
    found = run("bench", two_sizes(), *ONCE, "--size", "64x96", "--json")
    assert found.code == 0, found.err
    report = BenchReport.model_validate_json(found.out)
    assert (report.bundles[0].width, report.bundles[0].height) == SECOND
    (case,) = report.cases
    assert case.correctness is not None and case.correctness.exact
    assert [load.method for load in case.rounds[0].result.load] == ["generate", "generate_64x96", "forward_64x96"]


def test_what_the_phone_does_is_flagged(run, phone: Phone) -> None:
    phone.state.charging, phone.state.busy, phone.state.thermal = True, 0.5, [0, 0, 2]
    found = run("bench", exported("fp32"), *ONCE, "--cool-down", 0, "--unchecked")
    assert found.code == 0, found.err
    assert all(kind in found.out for kind in ("throttling", "charging", "background", "emulated", "not compared"))


def test_a_crash_of_the_app_is_one_line_and_the_log(run, phone: Phone) -> None:
    phone.faults.crash = True
    found = run("bench", exported("fp32"), *ONCE, "--json")
    assert found.code == 1 and found.out == "" and "ended before it was done" in found.err and "SIGSEGV" in found.err


def test_a_phone_that_another_benchmark_uses_is_left_alone(run, phone: Phone, link: Link) -> None:
    """Nor is it cleaned under it."""
    from dreamlite_mobile.device.occupied import occupied

    with occupied(link):
        for command in (("bench", exported("fp32"), *ONCE, "--unchecked"), ("devices", "--clean")):
            found = run(*command)
            assert found.code == 1 and "another benchmark uses it" in found.err
    assert not phone.started and phone.faults.taken == 0


def test_a_phone_without_room_is_said_before_pushing(run, phone: Phone) -> None:
    phone.storage.capacity = phone.storage.used() + 1000
    found = run("bench", exported("fp32"), *ONCE)
    assert found.code == 1 and "MB of free storage" in found.err and phone.faults.taken == 0


def test_a_sustained_run_is_told_by_the_minute(run, phone: Phone) -> None:
    """3 seconds in one process a mode, though two rounds were asked for; more runs than were asked for."""
    found = run(
        "bench", exported("fp32"), *ONCE, "--runs", 2, "--rounds", 2, "--sustained", 0.05, "--unchecked", "--json"
    )
    assert found.code == 0, found.err
    report = BenchReport.model_validate_json(found.out)
    (case,) = report.cases
    assert len(phone.started) == 1 and report.method.sustain_s == 3 and len(case.sustained) == 1
    samples = case.rounds[0].result.samples
    assert len(case.warm_ms) > 1 and samples[-1].begin_ms + samples[-1].total_ms - samples[0].begin_ms >= 3000


def copied(folder: Path) -> Path:
    """The exported bundle in another folder."""
    shutil.copytree(exported("fp32"), folder)
    return folder


def test_a_report_does_not_go_into_a_bundle_or_over_another(run, phone: Phone, tmp_path: Path) -> None:
    bundle = copied(tmp_path / "bundle")
    before = sorted(bundle.rglob("*"))
    for option in ("--html", "--csv"):
        inside = run("bench", bundle, *ONCE, option, bundle / "r.out")
        assert inside.code == 1 and f"{option} {bundle}/r.out: lies in the bundle" in inside.err
    same = run("bench", bundle, *ONCE, "--html", tmp_path / "r", "--csv", tmp_path / "x/../r")
    assert same.code == 1 and "--html and --csv both name" in same.err
    assert sorted(bundle.rglob("*")) == before and not phone.started


def test_two_bundles_of_one_name_take_turns(run, phone: Phone, tmp_path: Path) -> None:
    """In the second round the other one is first, as their clocks tell."""
    bundles = copied(tmp_path / "old/bundle"), copied(tmp_path / "new/bundle")
    found = run("bench", *bundles, *ONCE, "--runs", 2, "--rounds", 2, "--json")
    assert found.code == 0, found.err
    report = BenchReport.model_validate_json(found.out)
    assert [bundle.name for bundle in report.bundles] == ["old/bundle", "new/bundle"]
    begun = {(case.bundle, number): one.result.begin.monotonic_ms
             for case in report.cases for number, one in enumerate(case.rounds)}  # fmt: skip
    order = [("old/bundle", 0), ("new/bundle", 0), ("new/bundle", 1), ("old/bundle", 1)]
    assert sorted(begun, key=begun.__getitem__) == order and len(phone.started) == 4


def test_a_bundle_is_measured_once(run, phone: Phone) -> None:
    found = run("bench", exported("fp32"), exported("fp32"), *ONCE)
    assert found.code == 1 and "is named twice" in found.err and not phone.started


def test_a_checkpoint_is_the_reference_in_torch(run, phone: Phone) -> None:
    found = run("bench", exported("fp32"), *ONCE, "--checkpoint", tiny_checkpoint(), "--json")
    assert found.code == 0, found.err
    right = BenchReport.model_validate_json(found.out).cases[0].correctness
    assert right is not None and right.reference == "torch fp32 on this machine"
    assert right.passed and (right.exact or (right.psnr_db or 0) > right.floor_db)


@pytest.mark.parametrize(
    ("named", "said"),
    [("/nowhere/checkpoint", "/nowhere/checkpoint"), ("other", "Name the checkpoint it was made from")],
)
def test_another_checkpoint_is_refused_before_pushing(run, phone: Phone, tmp_path: Path, named: str, said: str) -> None:
    if named == "other":
        named = str(make_checkpoint("tiny", 1, tmp_path / "other"))
    found = run("bench", exported("fp32"), *ONCE, "--checkpoint", named)
    assert found.code == 1 and said in found.err and phone.faults.taken == 0


def test_bundles_of_two_sizes_are_measured_together(run, phone: Phone, tmp_path: Path) -> None:
    """Each edits a picture of its own size and is judged by its own; the times are shown, not compared."""
    place = tmp_path / "kept"
    place.mkdir()
    once = (*ONCE[:-1], "edit")
    found = run("bench", exported("fp32"), second_size(), *once, "--save", place)
    assert found.code == 0, found.err
    (kept,) = place.glob("*.json")
    report = read_report(kept)
    assert [(case.bundle, case.correctness and case.correctness.exact) for case in report.cases] == [
        (exported("fp32").name, True), (second_size().name, True)
    ]  # fmt: skip
    assert [(bundle.width, bundle.height) for bundle in report.bundles] == [(64, 64), SECOND]
    assert [Image.open(path).size for path in sorted(place.glob("*.png"))] == [(64, 64), SECOND]
    assert f"{second_size().name}: draws 64x96" in found.out + found.err


def for_snapdragon(folder: Path, soc: str) -> Path:
    """The bundle as if compiled in fp16 for a chip; the emulated phone runs its programs as they are."""
    data = manifest_data(copied(folder))
    htp = {"soc": soc, "chipset": 57, "architecture": "V75", "vtcm_mb": 8, "qnn_build": "2.49.40.1",
           "shared_weights": True}  # fmt: skip
    data |= {"backend": "qnn", "target": soc, "htp": htp, "needs": data["needs"] | {"qnn": "2.49.40"}}
    for part in data["components"].values():
        part["precision"] = "fp16"
    change_manifest(folder, data)
    return folder


def test_a_bundle_for_the_phones_chip_is_judged_by_its_checkpoint(run, phone: Phone, tmp_path: Path) -> None:
    bundle = for_snapdragon(tmp_path / "bundle", "SM8650")
    found = run("bench", bundle, *ONCE, "--checkpoint", tiny_checkpoint(), "--save", tmp_path, "--json")
    assert found.code == 0, found.err
    report = BenchReport.model_validate_json(found.out)
    (case,) = report.cases
    assert (report.bundles[0].backend, report.bundles[0].target) == ("qnn", "SM8650")
    assert case.correctness is not None and case.correctness.passed and case.correctness.floor_db == 55
    assert case.rounds[0].result.bundle_sha256 == report.bundles[0].sha256
    assert list(tmp_path.glob("bench-emulated-qnn-fp16-*.json")) and len(phone.started) == 1
    phone.faults.wrong_picture = True
    wrong = run("bench", bundle, *ONCE, "--checkpoint", tiny_checkpoint())
    assert wrong.code == 3 and "against torch fp32 on this machine, the floor is 55 dB" in wrong.err


def test_a_bundle_for_another_chip_is_refused_before_pushing(run, phone: Phone, tmp_path: Path) -> None:
    bundle = for_snapdragon(tmp_path / "bundle", "SM8550")
    found = run("bench", bundle, *ONCE, "--checkpoint", tiny_checkpoint())
    assert found.code == 1 and "compiled for SM8550" in found.err and "--soc SM8650" in found.err
    assert phone.faults.taken == 0 and not phone.started


def test_a_bundle_for_a_chip_needs_a_checkpoint_to_be_judged(run, phone: Phone, tmp_path: Path) -> None:
    found = run("bench", for_snapdragon(tmp_path / "bundle", "SM8650"), *ONCE)
    assert found.code == 1 and "--checkpoint, or pass --unchecked" in found.err and phone.faults.taken == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--mode", "paint"), "unknown mode 'paint'"),
        (("--steps", 0), "steps: found 0"),
        (("--prompt", ""), "prompt: empty"),
        (("--seed", -1), "seed: found -1"),
        (("--mode", ","), "--mode: found ','"),
        (("--runner", "/nowhere/executor_runner", "--gate", "1"), "--gate is for whole pictures"),
        (("--runner", "/nowhere/executor_runner", "--checkpoint", "tiny"), "--checkpoint is for whole pictures"),
        (("--runner", "/nowhere/executor_runner", "--sustained", "1"), "--sustained is for whole pictures"),
        (("--runner", "/nowhere/executor_runner", "--picture", "a.png"), "--picture is for whole pictures"),
        (("--html", "/nowhere/a.html"), "does not exist"),
        (("--save", "/nowhere"), "is no folder"),
        (("--runner", "/nowhere/executor_runner"), "found 0 binaries"),
        (("--serial", "nobody"), "unknown phone 'nobody'"),
    ],
)
def test_what_cannot_work_is_refused(run, phone: Phone, arguments: tuple, message: str) -> None:
    found = run("bench", exported("fp32"), *arguments)
    assert found.code == 1 and message in found.err and not phone.started


@pytest.mark.parametrize("found", ["inf", "nan"])
@pytest.mark.parametrize("option", ["--gate", "--cool-down", "--limit", "--sustained"])
def test_times_without_end_are_wrong_usage(run, phone: Phone, option: str, found: str) -> None:
    found = run("bench", exported("fp32"), *ONCE, option, found)
    assert found.code == 2 and option in found.err and not phone.started


def test_what_was_pushed_is_removed_by_the_command(run, phone: Phone) -> None:
    assert run("bench", exported("fp32"), *ONCE, "--unchecked").code == 0
    found = run("devices", "--clean", "--json")
    assert found.code == 0 and any("/bundles/" in folder for folder in found.data["cleaned"])
    assert not phone.storage.host("/data/local/tmp/dreamlite").exists()
