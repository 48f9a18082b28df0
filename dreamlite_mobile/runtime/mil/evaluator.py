"""One function of a package, computed operator by operator on the CPU.

Numbers are held in fp32. With `fp16` rounding, whatever the program declares as fp16 is rounded to it after the
operator that made it: sums inside one operator are wide and only their results are short. With `fp32`, activations are
not rounded at all. Weights are as they are stored in either case.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from dreamlite_mobile.errors import BundleError, unknown_name
from dreamlite_mobile.runtime import Array
from dreamlite_mobile.runtime.mil.arguments import Argument, Arguments
from dreamlite_mobile.runtime.mil.checks import CONSTANTS, LISTED, check_function
from dreamlite_mobile.runtime.mil.compressed import DECODERS
from dreamlite_mobile.runtime.mil.elementwise import ELEMENTWISE, Kernel
from dreamlite_mobile.runtime.mil.layers import LAYERS
from dreamlite_mobile.runtime.mil.program import Constant, Function, Operation, Program, Value
from dreamlite_mobile.runtime.mil.shaping import SHAPING, split
from dreamlite_mobile.runtime.rounding import Rounding

KERNELS: Mapping[str, Kernel] = {**ELEMENTWISE, **SHAPING, **LAYERS}
OPERATORS = (*CONSTANTS, "split", *KERNELS)
"""Everything a program may hold."""
UNFIT = (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError)
"""What torch and numpy raise when they are given what they cannot take."""


@dataclass(frozen=True, slots=True)
class Step:
    """One operator to compute; `last` names the values that nothing after it reads."""

    operation: Operation
    last: tuple[str, ...]


class Evaluator:
    """A function with its constants decoded, ready to run."""

    def __init__(self, program: Program, name: str, rounding: Rounding = "fp16") -> None:
        """`name`: the function.

        Raises:
            BundleError: no such function, or one that is damaged or has an operator that is not known here.
        """
        if name not in program.functions:
            raise BundleError(f"{program.path}: {unknown_name('function', name, program.functions)}")
        self.function: Function = program.functions[name]
        self._where = f"{program.path}: {name}"
        self._rounding = rounding
        check_operators(self._where, self.function)
        check_function(self._where, self.function)
        self._constants: dict[str, Argument] = {}
        computed = []
        for operation in self.function.operations:
            if operation.kind in CONSTANTS:
                self._constants[operation.outputs[0].name] = decoded(program, operation)
            else:
                computed.append(operation)
        self._literals = literals(program, computed)
        self._steps = with_last_uses(computed, self.function.outputs, self._constants)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Named inputs of the declared shapes -> named outputs, float32.

        Raises:
            BundleError: an input that is missing or of another shape, an operator that gives another shape than is
                declared, or is given what it cannot take.
        """
        values: dict[str, Argument] = dict(self._constants)
        for spec in self.function.inputs:
            given = inputs.get(spec.name)
            if given is None or given.shape != spec.type.shape:
                found = "is missing" if given is None else f"has shape {list(given.shape)}"
                raise BundleError(f"{self._where}: input {spec.name!r} {found}, expected {list(spec.type.shape)}")
            values[spec.name] = torch.from_numpy(np.array(given))
        with torch.inference_mode():
            for step in self._steps:
                self._compute(step.operation, values)
                for name in step.last:
                    del values[name]
            return {name: as_array(f"{self._where}: {name}", values[name]) for name in self.function.outputs}

    def _compute(self, operation: Operation, values: dict[str, Argument]) -> None:
        where = f"{self._where}: {operation.label}"
        given = {name: self._bound(name, bound, operation, values) for name, bound in operation.inputs.items()}
        arguments = Arguments(where, given)
        try:
            made = split(arguments) if operation.kind == "split" else [KERNELS[operation.kind](arguments)]
        except UNFIT as error:
            raise BundleError(f"{where}: cannot be computed: {error}") from error
        if len(made) != len(operation.outputs):
            raise BundleError(f"{where}: gives {len(made)} results, declared are {len(operation.outputs)}")
        for result, spec in zip(made, operation.outputs, strict=True):
            if tuple(result.shape) != spec.type.shape:
                raise BundleError(f"{where}: gives {list(result.shape)}, declared is {list(spec.type.shape)}")
            short = spec.type.dtype == "fp16" and self._rounding == "fp16"
            values[spec.name] = result.half().float() if short else result

    def _bound(
        self, name: str, bound: tuple[str | Value, ...], operation: Operation, values: Mapping[str, Argument]
    ) -> Argument:
        found = [values[item] if isinstance(item, str) else self._literals[id(item)] for item in bound]
        if LISTED.get(operation.kind) == name:
            return [item for item in found if isinstance(item, torch.Tensor)]
        return found[0]


def check_operators(where: str, function: Function) -> None:
    """BundleError naming the first operator that is not known, and its layer."""
    for operation in function.operations:
        if operation.kind not in OPERATORS:
            raise BundleError(f"{where}: {operation.label}: {unknown_name('operator', operation.kind, OPERATORS)}")


def decoded(program: Program, operation: Operation) -> Argument:
    """What a constant operator stands for; compressed weights are rounded to the kind that they expand to."""
    spec = operation.outputs[0]
    if operation.kind == "const":
        return as_argument(program.constant(operation.attributes["val"]))
    given = {name: raw(program, bound) for name, (bound,) in operation.inputs.items()}
    given |= {name: raw(program, value) for name, value in operation.attributes.items() if name != "name"}
    try:
        dense = DECODERS[operation.kind](given)
    except UNFIT as error:
        raise BundleError(f"{program.path}: {operation.label}: cannot be expanded: {error}") from error
    if dense.shape != spec.type.shape:
        raise BundleError(
            f"{program.path}: {operation.label}: gives {list(dense.shape)}, declared is {list(spec.type.shape)}"
        )
    short = dense.astype(np.float16) if spec.type.dtype == "fp16" else dense
    return as_argument(short)


def raw(program: Program, bound: str | Value) -> np.ndarray:
    """The numbers of a compressed operator's input, which the program must hold itself."""
    found = bound if isinstance(bound, str) else program.constant(bound)
    if isinstance(found, str):
        raise BundleError(f"{program.path}: a compressed weight is made from {found!r}, expected numbers")
    return found


def literals(program: Program, operations: list[Operation]) -> dict[int, Argument]:
    """Constants written directly into an operator's inputs, by identity."""
    return {
        id(item): as_argument(program.constant(item))
        for operation in operations
        for bound in operation.inputs.values()
        for item in bound
        if isinstance(item, Value)
    }


def with_last_uses(operations: list[Operation], outputs: tuple[str, ...], kept: Mapping[str, Argument]) -> list[Step]:
    """Operators with what can be dropped after each: every result is held for as long as something reads it."""
    seen, steps = {*outputs, *kept}, []
    for operation in reversed(operations):
        names = [*operation.read, *(spec.name for spec in operation.outputs)]
        last = tuple(dict.fromkeys(name for name in names if name not in seen))
        seen.update(last)
        steps.append(Step(operation, last))
    return steps[::-1]


def as_argument(constant: Constant) -> Argument:
    """Floating point in fp32, anything else as it is."""
    if isinstance(constant, str):
        return constant
    kind = np.float32 if constant.dtype.kind == "f" else constant.dtype
    return torch.from_numpy(np.array(constant, dtype=kind))


def as_array(where: str, value: Argument) -> Array:
    """A result as float32 of its own memory; BundleError for a text."""
    if not isinstance(value, torch.Tensor):
        raise BundleError(f"{where}: is no tensor. The package is damaged: copy or export the bundle again.")
    return np.array(value.float().numpy())
