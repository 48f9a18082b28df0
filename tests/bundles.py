"""Bundles exported once per run for all tests, of the tiny checkpoint and of the packaged one. Shared: do not change
them."""

from functools import cache
from pathlib import Path

from checkpoint_files import tiny_checkpoint
from run_folder import made_once

from dreamlite_mobile.bundle import open_bundle
from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.tiny.embedded import PACKAGED
from export.driver import ExportRequest, plan_export, run_export

SIZE = 64
TRAINED_SIZE = 128


@cache
def exported(precision: str, backend: str = "xnnpack") -> Path:
    """The whole checkpoint for 64x64 pictures."""
    checkpoint = open_checkpoint(tiny_checkpoint())
    usual = "fp16" if backend == "coreml" else "fp32"
    reuse = (open_bundle(exported(usual, backend)),) if precision != usual else ()
    request = ExportRequest(checkpoint, "tiny", backend, SIZE, SIZE, precision=precision, reuse=reuse)
    return made_once(f"{backend}-{precision}", lambda out: run_export(plan_export(request), out))


@cache
def trained(precision: str, backend: str = "xnnpack") -> Path:
    """The packaged, trained checkpoint for 128x128 pictures, generation only: edits would take as long again."""
    reuse = (open_bundle(trained("fp32")),) if (precision, backend) == ("w8", "xnnpack") else ()
    request = ExportRequest(
        open_checkpoint(PACKAGED),
        "embedded",
        backend,
        TRAINED_SIZE,
        TRAINED_SIZE,
        precision=precision,
        modes=("generate",),
        reuse=reuse,
    )
    return made_once(f"trained-{backend}-{precision}", lambda out: run_export(plan_export(request), out))
