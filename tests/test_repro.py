"""A block that a bisection saved: repeated in a process of its own, damaged, interrupted before it was there."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pytest
from checkpoint_files import tiny_checkpoint
from planted import LAYER, bench_of, flipped, folder

from dreamlite_mobile.errors import BundleError
from dreamlite_mobile.networks import resample
from dreamlite_mobile.parity.bisect import bisect
from dreamlite_mobile.parity.repro import open_repro, run_repro, write_repro
from dreamlite_mobile.parity.schema import BisectReport

ROOT = Path(resample.__file__).parents[2]
START = "from dreamlite_mobile.cli import main; main()"


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


@cache
def saved_repro() -> Path:
    bench = bench_of(flipped("onnx"))
    found = bisect(bench, LAYER)
    return write_repro(bench, found, found.culprit, folder() / "repro")


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("name", ["block.onnx", "inputs.npz", "weights.safetensors", "manifest.json", "repro.json"])
def test_a_damaged_repro_is_a_bundle_error(tmp_path: Path, name: str, again: bool) -> None:
    """Each file missing, cut off, and of other bytes."""
    for number, change in enumerate((None, lambda data: data[: len(data) // 2], lambda data: b"?" + data[1:])):
        copy = Path(shutil.copytree(saved_repro(), tmp_path / f"repro{number}"))
        data = (copy / name).read_bytes()
        (copy / name).unlink()
        if change is not None:
            (copy / name).write_bytes(change(data))
        with pytest.raises(BundleError, match=r"repro\d"):
            run_repro(open_repro(copy), tmp_path / "work" / str(number) if again else None)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("form", "metal", "unknown form 'metal'; known: coreml, htp"),
        ("block", "layers.99", "unknown block 'layers.99'; known: layers.0"),
        ("component", "vae", "unknown component 'vae'; known: vae_decoder"),
        ("given", [False], "its weights are not those of layers.5"),
        ("version", 1, "is a repro of version 1; supported: 2"),
        ("files", {}, "lacks block.onnx"),
    ],
)
def test_a_repro_that_says_what_cannot_be_is_refused(tmp_path: Path, key: str, value: object, message: str) -> None:
    copy = Path(shutil.copytree(saved_repro(), tmp_path / "repro"))
    said = json.loads((copy / "repro.json").read_text()) | {key: value}
    (copy / "repro.json").write_text(json.dumps(said))
    with pytest.raises(BundleError, match=message):
        run_repro(open_repro(copy), None if key == "files" else tmp_path / "again")


def test_ctrl_c_leaves_nothing_and_says_130(tmp_path: Path) -> None:
    """Interrupted while it walks: no repro, no page, no temporary folder."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    options = ("--component", "vae_decoder", "--checkpoint", tiny_checkpoint(), "--input", "sample")
    places = ("--save", tmp_path / "repro", "--html", tmp_path / "page.html")
    process = subprocess.Popen(
        [sys.executable, "-c", START, *map(str, ("bisect", flipped("onnx").path, *options, *places))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(scratch)},
    )
    deadline = time.monotonic() + 300
    while not list(scratch.glob("dreamlite-blocks-*/layers.*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130 and not out and b"Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["scratch"]
    assert not [path for path in scratch.iterdir() if path.name.startswith("dreamlite")]
