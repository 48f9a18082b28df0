"""Commands over HTP files, each in a process of its own: the libraries must be in reach when it starts."""

import json
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from bundles import exported
from checkpoint_files import tiny_checkpoint
from executorch.exir._serialize._program import deserialize_pte_binary
from outcome import Outcome
from run_folder import made_once

from dreamlite_mobile.bundle_files import read_manifest
from export import qnn_sdk

SIZE = 64
ROOT = Path(qnn_sdk.__file__).parents[1]
START = "from dreamlite_mobile.cli import main; main()"
TESTS = Path(__file__).parent
PLANNED_ALIGNMENT = 64


def python(script: str, *arguments: object) -> Outcome:
    """Run a script from the project's folder, with the tests' own modules in reach."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.append({str(TESTS)!r})\n{script}", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=1200,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def said(script: str, *arguments: object) -> Any:
    """The JSON that a script prints after SAID, among whatever the compiler prints."""
    done = python(script, *arguments)
    assert done.code == 0, done.err
    return json.loads(done.out.partition("SAID")[2].splitlines()[0])


def dreamlite(*arguments: object) -> Outcome:
    """The product's own command."""
    return python(START, *arguments)


def parity(made: Path) -> Outcome:
    """A bundle of the tiny checkpoint, judged; the ONNX referee is the one that other tests use too."""
    known = ("--checkpoint", tiny_checkpoint(), "--referee", exported("fp32", "onnx"))
    return dreamlite("parity", made, *known, "--json")


def compiled(name: str, *more: str, precisions: Iterable[str] = ("fp16",)) -> Path:
    """The tiny checkpoint, exported once per run, in these precisions. Shared: do not change it."""

    def make(out: Path) -> None:
        done = dreamlite("export", tiny_checkpoint(), "--out", out, "--backend", "qnn", "--size", SIZE, "--json", *more)
        assert done.code == 0, done.err
        assert {part["precision"] for part in done.data["components"].values()} == set(precisions)

    return made_once(name, make)


@cache
def bundle() -> Path:
    """In fp16, for the emulator."""
    return compiled("qnn-fp16", "--emulator")


def check_planned(folder: Path, component: str) -> None:
    """The runtime sets memory aside for what each program gives, and none for what it takes."""
    for name, method in read_manifest(folder).components[component].methods.items():
        for file, shard in zip((method.file, *method.then), method.shards or (method,), strict=True):
            program = deserialize_pte_binary((folder / file).read_bytes()).program
            (plan,) = [plan for plan in program.execution_plan if plan.name == name]
            given = sum(prod(one.shape) * np.dtype(one.dtype).itemsize for one in shard.outputs)
            assert given <= sum(plan.non_const_buffer_sizes) < given + PLANNED_ALIGNMENT * len(shard.outputs)
            assert all(plan.values[index].val.allocation_info is None for index in plan.inputs)
