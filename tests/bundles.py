"""Bundles of the tiny checkpoint, exported once per run for all tests. Shared: do not change them."""

from functools import cache
from pathlib import Path

from checkpoint_files import tiny_checkpoint
from run_folder import made_once

from dreamlite_mobile.bundle import open_bundle
from dreamlite_mobile.checkpoint import open_checkpoint
from export.driver import ExportRequest, plan_export, run_export

SIZE = 64


@cache
def exported(precision: str, backend: str = "xnnpack") -> Path:
    """The whole checkpoint for 64x64 pictures."""
    checkpoint = open_checkpoint(tiny_checkpoint())
    usual = "fp16" if backend == "coreml" else "fp32"
    reuse = (open_bundle(exported(usual, backend)),) if precision != usual else ()
    request = ExportRequest(checkpoint, "tiny", backend, SIZE, SIZE, precision=precision, reuse=reuse)
    return made_once(f"{backend}-{precision}", lambda out: run_export(plan_export(request), out))
