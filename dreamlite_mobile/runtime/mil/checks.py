"""What must hold of a function before anything of it is computed: every name is made before it is read, and once."""

from typing import NoReturn

from dreamlite_mobile.errors import BundleError
from dreamlite_mobile.runtime.mil.compressed import DECODERS
from dreamlite_mobile.runtime.mil.program import Function, Operation

CONSTANTS = ("const", *DECODERS)
"""Operators that are computed once, when a program is loaded."""
LISTED = {"concat": "values"}
"""Inputs that take several tensors."""


def check_function(where: str, function: Function) -> None:
    """BundleError naming the first operator whose inputs or results cannot be, or an output that nothing makes."""
    known = [item.name for item in function.inputs]
    if len(set(known)) < len(known):
        refuse(where, f"its inputs {known} share a name")
    made = set(known)
    for operation in function.operations:
        if not operation.outputs:
            refuse(where, f"an operator {operation.kind!r} has no result")
        label = f"{where}: {operation.label}"
        check_inputs(label, operation, made)
        for result in operation.outputs:
            if result.name in made:
                refuse(label, f"makes {result.name!r}, which is made already")
            made.add(result.name)
    missing = [name for name in function.outputs if name not in made]
    if missing or not function.outputs:
        refuse(where, f"nothing makes its outputs {missing}")


def check_inputs(label: str, operation: Operation, made: set[str]) -> None:
    """That an operator reads what is there, one thing an input, and a constant operator only itself."""
    if operation.kind == "const" and "val" not in operation.attributes:
        refuse(label, "holds no value")
    if operation.kind in CONSTANTS and len(operation.outputs) > 1:
        refuse(label, f"has {len(operation.outputs)} results, expected one")
    for name, bound in operation.inputs.items():
        if not bound or (len(bound) > 1 and LISTED.get(operation.kind) != name):
            refuse(label, f"has {len(bound)} values for {name!r}, expected one")
    for name in operation.read:
        if operation.kind in CONSTANTS:
            refuse(label, f"reads {name!r}, expected a constant of its own")
        if name not in made:
            refuse(label, f"reads {name!r}, which nothing before it makes")


def refuse(where: str, problem: str) -> NoReturn:
    """BundleError with the mend."""
    raise BundleError(f"{where}: {problem}. The package is damaged: copy or export the bundle again.")
