"""What a shipped program itself can tell: its values after each block, and the constants that are not what they should
be. A backend whose files can be opened adds itself to `probe_of`; the others are exported again and compared.
"""

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from dreamlite_mobile.bundle import Bundle
from dreamlite_mobile.bundle_schema import Manifest
from dreamlite_mobile.components import ComponentSpec
from dreamlite_mobile.runtime import Array
from export.backends import MEGABYTE, Exporter, exporter

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where a shipped program is not what the checkpoint gives. `where`: a weight or an operator."""

    where: str
    what: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A value inside a program. `low`, `high`: what an activation fused into its operator clamps it to, which torch
    may do after the block only."""

    array: Array
    low: float = -math.inf
    high: float = math.inf


class Probe(Protocol):
    """A shipped program, opened.

    `differences`: against a fresh lowering of the same module. `values`: what the shipped program computes at the end
    of each block it could place. `transplant`: put the shipped constants of a block into its export alone, which lies
    in a folder; True when that changed something. Constants that cannot be told apart there are left as they are.
    """

    def differences(self) -> list[Difference]: ...
    def values(self, blocks: Mapping[str, tuple[int, ...]], inputs: Mapping[str, Array]) -> dict[str, Seen]: ...
    def transplant(self, folder: Path, block: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Subject:
    """One method of one component of a bundle, and the module (in the backend's form) it should be."""

    bundle: Bundle
    component: str
    method: str
    spec: ComponentSpec
    module: nn.Module


def exporter_of(manifest: Manifest) -> Exporter:
    """The backend that made a bundle, set up to make what runs on this machine."""
    emulated, coreml = manifest.backend == "qnn", manifest.coreml
    limit = None if coreml is None else coreml.package_limit_bytes // MEGABYTE
    return exporter(manifest.backend, manifest.target if emulated else None, emulated, limit)


def probe_of(subject: Subject) -> Probe | None:
    """The probe of the bundle's backend; None for one whose files cannot be opened.

    Raises:
        ExportError: the module cannot be lowered again. BundleError: a file that cannot be read.
    """
    match subject.bundle.manifest.backend:
        case "xnnpack":
            from export.probe_xnnpack import XnnpackProbe

            return XnnpackProbe.open(subject)
        case "onnx":
            from export.probe_onnx import OnnxProbe

            return OnnxProbe.open(subject)
        case "coreml":
            from export.probe_coreml import CoreMLProbe

            return CoreMLProbe.open(subject)
        case _:
            return None


def unambiguous(constants: Iterable[tuple[T, T]]) -> dict[T, T]:
    """Clean content -> shipped content, from (clean, shipped) of every constant of a block.

    What changed in one place and not in another that holds the same is left out: the block's own export cannot tell.
    """
    found: dict[T, set[T]] = {}
    for clean, shipped in constants:
        found.setdefault(clean, set()).add(shipped)
    return {clean: only for clean, (only, *others) in found.items() if not others and only != clean}


def described(found: NDArray[np.generic], wanted: NDArray[np.generic]) -> str:
    """How stored numbers differ from those wanted: a flipped sign, a factor, or how many and how much."""
    if found.shape != wanted.shape:
        return f"{found.size} numbers where {wanted.size} belong"
    left, right = found.astype(np.float64), wanted.astype(np.float64)
    changed = ~((left == right) | (np.isnan(left) & np.isnan(right)))
    count = f"{int(changed.sum()):,} of {wanted.size:,} values"
    if not np.isfinite(left).all():
        return f"{count} differ, {int((~np.isfinite(left)).sum()):,} of them are not finite"
    if changed.any() and np.array_equal(left, -right):
        return f"{count} have the other sign"
    ratios = left[changed & (right != 0)] / right[changed & (right != 0)]
    if ratios.size > 1 and np.ptp(ratios) <= 1e-6 * abs(ratios).max():
        return f"{count} are {ratios[0]:.4g} times what they should be"
    signal = float(np.square(right).sum())
    error = float(np.square(left - right).sum())
    relative = f", relative RMS {(error / signal) ** 0.5:.2g}" if signal else ""
    return f"{count} differ{relative}"
