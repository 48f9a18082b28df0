"""`dreamlite bench` from push to report: an emulated phone behind a real adb server, whose app runs the very bundle."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
from adb_device.phone import Phone
from adb_device.server import PORT_VARIABLE, Adb, adb_server, attached
from bundles import exported

from dreamlite_mobile.device.report import BenchReport

QUICK = ("--runs", 4, "--warm-up", 1, "--rounds", 2, "--steps", 2)


@pytest.fixture(scope="module")
def adb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adb]:
    with adb_server(tmp_path_factory.mktemp("home")) as server:
        yield server


@pytest.fixture
def phone(adb: Adb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Phone]:
    monkeypatch.setenv(PORT_VARIABLE, str(adb.port))
    made = Phone(tmp_path / "phone")
    with attached(adb, made):
        yield made


def test_a_bundle_is_pushed_run_judged_and_reported(run, phone: Phone, tmp_path: Path) -> None:
    page, table = tmp_path / "bench.html", tmp_path / "bench.csv"
    found = run("bench", exported("fp32"), *QUICK, "--gate", 600, "--json", "--html", page, "--csv", table)
    assert found.code == 0, found.err
    report = BenchReport.model_validate_json(found.out)
    assert [(case.mode, case.warm.runs, case.cold.runs) for case in report.cases] == [
        ("generate", 4, 2),
        ("edit", 4, 2),
    ]
    for case in report.cases:
        assert case.correctness is not None and case.correctness.exact
        assert sum(stage.share for stage in case.stages) == pytest.approx(1, abs=0.25)
        assert case.cold.median > case.rounds[0].result.samples[0].total_ms
    assert len(phone.started) == 4 and report.phone.soc == "SM8650"
    assert "U-Net" not in page.read_text() and "unet step 2" in page.read_text()
    lines = list(csv.DictReader(table.read_text().splitlines()))
    assert {line["stage"] for line in lines} >= {"total", "unet", "vae_decoder", "vae_encoder", "host work"}
