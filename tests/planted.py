"""Small bundles with planted faults, and bisections of them, for tests."""

import atexit
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from unittest import mock

from bundles import SIZE
from checkpoint_files import tiny_checkpoint
from torch import nn

from dreamlite_mobile.bundle import Bundle
from dreamlite_mobile.bundle_checks import geometry
from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.cli.judge import bisect_bench
from dreamlite_mobile.components import component_specs
from dreamlite_mobile.parity.bisect import Bench, Bisection, bisect
from dreamlite_mobile.parity.run import sample_cases
from export import parts
from export.driver import ExportRequest, plan_export, run_export

Spoil = Callable[[nn.Module], None]
LAYER = "layers.5"
"""The block of the decoder that faults are planted into: a residual block in its middle."""


def folder() -> Path:
    """One that goes when the tests end."""
    path = Path(tempfile.mkdtemp(prefix="dreamlite-test-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def bundle_of(component: str, backend: str, precision: str = "fp32", spoil: Spoil = lambda _: None) -> Bundle:
    """One component of the tiny checkpoint, in one mode, exported after `spoil` has changed its network."""
    mode = "edit" if component in ("vision_encoder", "vae_encoder") else "generate"
    request = ExportRequest(
        open_checkpoint(tiny_checkpoint()),
        "tiny",
        backend,
        SIZE,
        SIZE,
        precision=precision,
        modes=(mode,),
        components=(component,),
    )
    assemble = parts.component_methods

    def spoilt(*arguments: object) -> dict[str, nn.Module]:
        modules = assemble(*arguments)
        spoil(next(iter(modules.values())))
        return modules

    with mock.patch.object(parts, "component_methods", spoilt):
        return run_export(plan_export(request), folder() / f"{component}-{backend}").bundle


def bench_of(bundle: Bundle) -> Bench:
    """A bundle's only component and a seeded sample."""
    specs = component_specs(geometry(bundle.manifest), bundle.manifest.modes, bundle.manifest.components)
    (case,) = sample_cases(specs)
    return bisect_bench(bundle, open_checkpoint(tiny_checkpoint()), case, folder())


def walk(bundle: Bundle, only: str | None = None) -> Bisection:
    """A bisection of a bundle's only component on a seeded sample."""
    return bisect(bench_of(bundle), only)


def named(found: Bisection, name: str):
    """A block of a bisection."""
    return next(block for block in found.blocks if block.name == name)


def negate(network: nn.Module) -> None:
    """One convolution of that block with the other sign."""
    network.get_submodule(f"{LAYER}.conv.2").weight.data.neg_()


@cache
def flipped(backend: str) -> Bundle:
    """A decoder exported with that fault. Shared: do not change it."""
    return bundle_of("vae_decoder", backend, spoil=negate)
