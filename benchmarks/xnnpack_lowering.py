"""Lowering the full-size U-Net at 32x64 latents to XNNPACK: time, peak memory, delegates.

.venv/bin/python -m benchmarks.xnnpack_lowering                     # ours (the numbers of xnnpack.md)
.venv/bin/python -m benchmarks.xnnpack_lowering --how stock         # our network through the stock lowering
.venv/bin/python -m benchmarks.xnnpack_lowering --how published     # the published class through it: an hour
.venv/bin/python -m benchmarks.xnnpack_lowering --precision w8
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from torch import nn

from benchmarks.full_unet import Tensors, our_unet, published_unet, step_case
from dreamlite_mobile.measure import measured
from export.xnnpack import Lowered, Report, cut_report, lower


def stock(module: nn.Module, inputs: Tensors) -> Lowered:
    """What the ExecuTorch documentation tells to do."""
    with torch.no_grad():
        program = torch.export.export(module, inputs)
    edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    report: Report = cut_report(edge.exported_program().graph_module, {})
    return Lowered(edge.to_executorch(), {"forward": report})


def python_speed() -> float:
    """Seconds of a fixed piece of Python, the kind of work lowering is: how busy the machine is just now."""

    def once() -> float:
        begin, total = time.perf_counter(), 0
        for number in range(5_000_000):
            total += number & 3
        return time.perf_counter() - begin

    return statistics.median(once() for _ in range(3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--how", choices=("ours", "stock", "published"), default="ours")
    parser.add_argument("--precision", choices=("fp32", "w8"), default="fp32")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    published = published_unet()
    case = step_case(published, our_unet(published))
    if args.how == "published":
        module, inputs = case.published, case.published_inputs
    else:
        module, inputs = case.ours, case.our_inputs
    del case, published
    before, cpu = python_speed(), time.process_time()
    with tempfile.TemporaryFile() as file, measured() as cost:
        lowered = lower({"forward": (module, inputs)}, args.precision) if args.how == "ours" else stock(module, inputs)
        lowered.write(file)
        size = file.tell()
    report = lowered.reports["forward"]
    row = {
        "how": args.how,
        "precision": args.precision,
        "seconds": round(cost.seconds, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_gb": round(cost.peak_bytes / 1e9, 2),
        "file_mb": round(size / 1e6, 1),
        "delegates": report.delegates,
        "outside": list(report.outside),
        "python_speed_seconds": [round(before, 3), round(python_speed(), 3)],
    }
    print(json.dumps(row, indent=1))
    if args.json:
        args.json.write_text(json.dumps(row, indent=1) + "\n")


if __name__ == "__main__":
    main()
