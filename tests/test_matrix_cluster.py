"""`export-matrix --address` on real Ray clusters of this machine: heads and nodes as `ray start` makes them."""

import contextlib
import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import ANY

import pytest
from bundles import SIZE
from checkpoint_files import tiny_checkpoint
from ray_cluster import ROOT, SETTINGS, Node, node, wait_for
from test_matrix import matrix

from benchmarks.resumed_export import digests
from dreamlite_mobile.checkpoint import open_checkpoint
from export import graph
from export.driver import ExportRequest, plan_export, run_export
from export.graph import Task
from export.nodes import shared_files, unseen

SECONDS = 900.0
"""The most that one wait takes, on a machine that is busy with much else."""
MEMORY = "1000000000"
"""Enough for a task."""
LITTLE = "100000000"
"""Not enough for one, where another node has more."""


@pytest.fixture(scope="module")
def head() -> Iterator[Node]:
    with node("--num-cpus", "1", "--memory", MEMORY) as found:
        yield found


@contextlib.contextmanager
def begun(file: Path, out: Path, address: str) -> "Iterator[subprocess.Popen[str]]":
    """The command, begun in a folder that no node knows; gone when the block ends."""
    program = "from dreamlite_mobile.cli import main; main()"
    options = ["--out", str(out), "--address", address, "--json"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, "export-matrix", str(file), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=file.parent,
        env=os.environ | SETTINGS | {"PYTHONPATH": ROOT},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=SECONDS)
    return process.returncode, out, " ".join(err.split())


def test_a_node_with_another_torch_is_refused_by_its_name(head: Node, tmp_path: Path) -> None:
    """It has one by its metadata, which is where versions come from. Nothing is left where it was to be written."""
    claim = tmp_path / "claim" / "torch-0.0.1.dist-info"
    claim.mkdir(parents=True)
    (claim / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 0.0.1\n")
    claimed = {"PYTHONPATH": f"{claim.parent}:{ROOT}"}
    with (
        node("--num-cpus", "1", "--node-name", "odd", head=head, environment=claimed),
        begun(matrix(tmp_path), tmp_path / "out", head.address) as process,
    ):
        code, _, err = ended(process)
    assert code == 1 and "1 of 2 nodes cannot take part odd (" in err, err
    expected = importlib.metadata.version("torch")
    assert f"): torch is 0.0.1, expected {expected} Install there what is installed here" in err, err
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_a_run_that_loses_its_head_and_then_a_node_comes_to_the_same_bytes(head: Node, tmp_path: Path) -> None:
    """The head goes once the piece is finished; of the next cluster the node goes that has the memory for the bundle.

    Oracle: an export made in this process. The last of the tests that use the module's head.
    """
    file, out = matrix(tmp_path), tmp_path / "out"
    with begun(file, out, head.address) as first:
        wait_for(lambda: list(out.glob("pieces/*/piece.json")) or first.poll() is not None, SECONDS)
        head.kill()
        code, _, err = ended(first)
    assert code == 1 and "the cluster went away" in err and "give the same command again" in err, err
    assert [path.name for path in out.iterdir() if not path.name.startswith(".")] == ["pieces"]

    with (
        node("--num-cpus", "1", "--memory", LITTLE) as second_head,
        node("--num-cpus", "1", "--memory", MEMORY, head=second_head) as lost,
        begun(file, out, second_head.address) as second,
    ):
        bundle = f"ray::{tiny_checkpoint().name}-"
        wait_for(lambda: any(one.startswith(bundle) for one in lost.workers()) or second.poll() is not None, SECONDS)
        lost.kill()
        code, said, err = ended(second)
        assert code == 0, err
        wait_for(lambda: not second_head.workers(), SECONDS)
        assert second_head.is_whole
    found = json.loads(said)
    assert [(one["made"], one["attempts"]) for one in found["tasks"]] == [(False, 1), (True, 2)], found
    (cell,) = found["cells"]
    assert sorted(path.name for path in out.iterdir()) == sorted(["pieces", cell["cell"]])
    assert not list(out.glob("pieces/.*"))
    run_export(plan_export(request()), tmp_path / "here")
    assert digests(out / cell["cell"]) == digests(tmp_path / "here")


def test_a_node_that_does_not_see_a_folder_says_so(tmp_path: Path) -> None:
    """A file is put into each folder to write to, while nodes are asked; the checkpoint's count too."""
    task = bundle(tmp_path)
    with shared_files([task]) as files:
        assert unseen(files) == []
        assert {Path(name).parent for name in files} >= {tmp_path / "cache", tmp_path}
        elsewhere = {f"{tmp_path}/elsewhere{name}": size for name, size in files.items()}
        assert len(unseen(elsewhere)) == len(files)
        other = {name: size + 1 for name, size in files.items()}
        assert f"{tiny_checkpoint() / 'tokenizer' / 'tokenizer.json'} is not there as here" in unseen(other)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_bundle_whose_worker_died_after_its_last_write_is_finished(tmp_path: Path) -> None:
    """The note of what it is stands before the bundle does; the same task again has nothing to do."""
    task = bundle(tmp_path)
    assert task.run()["made"] is True
    assert task.run()["made"] is False


def test_a_worker_taken_for_dead_that_was_first_is_not_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its node was only slow: it puts the bundle in place while the next attempt is at work."""

    def twice(*arguments: object, **named: object) -> None:
        run_export(*arguments, **named)  # type: ignore[arg-type]
        run_export(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(graph, "run_export", twice)
    assert bundle(tmp_path).run() == {"made": False} | {"seconds": ANY, "peak_bytes": ANY}


def bundle(folder: Path) -> Task:
    """The task of the matrix' one bundle."""
    asked = replace(request(), cache=folder / "cache")
    return Task("bundle", "b" * 64, asked, 0, out=folder / "bundle")


def request() -> ExportRequest:
    """What the one cell of the matrix is."""
    checkpoint = open_checkpoint(tiny_checkpoint())
    return ExportRequest(
        checkpoint, checkpoint.path.name, "onnx", SIZE, SIZE, modes=("generate",), components=("vae_decoder",)
    )
