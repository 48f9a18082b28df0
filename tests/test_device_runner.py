"""Components through a runner binary of one's own: what is measured, what is flagged, every way it can go wrong."""

import csv
import time
from pathlib import Path

import pytest
from adb_device import runner as binary
from adb_device.phone import Phone
from adb_device.shell import Call
from bundles import exported

from dreamlite_mobile.device.company import WINDOW_S
from dreamlite_mobile.device.comparison import TOO_FEW, compare_reports
from dreamlite_mobile.device.link import Link, Output
from dreamlite_mobile.device.report import BenchReport, read_report

pytestmark = pytest.mark.usefixtures("plugged")
BOTH = ("executor_runner", "qnn_executor_runner")
GENERATE = ("--mode", "generate", "--warm-up", 1, "--runs", 2, "--rounds", 1)


def built(folder: Path, name: str) -> Path:
    """What the emulated phone takes for an ELF file."""
    path = folder / name
    path.write_bytes(b"\x7fELF")
    return path


@pytest.mark.parametrize("name", BOTH)
def test_components_run_through_a_binary_of_ones_own(run, phone: Phone, tmp_path: Path, name: str) -> None:
    found = run("bench", exported("fp32"), "--runs", 4, "--rounds", 2, "--runner", built(tmp_path, name), "--json")
    assert found.code == 0, found.err
    report = BenchReport.model_validate_json(found.out)
    assert len(report.components) == 7 and all(part.passed for part in report.components)
    for part in report.components:
        assert part.first_ms > 0 and part.warm.median > 0 and len(part.rounds) == 2
        assert (part.warm.runs, part.runs_a_sample) == ((2, 4) if name == "executor_runner" else (4, 1))
        assert part.rounds[0].before.conditions.thermal_status == 0
    assert run("devices", "--clean").code == 0
    assert not phone.storage.host("/data/local/tmp/dreamlite").exists()


def test_only_what_the_mode_needs_is_run_and_written_down(run, phone: Phone, tmp_path: Path) -> None:
    table, page = tmp_path / "a.csv", tmp_path / "a.html"
    options = ("--runner", built(tmp_path, "qnn_executor_runner"), "--csv", table, "--html", page, "--save", tmp_path)
    found = run("bench", exported("fp32"), *GENERATE, *options)
    assert found.code == 0, found.err
    (kept,) = tmp_path.glob("bench-*.json")
    methods = [f"{part.component}.{part.method}" for part in read_report(kept).components]
    assert methods == ["text_encoder.generate", "unet.generate", "vae_decoder.forward"]
    lines = list(csv.DictReader(table.read_text().splitlines()))
    assert [(line["stage"], line["kind"]) for line in lines[:3]] == [
        (methods[0], "first"), (methods[0], "timed"), (methods[0], "timed")
    ]  # fmt: skip
    assert all(name in page.read_text() for name in methods)


def test_parts_take_turns(run, phone: Phone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the second round the last one is first."""
    order: list[str] = []
    run_qnn = binary.run_qnn

    def noted(call: Call, model: Path, options: dict[str, str]) -> int:
        order.append(options["output_folder_path"].split("/")[1])
        return run_qnn(call, model, options)

    monkeypatch.setattr(binary, "run_qnn", noted)
    options = ("--mode", "generate", "--runs", 2, "--rounds", 2, "--runner", built(tmp_path, "qnn_executor_runner"))
    assert run("bench", exported("fp32"), *options).code == 0
    parts = ["text_encoder.generate", "unet.generate", "vae_decoder.forward"]
    assert order == [*parts, *parts[::-1]]


def test_rounds_can_tell_a_difference(run, phone: Phone, tmp_path: Path) -> None:
    """Four processes on each side, through the runner of the HTP too."""
    options = ("--mode", "generate", "--runs", 4, "--rounds", 4, "--runner", built(tmp_path, "qnn_executor_runner"))
    found = run("bench", exported("fp32"), *options, "--warm-up", 0, "--unchecked", "--json")
    report = BenchReport.model_validate_json(found.out)
    rows, _ = compare_reports(report, report)
    assert len(rows) == 3 and {row.verdict for row in rows}.isdisjoint({TOO_FEW})


def test_heat_cable_and_company_are_flagged(run, phone: Phone, tmp_path: Path) -> None:
    phone.state.charging, phone.state.busy, phone.state.thermal = True, 0.5, [0, 0, 2]
    options = ("--runner", built(tmp_path, "qnn_executor_runner"), "--cool-down", 0, "--unchecked")
    found = run("bench", exported("fp32"), *GENERATE, *options)
    assert found.code == 0, found.err
    assert all(kind in found.out for kind in ("throttling", "charging", "background", "emulated"))
    assert "unet.generate: round 1: thermal status moderate" in found.err.replace("\n", " ")


@pytest.mark.parametrize(("storm", "flagged"), [(0.0, False), (0.5, True)])
def test_a_storm_while_it_runs_is_flagged(run, phone: Phone, tmp_path: Path, storm: float, flagged: bool) -> None:
    """All is calm before and after it; the binary's own 40 % of the CPUs are no storm."""
    phone.state.storm, phone.faults.slow = storm, WINDOW_S + 1.5
    options = ("--runner", built(tmp_path, "qnn_executor_runner"), "--unchecked", "--json")
    found = run("bench", exported("fp32"), *GENERATE, *options)
    assert found.code == 0, found.err
    for part in BenchReport.model_validate_json(found.out).components:
        assert part.rounds[0].others_share == pytest.approx(0.02 + storm, abs=0.02)
        assert ("background" in {flag.kind for flag in part.flags}) == flagged


def test_a_runner_that_fails_says_what_it_printed(run, phone: Phone, tmp_path: Path) -> None:
    phone.faults.crash = True
    found = run("bench", exported("fp32"), *GENERATE, "--runner", built(tmp_path, "executor_runner"))
    assert found.code == 1 and "executor_runner ended with 139" in found.err


def test_a_runner_that_never_ends_is_stopped_on_the_phone(run, phone: Phone, tmp_path: Path) -> None:
    phone.faults.hang = True
    begin = time.monotonic()
    runner = built(tmp_path, "executor_runner")
    found = run("bench", exported("fp32"), *GENERATE, "--runner", runner, "--limit", 1)
    assert found.code == 1 and "was not done after 1 s and was stopped" in found.err
    assert time.monotonic() - begin < 60


def test_ctrl_c_stops_the_binary(run, phone: Phone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or it would work on, and heat the phone, until its limit."""
    shell, asked = Link.shell, []

    def interrupted(link: Link, command: str, patience_s: float | None = None) -> Output:
        asked.append(command)
        if "timeout" in command:
            phone.running = "executor_runner"
            raise KeyboardInterrupt
        return shell(link, command, patience_s)

    monkeypatch.setattr(Link, "shell", interrupted)
    found = run("bench", exported("fp32"), *GENERATE, "--runner", built(tmp_path, "executor_runner"))
    assert found.code == 130 and "kill 4711" in asked


def test_outputs_of_an_earlier_bench_are_not_taken_for_this_one(
    run, phone: Phone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second binary prints times and writes nothing."""
    options = ("--runner", built(tmp_path, "qnn_executor_runner"), "--unchecked")
    assert run("bench", exported("fp32"), *GENERATE, *options).code == 0
    run_qnn = binary.run_qnn

    def silent(call: Call, model: Path, options: dict[str, str]) -> int:
        with monkeypatch.context() as patch:
            patch.setattr(phone.storage, "write", lambda *_: None)
            return run_qnn(call, model, options)

    monkeypatch.setattr(binary, "run_qnn", silent)
    again = run("bench", exported("fp32"), *GENERATE, *options)
    assert again.code == 1 and "output_0_0.raw cannot be read" in again.err.replace("\n", " ")


def test_threads_are_passed_on(run, phone: Phone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []
    run_plain = binary.run_plain

    def noted(call: Call, model: Path, options: dict[str, str]) -> int:
        seen.append(options.get("cpu_threads"))
        return run_plain(call, model, options)

    monkeypatch.setattr(binary, "run_plain", noted)
    options = ("--runner", built(tmp_path, "executor_runner"), "--threads", 3, "--unchecked")
    assert run("bench", exported("fp32"), *GENERATE, *options).code == 0
    assert seen and set(seen) == {"3"}
