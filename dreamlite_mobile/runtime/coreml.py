"""A component in Core ML packages: run by Core ML on macOS, evaluated operator by operator anywhere else."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from dreamlite_mobile.errors import BundleError
from dreamlite_mobile.runtime import Array, Method, check_inputs, check_signature, check_threads, find_method
from dreamlite_mobile.runtime.mil.evaluator import Evaluator
from dreamlite_mobile.runtime.mil.program import Function, Program, TensorType, read_program
from dreamlite_mobile.runtime.rounding import Rounding

PACKAGE_DEPTH = 2
"""Folders between a package and its program: `X.mlpackage/Data/com.apple.CoreML/model.mlmodel`."""
_DTYPES = {"fp32": "float32", "fp16": "float16", "int32": "int32"}
_UNITS = {"all": "ALL", "cpu_and_neural_engine": "CPU_AND_NE", "cpu_and_gpu": "CPU_AND_GPU", "cpu_only": "CPU_ONLY"}
"""The manifest's compute units and coremltools' names of them."""


class Runner(Protocol):
    """One program of a method."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]: ...


class NativeProgram:
    """A function of a package in Core ML itself; macOS only."""

    def __init__(self, program: Program, function: str, compute_units: str) -> None:
        """`compute_units` as the manifest names them. BundleError when Core ML refuses the package."""
        import coremltools

        self._inputs = [spec.name for spec in program.functions[function].inputs]
        self._package = program.path.parents[PACKAGE_DEPTH]
        try:
            self._model = coremltools.models.MLModel(
                str(self._package),
                compute_units=coremltools.ComputeUnit[_UNITS[compute_units]],
                function_name=function if len(program.functions) > 1 else None,
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise BundleError(f"{self._package}: Core ML refuses it: {error}. Export it again.") from error

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs as float32; BundleError when Core ML fails."""
        try:
            found = self._model.predict({name: inputs[name] for name in self._inputs})
        except RuntimeError as error:
            raise BundleError(f"{self._package}: failed to run: {error}") from error
        return {name: np.array(value, dtype=np.float32) for name, value in found.items()}


class CoreMLComponent:
    """Methods over one or several packages each. One method is resident at a time."""

    def __init__(
        self,
        paths: Mapping[str, Sequence[Path]],
        methods: Mapping[str, Method],
        *,
        name: str,
        threads: int | None = None,
        rounding: Rounding = "fp16",
        compute_units: str = "all",
        native: bool = sys.platform == "darwin",
    ) -> None:
        """`paths`: each method's programs in order.

        Args:
            threads: of the evaluator, for the whole process; None leaves torch's own choice.
            rounding: of the evaluator's activations (see `mil.evaluator`).
            native: run in Core ML instead of the evaluator.
        """
        if threads is not None:
            check_threads(threads)
        self.name = name
        self._paths = {method: tuple(programs) for method, programs in paths.items()}
        self._methods = dict(methods)
        self._threads = threads
        self._rounding = rounding
        self._units = compute_units
        self._native = native
        self._loaded: tuple[str, list[Runner]] | None = None

    def run(self, method: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one method; loads it, in place of another, when it is not the resident one.

        Raises:
            BundleError: inputs or packages that differ from the manifest, or an operator that cannot be computed.
        """
        spec = find_method(self.name, self._methods, method)
        check_inputs(f"{self.name}.{method}", spec.inputs, inputs)
        values = dict(inputs)
        for runner in self._load(method, spec):
            values |= runner.run(values)
        return {tensor.name: values[tensor.name] for tensor in spec.outputs}

    def load(self, method: str) -> None:
        """Load a method ahead of its first run."""
        self._load(method, find_method(self.name, self._methods, method))

    def unload(self) -> None:
        """Free the resident method; the next `run` loads again."""
        self._loaded = None

    def _load(self, method: str, spec: Method) -> list[Runner]:
        if self._loaded is not None and self._loaded[0] == method:
            return self._loaded[1]
        self.unload()
        if self._threads is not None:
            import torch

            torch.set_num_threads(self._threads)
        programs = [read_program(path) for path in self._paths[method]]
        names = [function_name(program, method) for program in programs]
        functions = [program.functions[name] for program, name in zip(programs, names, strict=True)]
        check_chain(f"{self._paths[method][0]}: {self.name}.{method}", functions, spec)
        runners = [self._runner(program, name) for program, name in zip(programs, names, strict=True)]
        self._loaded = (method, runners)
        return runners

    def _runner(self, program: Program, function: str) -> Runner:
        if self._native:
            return NativeProgram(program, function, self._units)
        return Evaluator(program, function, self._rounding)


def function_name(program: Program, method: str) -> str:
    """The function of the method's name, or the only one; BundleError otherwise."""
    if method in program.functions:
        return method
    if len(program.functions) == 1:
        return next(iter(program.functions))
    raise BundleError(
        f"{program.path}: has no function {method!r}, only {', '.join(sorted(program.functions))}. "
        "The bundle is inconsistent: export it again."
    )


def check_chain(where: str, functions: Sequence[Function], spec: Method) -> None:
    """Compare what a method's programs take and give with the manifest; BundleError for a difference."""
    made: set[str] = set()
    taken: dict[str, TensorType] = {}
    for function in functions:
        taken |= {item.name: item.type for item in function.inputs if item.name not in made}
        made.update(function.outputs)
    last = functions[-1]
    given = {item.name: item.type for operation in last.operations for item in operation.outputs}
    for kind, wanted, found in (
        ("input", spec.inputs, list(taken)),
        ("output", spec.outputs, list(last.outputs)),
    ):
        names = [tensor.name for tensor in wanted]
        if sorted(names) != sorted(found):
            raise BundleError(f"{where}: its {kind}s are {found}, expected {names}. Export the bundle again.")
        types = taken if kind == "input" else given
        declared = [(types[name].shape, _DTYPES.get(types[name].dtype, types[name].dtype)) for name in names]
        check_signature(where, kind, wanted, declared)
