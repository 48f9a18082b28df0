"""What a manifest says of exported networks: components, their methods, the programs of each method."""

import math
from typing import Annotated, Literal

from pydantic import Field

from dreamlite_mobile.bundle_fields import Count, Natural, Precision, RelativePath, Text
from dreamlite_mobile.strict import Strict


class TensorSpec(Strict):
    """One named input or output with a static shape; row-major."""

    name: Text
    shape: Annotated[tuple[Count, ...], Field(min_length=1, max_length=5)]
    dtype: Literal["float32"] = "float32"

    @property
    def nbytes(self) -> int:
        return 4 * math.prod(self.shape)


class Delegates(Strict):
    """How a lowered method is cut: delegate calls, and the operators left outside of them."""

    count: Natural
    operators_outside: tuple[Text, ...] = ()


class Traffic(Strict):
    """Bytes a compiler counts between DDR and the accelerator's own memory in one run; the first two hold the others.

    Spilled and filled are what did not fit in between.
    """

    read_bytes: Natural
    written_bytes: Natural
    spilled_bytes: Natural
    filled_bytes: Natural

    @property
    def moved_bytes(self) -> int:
        """Read and written."""
        return self.read_bytes + self.written_bytes


class HandedSpec(Strict):
    """One tensor that a shard takes or gives: of the method, float32, or handed on from shard to shard, float16."""

    name: Text
    shape: Annotated[tuple[Count, ...], Field(min_length=1, max_length=5)]
    dtype: Literal["float32", "float16"]


class ShardEntry(Strict):
    """One program of a method that is cut into several: what it takes and gives, in call order.

    Programs whose tensors have no names of their own (`.pte`) need this; Core ML packages state it themselves.
    """

    inputs: Annotated[tuple[HandedSpec, ...], Field(min_length=1)]
    outputs: Annotated[tuple[HandedSpec, ...], Field(min_length=1)]
    traffic: Traffic | None = None


class MethodEntry(Strict):
    """One callable of a component. `file` holds its program and is one of the component's files.

    `then`: the programs that go on where it ends, in order, for a method that is cut into several. Each takes by name
    what it needs of the method's inputs and of what the programs before it gave. `shards` says what that is, program
    by program, where the programs do not say it themselves; delegates and traffic are of all of them together.
    """

    file: RelativePath
    then: tuple[RelativePath, ...] = ()
    shards: tuple[ShardEntry, ...] = ()
    inputs: Annotated[tuple[TensorSpec, ...], Field(min_length=1)]
    outputs: Annotated[tuple[TensorSpec, ...], Field(min_length=1)]
    delegates: Delegates | None = None
    traffic: Traffic | None = None


class ComponentEntry(Strict):
    """One exported network. `files` lists everything it reads (programs and external weights)."""

    files: Annotated[tuple[RelativePath, ...], Field(min_length=1)]
    precision: Precision
    methods: Annotated[dict[Text, MethodEntry], Field(min_length=1)]
