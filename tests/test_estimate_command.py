"""`dreamlite estimate` on a bundle whose programs are placeholders: only its manifest is read."""

from pathlib import Path
from typing import Any

import pytest
import small_bundle
from small_bundle import change_manifest, manifest_data, write_bundle

from dreamlite_mobile.components import Geometry
from dreamlite_mobile.config import TINY
from dreamlite_mobile.latency.rates import packaged_rates

GEOMETRY = Geometry(TINY, 96, 64, drop_generate=6, drop_edit=9, states_generate=20, states_edit=90)
TRAFFIC = {"read_bytes": 6 * 10**9, "written_bytes": 0, "spilled_bytes": 0, "filled_bytes": 0}


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of the tiny configuration, whose networks can run."""
    monkeypatch.setattr(small_bundle, "CONFIG", TINY)
    monkeypatch.setattr(small_bundle, "GEOMETRY", GEOMETRY)
    return write_bundle(tmp_path / "bundle")


def compiled(bundle: Path, **changes: Any) -> Path:
    """As if for a Snapdragon; `changes` are component=precision."""
    data = manifest_data(bundle)
    htp = {"soc": "SM8650", "chipset": 57, "architecture": "V75", "vtcm_mb": 8, "qnn_build": "2.49.40.1",
           "shared_weights": True}  # fmt: skip
    data |= {"backend": "qnn", "target": "SM8650", "htp": htp}
    for name, part in data["components"].items():
        part["precision"] = changes.get(name, "fp16")
        for method in part["methods"].values():
            method["traffic"] = TRAFFIC
    change_manifest(bundle, data)
    return bundle


def test_a_compiled_bundle_is_estimated_with_the_compilers_bytes(run, bundle: Path) -> None:
    """6 GB at 60 GB/s of memory are 100 ms a call on SM8650, whatever is computed; the U-Net is called 3 times."""
    found = run("estimate", compiled(bundle), "--steps", 3, "--mode", "generate", "--json")
    assert found.code == 0, found.err
    (one,) = found.data["estimates"]
    stages = {stage["component"]: stage for stage in one["stages"]}
    assert list(stages) == ["text_encoder", "unet", "vae_decoder"] and found.data["soc"] == "SM8650"
    assert stages["unet"]["ms"] == pytest.approx(300, rel=0.01) and stages["unet"]["bytes_from"] == "compiler"
    assert one["ms"] == pytest.approx(500, rel=0.01) and one["share_of_second"] == pytest.approx(0.5, rel=0.01)
    assert one["high_ms"] == pytest.approx(one["ms"] * packaged_rates().spread.high, rel=0.01)
    assert sum(one["parts"].values()) == pytest.approx(one["ms"], rel=0.01)


def test_the_table_says_how_much_of_the_second_each_part_takes(run, bundle: Path) -> None:
    found = run("estimate", compiled(bundle), "--soc", "sm8750")
    assert found.code == 0, found.err
    assert "edit on SM8750, predicted" in found.out and "of a second" in found.out and "vision_encoder" in found.out
    assert "unet x 4" in found.out and "published measurements" in found.err and "not: loading" in found.err
    assert "compiled for SM8650: SM8750 needs an export of its own" in found.err


def test_another_precision_makes_the_compilers_bytes_worthless(run, bundle: Path) -> None:
    found = run("estimate", compiled(bundle), "--precision", "w8a8mix", "--mode", "generate", "--json")
    (one,) = found.data["estimates"]
    assert one["extrapolated"] and {stage["bytes_from"] for stage in one["stages"]} == {"traced"} and one["ms"] < 50


def test_a_bundle_for_the_cpu_needs_a_precision(run, bundle: Path) -> None:
    refused = run("estimate", bundle)
    assert refused.code == 1 and "rates are of Snapdragon's HTP only" in refused.err and "--precision" in refused.err
    found = run("estimate", bundle, "--precision", "w8a16", "--mode", "edit", "--json")
    assert found.code == 0, found.err
    assert {stage["precision"] for stage in found.data["estimates"][0]["stages"]} == {"w8a16"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--soc", "SM8651"), "--soc: unknown SoC 'SM8651'; known: SM8350"),
        (("--soc", "SM8450"), "--soc SM8450: no measurements of it are published"),
        (("--precision", "w8a6"), "--precision: unknown precision 'w8a6'"),
        (("--mode", "paint"), "unknown mode 'paint'"),
        (("--mode", ","), "expected names"),
        (("--steps", 0), "steps: found 0"),
    ],
)
def test_what_cannot_be_estimated_is_refused(run, bundle: Path, arguments: tuple, said: str) -> None:
    found = run("estimate", compiled(bundle), *arguments, "--json")
    assert found.code == 1 and said in found.err and found.out == ""


def test_a_precision_without_rates_is_named(run, bundle: Path) -> None:
    found = run("estimate", compiled(bundle, unet="w4"))
    assert found.code == 1 and "unet is w4, of which no rates are known" in found.err


def test_what_is_no_bundle_is_said(run, tmp_path: Path) -> None:
    assert run("estimate", tmp_path / "nothing").code == 1
    (tmp_path / "manifest.json").write_text("{")
    found = run("estimate", tmp_path)
    assert found.code == 1 and "manifest.json" in found.err and "Traceback" not in found.err
