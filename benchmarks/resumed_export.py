"""Exports killed at random moments: does the one that ends give the bytes of one that nobody disturbed?

    python -m benchmarks.resumed_export CHECKPOINT --kills 50
    python -m benchmarks.resumed_export full --kills 8 --size 1024 --components vae_encoder,vae_decoder

A process that has everything imported and has checked the checkpoint forks; the child exports with `--cache`, and is
killed with SIGKILL after a random part of the time that an export takes. A child that ends first is compared, and its
cache is thrown away. Checking writes nothing: done once, it leaves every kill to what lowers and writes.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.full_size import children_seconds
from dreamlite_mobile.checkpoint import open_checkpoint
from export.driver import ExportRequest, plan_export, run_export
from export.pieces import RECORD

POLL = 0.005


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def forked(request: ExportRequest, out: Path, lasting: float | None) -> bool:
    """Export in a child that is killed after that many seconds; whether it came to its end before."""
    child = os.fork()
    if child == 0:
        try:
            run_export(plan_export(request), out)
        except BaseException as error:
            print(f"the child failed: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    deadline = None if lasting is None else time.monotonic() + lasting
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            if status != 0:
                raise RuntimeError(f"an export that was left alone ended with status {status}")
            return True
        if deadline is not None and time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return False
        time.sleep(POLL)


def run(request: ExportRequest, kills: int, seed: int, folder: Path) -> dict[str, object]:
    """Kill so many exports, then let one end; counts, and the names of files unlike those of an undisturbed export.

    `taken`: the finished pieces that exports found in the cache when they began.
    """
    chance = random.Random(seed)
    request.checkpoint.check()
    used, begin = children_seconds(), time.monotonic()
    forked(request, folder / "whole", None)
    lasting = time.monotonic() - begin
    expected = digests(folder / "whole")
    out, cache = folder / "bundle", folder / "cache"
    resumed = replace(request, cache=cache)
    killed = finished = taken = 0
    different: set[str] = set()
    is_last = False
    while not is_last:
        is_last = killed == kills
        taken += len(list(cache.glob(f"[!.]*/{RECORD}")))
        killed += not forked(resumed, out, None if is_last else chance.uniform(0, lasting))
        if not out.exists():
            continue
        found = digests(out)
        different |= {name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)}
        finished += 1
        shutil.rmtree(out)
        shutil.rmtree(cache)
    left = sorted(path.name for path in folder.iterdir() if path.name != "whole")
    return {
        "kills": killed, "finished": finished, "taken": taken, "different": sorted(different), "left": left,
        "seconds": round(lasting, 2), "files": len(expected),
        "all_seconds": round(time.monotonic() - begin), "cpu_seconds": round(children_seconds() - used),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--backend", default="xnnpack")
    parser.add_argument("--precision")
    parser.add_argument("--components", default="vision_encoder,vae_encoder,vae_decoder")
    given = parser.parse_args()
    torch.set_num_threads(1)  # a forked child of a process with threads hangs
    components = tuple(given.components.split(","))
    checkpoint = open_checkpoint(given.checkpoint)
    request = ExportRequest(
        checkpoint,
        given.checkpoint.name,
        given.backend,
        given.size,
        given.size,
        precision=given.precision,
        components=components,
    )
    with tempfile.TemporaryDirectory() as folder:
        found = run(request, given.kills, given.seed, Path(folder))
    print(json.dumps(found))
    sys.exit(bool(found["different"] or found["left"]))


if __name__ == "__main__":
    main()
