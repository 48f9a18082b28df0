"""The program inside a `.mlpackage`, as plain data: functions, operators in order, constants."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dreamlite_mobile.bundle_fields import check_relative
from dreamlite_mobile.errors import BundleError
from dreamlite_mobile.runtime.mil.weights import WeightFile, unpacked
from dreamlite_mobile.runtime.mil.wire import WireError, fields, message, number, packed_integers, text

ML_PROGRAM = 502
"""The field of Core ML's `Model` message that holds an ML program."""
MODEL_PATH = "@model_path/"
DTYPES = {
    1: "bool",
    2: "string",
    10: "fp16",
    11: "fp32",
    12: "fp64",
    21: "int8",
    22: "int16",
    23: "int32",
    24: "int64",
    25: "int4",
    31: "uint8",
    32: "uint16",
    33: "uint32",
    34: "uint64",
    35: "uint4",
    36: "uint2",
    37: "uint1",
    38: "uint6",
    39: "uint3",
}
_LISTS = {1: "<f4", 2: "int", 3: "int", 4: "text", 5: "int", 6: "<f8", 7: "bytes"}
"""How the lists of an immediate value lie in the file, by field number."""

Constant = NDArray[Any] | str


@dataclass(frozen=True, slots=True)
class TensorType:
    """Kind of number (as MIL names it) and static shape."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """An input of a function or a result of an operator."""

    name: str
    type: TensorType


@dataclass(frozen=True, slots=True)
class Value:
    """A constant in the program (`immediate`: a field number of `TensorValue` and its list) or in a weight file."""

    type: TensorType
    immediate: tuple[int, memoryview] | None = None
    blob: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One operator. Every input is the names or constants bound to it; lists of them only where MIL has lists."""

    kind: str
    inputs: Mapping[str, tuple[str | Value, ...]]
    outputs: tuple[Named, ...]
    attributes: Mapping[str, Value] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Names the layer in messages: the operator and its first result."""
        return f"{self.kind} {self.outputs[0].name!r}" if self.outputs else self.kind

    @property
    def held(self) -> dict[str, Value]:
        """The constants written into it, by the name of their input or attribute; lists of them by their place too."""
        found = {
            name if len(bound) == 1 else f"{name}.{place}": item
            for name, bound in self.inputs.items()
            for place, item in enumerate(bound)
            if isinstance(item, Value)
        }
        return found | {name: value for name, value in self.attributes.items() if name != "name"}

    @property
    def read(self) -> list[str]:
        """The names bound to its inputs."""
        return [item for bound in self.inputs.values() for item in bound if isinstance(item, str)]


@dataclass(frozen=True, slots=True)
class Function:
    """One callable of a program, `operations` in the order of execution."""

    opset: str
    inputs: tuple[Named, ...]
    outputs: tuple[str, ...]
    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """A package's functions by name, and where its weights lie."""

    path: Path
    functions: Mapping[str, Function]
    files: dict[str, WeightFile] = field(default_factory=dict)

    def constant(self, value: Value) -> Constant:
        """The array (or the text) that a constant stands for; BundleError when it cannot be read."""
        if value.blob is not None:
            name, offset = value.blob
            return self.weight_file(name).read(offset, value.type.dtype, value.type.shape)
        try:
            return immediate(value)
        except (ValueError, LookupError, TypeError, OverflowError) as error:
            raise BundleError(f"{self.path}: a constant of type {value.type} cannot be read: {error}") from error

    def weight_file(self, name: str) -> WeightFile:
        """A weight file, opened once; BundleError for one that is missing or not the package's own."""
        if name not in self.files:
            self.files[name] = WeightFile(self.path.parent / weight_path(self.path, name))
        return self.files[name]

    def stored_bytes(self, value: Value) -> bytes:
        """A constant of a weight file as it lies there."""
        assert value.blob is not None
        name, offset = value.blob
        return self.weight_file(name).stored(offset)


def read_program(path: Path) -> Program:
    """The program in a package's `model.mlmodel`; weights are read when asked for.

    Raises:
        BundleError: a file that is missing, damaged, no ML program, or with shapes that are not static.
    """
    try:
        return Program(path, _functions(memoryview(path.read_bytes())))
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}. Copy or export the bundle again.") from error
    except (ValueError, LookupError, OverflowError) as error:
        raise BundleError(f"{path}: not a program that can be read: {error}. Export the bundle again.") from error


def _functions(model: memoryview) -> dict[str, Function]:
    programs = [message(value) for key, value in fields(model) if key == ML_PROGRAM]
    if len(programs) != 1:
        raise WireError("it holds no ML program")
    entries = [_entry(message(value)) for key, value in fields(programs[0]) if key == 2]
    return {name: _function(body) for name, body in entries}


def weight_path(program: Path, name: str) -> str:
    """Where a weight file lies beside its program; BundleError for a place outside of the package."""
    where = f"{program}: names a weight file {name!r} that is not its own"
    if not name.startswith(MODEL_PATH):
        raise BundleError(f"{where}: it does not begin with {MODEL_PATH}")
    try:
        return check_relative(name.removeprefix(MODEL_PATH))
    except ValueError as error:
        raise BundleError(f"{where}: {error}") from error


def immediate(value: Value) -> Constant:
    """A constant written into the program itself."""
    if value.immediate is None:
        raise ValueError("it is neither a tensor nor in a file")
    kind, data = value.immediate
    stored, (dtype, shape) = _LISTS[kind], (value.type.dtype, value.type.shape)
    if stored == "text":
        (only,) = (text(item) for key, item in fields(data) if key == 1)
        return only
    whole = b"".join(bytes(message(item)) for key, item in fields(data) if key == 1)
    if stored == "bytes":
        return unpacked(whole, dtype, shape)
    if stored == "int":
        return packed_integers(memoryview(whole)).reshape(shape).astype(bool if dtype == "bool" else np.int64)
    return np.frombuffer(whole, stored).reshape(shape)


def _entry(data: memoryview) -> tuple[str, memoryview]:
    """Key and value of one entry of a map."""
    found = dict(fields(data))
    return text(found[1]), message(found.get(2, memoryview(b"")))


def _function(data: memoryview) -> Function:
    """The block that the function's own operator set selects."""
    inputs, opset, blocks = [], "", {}
    for key, value in fields(data):
        if key == 1:
            inputs.append(_named(message(value)))
        elif key == 2:
            opset = text(value)
        elif key == 3:
            name, block = _entry(message(value))
            blocks[name] = block
    outputs, operations = [], []
    for key, value in fields(blocks[opset]):
        if key == 2:
            outputs.append(text(value))
        elif key == 3:
            operations.append(_operation(message(value)))
    return Function(opset, tuple(inputs), tuple(outputs), tuple(operations))


def _operation(data: memoryview) -> Operation:
    kind, inputs, outputs, attributes = "", {}, [], {}
    for key, value in fields(data):
        if key == 1:
            kind = text(value)
        elif key == 2:
            name, argument = _entry(message(value))
            inputs[name] = tuple(_bindings(argument))
        elif key == 3:
            outputs.append(_named(message(value)))
        elif key == 5:
            name, constant = _entry(message(value))
            attributes[name] = _value(constant)
    return Operation(kind, inputs, tuple(outputs), attributes)


def _bindings(argument: memoryview) -> Iterator[str | Value]:
    for key, value in fields(argument):
        if key == 1:
            for bound, what in fields(message(value)):
                yield text(what) if bound == 1 else _value(message(what))


def _named(data: memoryview) -> Named:
    found = dict(fields(data))
    return Named(text(found[1]), _type(message(found[2])))


def _type(data: memoryview) -> TensorType:
    """A tensor's type; anything else (lists, states) has none of the kinds known here."""
    found = dict(fields(data))
    if 1 not in found:
        return TensorType("other", ())
    dtype, shape = 0, []
    for key, value in fields(message(found[1])):
        if key == 1:
            dtype = number(value)
        elif key == 3:
            shape.append(_dimension(message(value)))
    return TensorType(DTYPES[dtype], tuple(shape))


def _dimension(data: memoryview) -> int:
    found = dict(fields(data))
    if 1 not in found:
        raise WireError("a shape is not static")
    return sum(number(size) for key, size in fields(message(found[1])) if key == 1)


def _value(data: memoryview) -> Value:
    found = dict(fields(data))
    kind = _type(message(found[2]))
    if 5 in found:
        place = dict(fields(message(found[5])))
        return Value(kind, blob=(text(place[1]), number(place.get(2, 0))))
    content = dict(fields(message(found[3]))) if 3 in found else {}
    if 1 not in content:
        return Value(kind)
    lists = [(key, message(value)) for key, value in fields(message(content[1]))]
    return Value(kind, immediate=lists[0] if lists else None)
