"""Callables for one exported component, numpy in and numpy out, whatever runs underneath.

Every component names its inputs and outputs; shapes are static and the boundary is float32, row-major.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dreamlite_mobile.errors import BundleError, ConfigError, unknown_name

Array = NDArray[np.float32]


class Tensor(Protocol):
    """Name, shape and dtype of one input or output (`bundle_schema.TensorSpec` is one)."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> str: ...


class Method(Protocol):
    """The inputs and outputs of one method in call order (`bundle_schema.MethodEntry` is one)."""

    @property
    def inputs(self) -> Sequence[Tensor]: ...
    @property
    def outputs(self) -> Sequence[Tensor]: ...


class Component(Protocol):
    """One network with named methods. The outputs of `run` belong to the caller."""

    def run(self, method: str, inputs: Mapping[str, Array]) -> dict[str, Array]: ...
    def unload(self) -> None: ...


MAX_THREADS = 256


def check_threads(count: int) -> None:
    """Refuse a thread count outside 1...256 (ConfigError)."""
    if not 1 <= count <= MAX_THREADS:
        raise ConfigError(f"threads {count}: supported are 1 to {MAX_THREADS}; the number of cores is a good choice")


def find_method(component: str, methods: Mapping[str, Method], name: str) -> Method:
    """The spec of a method; BundleError listing the known ones otherwise."""
    if name not in methods:
        raise BundleError(f"component {component!r}: {unknown_name('method', name, methods)}")
    return methods[name]


def check_inputs(where: str, specs: Sequence[Tensor], inputs: Mapping[str, Array]) -> None:
    """Compare names, shapes and dtypes with the manifest; one BundleError lists every difference."""
    names = [spec.name for spec in specs]
    problems = [f"input {name!r} is missing" for name in names if name not in inputs]
    problems += [f"input {name!r} is not one of {names}" for name in inputs if name not in names]
    for spec in specs:
        if spec.name in inputs:
            problems += _differences(
                f"input {spec.name!r}", spec, inputs[spec.name].shape, str(inputs[spec.name].dtype)
            )
    if problems:
        raise BundleError(f"{where}: {'; '.join(problems)}. Use inputs made for this bundle's size and mode.")


def check_signature(
    where: str, kind: str, specs: Sequence[Tensor], found: Iterable[tuple[tuple[int, ...], str]]
) -> None:
    """Compare what a program file declares ((shape, dtype) in order) with the manifest; BundleError otherwise."""
    declared = list(found)
    problems = []
    if len(declared) != len(specs):
        problems.append(f"the program has {len(declared)} {kind}s, the manifest {len(specs)}")
    for spec, (shape, dtype) in zip(specs, declared, strict=False):
        problems += _differences(f"{kind} {spec.name!r} of the program", spec, shape, dtype)
    if problems:
        raise BundleError(f"{where}: {'; '.join(problems)}. The bundle is inconsistent: export it again.")


def _differences(label: str, spec: Tensor, shape: tuple[int, ...], dtype: str) -> list[str]:
    problems = []
    if tuple(shape) != tuple(spec.shape):
        problems.append(f"{label} has shape {list(shape)}, expected {list(spec.shape)}")
    if dtype != spec.dtype:
        problems.append(f"{label} has dtype {dtype}, expected {spec.dtype}")
    return problems
