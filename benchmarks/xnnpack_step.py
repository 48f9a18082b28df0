"""One U-Net step at full width, 32x64 latents: `.pte` against torch eager and onnxruntime of the published class.

    .venv/bin/python -m benchmarks.xnnpack_step --work /tmp/step            # prints the tables of xnnpack.md
    .venv/bin/python -m benchmarks.xnnpack_step --work /tmp/step --only whole

The three take turns, each round one run of each, so that a busy machine slows all of them; medians of the rounds.
With one thread the time is CPU time, which other processes disturb least; with two it is wall time, the lower quartile
of the rounds. `--work` keeps the lowered files between runs.
"""

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import onnxruntime
import torch
from executorch.extension.pybindings import portable_lib
from executorch.runtime import Runtime

from benchmarks.full_unet import Case, Tensors, block_cases, our_unet, published_unet, step_case
from export.xnnpack import lower

OPSET = 22
"""Attention as such, opset 23, is refused by onnxruntime when its mask broadcasts over the queries."""


@dataclass(frozen=True, slots=True)
class Row:
    """Milliseconds of one piece with one thread count, and the .pte's relative error against eager."""

    name: str
    threads: int
    eager: float
    onnx: float
    pte: float
    error: float

    def __str__(self) -> str:
        return (
            f"| {self.name} | {self.threads} | {self.eager:.1f} | {self.onnx:.1f} | {self.pte:.1f} "
            f"| {self.eager / self.pte:.2f} | {self.onnx / self.pte:.2f} | {self.error:.1e} |"
        )


def write_pte(case: Case, file: Path) -> Path:
    """Lower ours, unless the file is there."""
    if not file.exists():
        lowered = lower({"forward": (case.ours, case.our_inputs)}, "fp32")
        assert lowered.reports["forward"].delegates == 1, lowered.reports
        with file.open("wb") as stream:
            lowered.write(stream)
    return file


def write_onnx(case: Case, file: Path) -> Path:
    """Export the published module, unless the file is there."""
    if not file.exists():
        program = torch.export.export(case.published, case.published_inputs)
        exported = torch.onnx.export(program, opset_version=OPSET, dynamo=True, verbose=False)
        assert exported is not None
        exported.save(file, external_data=True)
    return file


def onnx_call(file: Path, inputs: Tensors, threads: int) -> Callable[[], object]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    # Inputs that the graph does not use are dropped from it; the rest keep their order.
    feed = {}
    left = list(inputs)
    for wanted in session.get_inputs():
        while list(left[0].shape) != wanted.shape:
            left.pop(0)
        feed[wanted.name] = left.pop(0).numpy()
    return lambda: session.run(None, feed)


def rounds(calls: list[Callable[[], object]], count: int, one_thread: bool) -> list[float]:
    """Milliseconds of each call, taking turns."""
    clock = time.process_time if one_thread else time.perf_counter
    times: list[list[float]] = [[] for _ in calls]
    for turn in range(count + 1):
        for call, taken in zip(calls, times, strict=True):
            begin = clock()
            call()
            if turn:
                taken.append((clock() - begin) * 1e3)
    if one_thread:
        return [statistics.median(taken) for taken in times]
    return [statistics.quantiles(taken, n=4)[0] for taken in times]


def measure(case: Case, work: Path, threads: int, count: int) -> Row:
    """One piece, one thread count."""
    stem = case.name.replace(" ", "_")
    pte, onnx = write_pte(case, work / f"{stem}.pte"), write_onnx(case, work / f"{stem}.onnx")
    gc.collect()  # A method that is still loaded points into the thread pool that is replaced here.
    portable_lib._unsafe_reset_threadpool(threads)
    torch.set_num_threads(threads)
    method = Runtime.get().load_program(pte).load_method("forward")
    assert method is not None
    expected = case.published(*case.published_inputs)
    (found,) = method.execute(list(case.our_inputs))
    error = float((found - expected).norm() / expected.norm())
    calls: list[Callable[[], object]] = [
        partial(case.published, *case.published_inputs),
        onnx_call(onnx, case.published_inputs, threads),
        partial(method.execute, list(case.our_inputs)),
    ]
    return Row(case.name, threads, *rounds(calls, count, threads == 1), error)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the lowered files (about 4 GB)")
    parser.add_argument("--only", choices=("whole", "blocks"))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    published = published_unet()
    ours = our_unet(published)
    cases = [] if args.only == "whole" else list(block_cases(published, ours))
    cases += [] if args.only == "blocks" else [step_case(published, ours)]
    print("| piece | threads | eager ms | onnxruntime ms | .pte ms | x eager | x onnxruntime | relative error |")
    print("|---|---|---|---|---|---|---|---|")
    rows = []
    for case in cases:
        for threads in args.threads:
            rows.append(measure(case, args.work, threads, args.rounds))
            print(rows[-1], flush=True)
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
