"""The ceiling on memory: how it is written, and that an exporter with its workers stays below. Oracle: the kernel."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bundles import SIZE
from checkpoint_files import tiny_checkpoint

from benchmarks.resumed_export import digests
from dreamlite_mobile.errors import ConfigError
from export.memory import descendants, held_bytes, parse_memory, tree_bytes

SMALL = "vision_encoder,vae_encoder,vae_decoder"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("12GB", 12 * 10**9), ("12 gb", 12 * 10**9), ("1.5GiB", 3 * 2**29), ("800MB", 8 * 10**8), ("1MiB", 2**20)],
)
def test_a_ceiling_is_a_number_and_a_unit(text: str, expected: int) -> None:
    assert parse_memory(text) == expected


@pytest.mark.parametrize("text", ["12", "GB", "0GB", "-1GB", "1e3MB", "12GBs", "12 KB", "", "nanGB"])
def test_other_ceilings_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--max-memory .*expected a positive number and a unit \(MB, GB, MiB, GiB\)"):
        parse_memory(text)


def test_a_tree_is_a_process_with_all_it_started() -> None:
    shell = subprocess.Popen(["sh", "-c", "sleep 60 & sleep 60 & wait"])
    try:
        while len(descendants(shell.pid)) < 3:
            time.sleep(0.01)
        assert tree_bytes(shell.pid) == sum(map(held_bytes, descendants(shell.pid))) > held_bytes(shell.pid) > 0
        assert shell.pid in descendants(os.getpid())
    finally:
        for pid in reversed(descendants(shell.pid)):
            os.kill(pid, 9)
        shell.wait()


def watched(out: Path, *options: str) -> tuple[int, str, int]:
    """An export of small components in a process of its own: exit code, what it said, the peak of its tree."""
    command = [sys.executable, "-c", "from dreamlite_mobile.cli import main; main()", "export", str(tiny_checkpoint())]
    command += ["--out", str(out), "--backend", "onnx", "--size", str(SIZE), "--components", SMALL, *options]
    peak = 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while process.poll() is None:
        peak = max(peak, tree_bytes(process.pid))
        time.sleep(0.02)
    return process.returncode, process.communicate()[1], peak


def own_bytes(folder: Path) -> int:
    """What the exporter holds by itself, as it says when that is refused: more where it shares less with others."""
    _, said, _ = watched(folder / "refused", "--max-memory", "150MB")
    found = re.search(r"the exporter itself holds ([\d.]+) GB", said)
    assert found, said
    return int(float(found[1]) * 1e9)


def megabytes(volume: int) -> str:
    return f"{volume // 10**6}MB"


def test_workers_are_planned_to_stay_below_the_ceiling(tmp_path: Path) -> None:
    """Three at a time where there is room; within 600 MB beside the exporter as many as fit, and the same bytes."""
    ceiling = own_bytes(tmp_path) + 600_000_000
    code, said, roomy = watched(tmp_path / "roomy", "--jobs", "3")
    assert code == 0, said
    code, said, capped = watched(tmp_path / "capped", "--jobs", "3", "--max-memory", megabytes(ceiling))
    assert code == 0, said
    assert capped <= ceiling and roomy > capped + 150_000_000, (roomy, capped)
    assert digests(tmp_path / "capped") == digests(tmp_path / "roomy")


def test_a_component_that_needs_more_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    ceiling = own_bytes(tmp_path) + 250_000_000
    code, said, peak = watched(tmp_path / "bundle", "--max-memory", megabytes(ceiling))
    assert code == 1 and "with the exporter it holds" in said and "Traceback" not in said, said
    assert not list(tmp_path.iterdir())
    assert peak <= ceiling


def test_a_ceiling_below_the_exporter_itself_is_refused(tmp_path: Path) -> None:
    code, said, _ = watched(tmp_path / "bundle", "--max-memory", "150MB")
    assert code == 1 and "--max-memory 0.15 GB: the exporter itself holds" in said
    assert not list(tmp_path.iterdir())
