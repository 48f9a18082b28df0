"""A bundle of two sizes, exported once per run, and what the Python runtime draws through it in the second one."""

import shutil
from functools import cache
from pathlib import Path

from bundles import SIZE, exported
from checkpoint_files import tiny_checkpoint
from run_folder import made_once
from sharded_bundle import write_runs

from dreamlite_mobile.bundle import open_bundle
from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.components import Size
from dreamlite_mobile.golden.runs import run_files
from export.driver import ExportRequest, plan_export, run_export

FIRST, SECOND = (SIZE, SIZE), (SIZE, 96)


@cache
def two_sizes() -> Path:
    """For XNNPACK; its text and vision towers are those of the bundle of the first size alone."""
    return _exported("two-sizes", FIRST, SECOND)


@cache
def second_size() -> Path:
    """The second size alone."""
    return _exported("second-size", SECOND)


def _exported(name: str, size: Size, *further: Size) -> Path:
    reuse = (open_bundle(exported("fp32")),)
    request = ExportRequest(open_checkpoint(tiny_checkpoint()), "tiny", "xnnpack", *size, reuse=reuse, further=further)
    return made_once(name, lambda out: run_export(plan_export(request), out))


@cache
def sized_folder() -> Path:
    """`bundle`, and `runs` in the second size with the digests of its files, as in a folder of golden vectors."""
    return made_once("sized", _write)


def _write(out: Path) -> None:
    shutil.copytree(two_sizes(), out / "bundle")
    write_runs(out, run_files(out / "bundle", SECOND))
