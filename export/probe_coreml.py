"""A shipped Core ML package, opened: evaluated with the values after each block as more outputs, its
constants compared.

A fresh conversion of the same module gives the same operators under the same names, and still knows which module each
of them came from.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dreamlite_mobile.errors import BundleError
from dreamlite_mobile.parity.blocks import BLOCK, within
from dreamlite_mobile.runtime import Array
from dreamlite_mobile.runtime.coreml import function_name
from dreamlite_mobile.runtime.mil.checks import CONSTANTS
from dreamlite_mobile.runtime.mil.evaluator import Evaluator
from dreamlite_mobile.runtime.mil.program import Constant, Function, Operation, Program, Value, read_program
from export.coreml import MAIN, SPECIFICATION, as_program, compressed, quiet, save, traced, unverified
from export.cutting import Part
from export.probe import Difference, Seen, Subject, described, unambiguous

Modules = Mapping[str, tuple[str, ...]]
"""Value -> the modules that its operator (a constant: the first operator that reads it) stands in, outermost first."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One constant: the result of the operator that holds it, under which name it does, and where it lies."""

    owner: str
    part: str
    value: Value

    @property
    def label(self) -> str:
        """The constant's own name, or its place in an operator."""
        return self.owner if self.part == "val" else f"{self.owner}, {self.part}"


@dataclass(frozen=True, slots=True)
class CoreMLProbe:
    """The function `name` of a shipped package beside a fresh conversion."""

    subject: Subject
    shipped: Program
    name: str
    fresh: Program
    modules: Modules

    @classmethod
    def open(cls, subject: Subject) -> "CoreMLProbe":
        """Read the shipped package and convert the subject's module again.

        Raises:
            BundleError: a method in several packages, a package that cannot be read, or of other operators than a
                fresh one. ExportError: a module that cannot be converted.
        """
        bundle, method = subject.bundle, subject.method
        entry = bundle.component(subject.component)
        where = f"{bundle.path}: {subject.component}.{method}"
        if entry.methods[method].then:
            raise BundleError(
                f"{where} lies in {len(entry.methods[method].then) + 1} packages, of which none is opened"
            )
        shipped = read_program(bundle.file(entry.methods[method].file))
        name = function_name(shipped, method)
        fresh, modules = converted_again(where, Part(subject.module, subject.spec.methods[method]), entry.precision)
        mine, wanted = (
            [one.outputs[0].name for one in each.operations]
            for each in (shipped.functions[name], fresh.functions[MAIN])
        )
        if mine != wanted:
            raise BundleError(
                f"{where} has {len(mine)} operators, a fresh conversion {len(wanted)}, or their names differ: they "
                "cannot be placed"
            )
        return cls(subject, shipped, name, fresh, modules)

    def functions(self) -> tuple[Function, Function]:
        """The shipped function and the fresh one."""
        return self.shipped.functions[self.name], self.fresh.functions[MAIN]

    def differences(self) -> list[Difference]:
        """Constants that are not those of the checkpoint, then operators that are not those of its graph."""
        found = []
        for one, other in self.pairs():
            mine, wanted = self.shipped.constant(one.value), self.fresh.constant(other.value)
            if not same(mine, wanted):
                found.append(Difference(self.place(one), told(mine, wanted)))
        shipped, fresh = self.functions()
        return found + [
            Difference(self.module(right.outputs[0].name), f"{shown(left)} where {shown(right)} belongs")
            for left, right in zip(shipped.operations, fresh.operations, strict=True)
            if shown(left) != shown(right)
        ]

    def pairs(self) -> Iterator[tuple[Stored, Stored]]:
        """Every constant that both programs have, as shipped and fresh."""
        mine, wanted = self.functions()
        theirs = {(one.owner, one.part): one for one in stored(wanted)}
        for one in stored(mine):
            if (one.owner, one.part) in theirs:
                yield one, theirs[one.owner, one.part]

    def module(self, name: str) -> str:
        """The innermost module of a value."""
        return (self.modules.get(name) or ("the graph",))[-1]

    def place(self, one: Stored) -> str:
        """A constant by its module and name."""
        return f"{self.module(one.owner)} ({one.label})"

    def values(self, blocks: Mapping[str, tuple[int, ...]], inputs: Mapping[str, Array]) -> dict[str, Seen]:
        """What the shipped program holds at the end of each block of that output shape, and its own outputs."""
        function, _ = self.functions()
        ends = {name: end for name, shape in blocks.items() if (end := self.end_of(name, shape)) is not None}
        taps = dict.fromkeys(end for end in ends.values() if end not in function.outputs)
        wider = replace(function, outputs=(*function.outputs, *taps))
        found = Evaluator(replace(self.shipped, functions={self.name: wider}), self.name).run(inputs)
        own = {name: Seen(found[name]) for name in function.outputs}
        return {name: Seen(found[end]) for name, end in ends.items()} | own

    def end_of(self, block: str, shape: tuple[int, ...]) -> str | None:
        """The last value that a block computes in its output's shape; None when it was fused away."""
        _, fresh = self.functions()
        ends = [
            one.outputs[0].name
            for one in fresh.operations
            if one.kind not in CONSTANTS
            and one.outputs[0].type.shape == shape
            and block in self.modules.get(one.outputs[0].name, ())
        ]
        return ends[-1] if ends else None

    def transplant(self, folder: Path, block: str) -> bool:
        """Put the shipped weights into `block.mlpackage`, whose clean ones are found by their bytes.

        Only what lies in weight files: numbers inside a program, such as an eps, are too alike to be told apart.
        """
        swaps = unambiguous(
            (self.fresh.stored_bytes(other.value), self.shipped.stored_bytes(one.value))
            for one, other in self.pairs()
            if one.value.blob and other.value.blob and within(self.place(one), block)
        )
        program = read_program(folder / f"{BLOCK}.mlpackage" / SPECIFICATION)
        values = [one.value for one in stored(program.functions[MAIN]) if one.value.blob]
        mine = {value.blob: swaps[data] for value in values if (data := program.stored_bytes(value)) in swaps}
        for place, data in mine.items():
            assert place is not None
            file = program.weight_file(place[0])
            begin, _ = file.span(place[1])
            with file.path.open("r+b") as stream:
                stream.seek(begin)
                stream.write(data)
        return bool(mine)


def converted_again(where: str, part: Part, precision: str) -> tuple[Program, Modules]:
    """A part as a program whose weights are mapped (its files are gone), and the modules of its values."""
    with quiet(), unverified(), tempfile.TemporaryDirectory(prefix="dreamlite-probe-") as folder:
        graph = traced(where, part)
        nodes = dict(enumerate(graph.graph.nodes, 1))
        for number, node in nodes.items():
            node.meta["debug_handle"] = number
        model = as_program(where, graph, part.method)
        # Compressing forgets where operators came from, and keeps their names.
        made = {
            output.name: modules_of(nodes[handle])
            for operation in model._mil_program.functions[MAIN].operations
            if operation.op_type not in CONSTANTS and (handle := handle_of(operation)) is not None
            for output in operation.outputs
        }
        save(compressed(model, precision), Path(folder) / "fresh.mlpackage")
        program = read_program(Path(folder) / "fresh.mlpackage" / SPECIFICATION)
        for one in stored(program.functions[MAIN]):
            program.constant(one.value)
    return program, made | readers(program.functions[MAIN], made)


def handle_of(operation: Any) -> int | None:
    """The number of the node that an operator came from."""
    from coremltools.converters.mil.mil.scope import ScopeSource

    found = operation.scopes.get(ScopeSource.EXIR_DEBUG_HANDLE) or []
    return next((number for number in reversed(found) if number is not None), None)


def modules_of(node: Any) -> tuple[str, ...]:
    """The modules that a node of a traced graph stands in, outermost first."""
    return tuple(path for path, _ in (node.meta.get("nn_module_stack") or {}).values())


def readers(function: Function, made: Modules) -> dict[str, tuple[str, ...]]:
    """The modules of constants: those of the first operator that reads each."""
    found: dict[str, tuple[str, ...]] = {}
    for operation in function.operations:
        for name in operation.read:
            if name not in made and operation.outputs[0].name in made:
                found.setdefault(name, made[operation.outputs[0].name])
    return found


def stored(function: Function) -> Iterator[Stored]:
    """Every constant of a function, in whatever operator it is written."""
    for operation in function.operations:
        for part, value in operation.held.items():
            yield Stored(operation.outputs[0].name, part, value)


def same(mine: Constant, wanted: Constant) -> bool:
    """Whether two constants are equal to the bit."""
    if isinstance(mine, str) or isinstance(wanted, str):
        return isinstance(mine, str) and mine == wanted
    return mine.shape == wanted.shape and mine.dtype == wanted.dtype and mine.tobytes() == wanted.tobytes()


def told(mine: Constant, wanted: Constant) -> str:
    """How a constant differs from the one wanted; a single number is written out."""
    if isinstance(mine, str) or isinstance(wanted, str):
        return f"{mine!r} where {wanted!r} belongs"
    if mine.size == wanted.size == 1:
        return f"{mine.item():g} where {wanted.item():g} belongs"
    return described(mine.ravel(), wanted.ravel())


def shown(operation: Operation) -> str:
    """`y = add(x=a, y=b)`; constants written into the operator are left out."""
    inputs = (
        f"{name}={'/'.join(texts)}"
        for name, bound in sorted(operation.inputs.items())
        if (texts := [item for item in bound if isinstance(item, str)])
    )
    return f"{', '.join(one.name for one in operation.outputs)} = {operation.kind}({', '.join(inputs)})"
