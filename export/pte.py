"""A `.pte` with one XNNPACK delegate per method, read back into its parts and written again.

Uses executorch 1.5.1's own (private) readers and writers; the version is pinned.
"""

import json
import re
import struct
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from math import prod
from pathlib import Path
from typing import Any

import executorch.backends.xnnpack.serialization as schema_package
from executorch.backends.xnnpack.serialization.xnnpack_graph_serialize import XNNHeader
from executorch.exir._serialize._flatbuffer import _flatc_compile, _flatc_decompile
from executorch.exir._serialize._named_data_store import NamedDataStoreOutput
from executorch.exir._serialize._program import PTEFile, deserialize_pte_binary, serialize_pte_binary
from executorch.exir.schema import AllocationDetails, DataLocation, DelegateCall, EValue, Program, Tensor

from dreamlite_mobile.errors import BundleError

Graph = dict[str, Any]
"""An XNNPACK graph as flatc writes it in JSON: `xnodes`, `xvalues`, `constant_data` and the ids of its externals."""
ALIGNMENT = 16
"""Of constants, as XNNPACK wants them; reading a file back forgets it."""
EXTERNAL_OUTPUT = 2
"""XNN_VALUE_FLAG_EXTERNAL_OUTPUT."""
DAMAGED = (
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError, RuntimeError),
    *(MemoryError, StopIteration, OSError, struct.error, subprocess.CalledProcessError),
)
"""What executorch's readers, which trust their input, and flatc raise on bytes that are no program."""
_INFINITE = re.compile(rb"(:\s*)(-?)inf\b")


@dataclass(frozen=True, slots=True)
class Pte:
    """A program in parts. `graphs`: method -> the graph of its one delegate; `constants`: by the key graphs use."""

    file: PTEFile
    graphs: dict[str, Graph]
    constants: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Tap:
    """A value that is to become an output: its id in the graph and its shape as it lies in memory."""

    value: int
    shape: tuple[int, ...]


def read_pte(data: bytes, where: str) -> Pte:
    """Take a file apart.

    Raises:
        BundleError: no such file, or a method that is not one XNNPACK delegate.
    """
    try:
        file = deserialize_pte_binary(data)
        graphs = {plan.name: graph_of(file.program, plan) for plan in file.program.execution_plan}
        store = file.named_data
        entries = {} if store is None else store.pte_data
        constants = {key: bytes(store.buffers[entry.buffer_index]) for key, entry in entries.items()} if store else {}
    except DAMAGED as error:
        reason = str(error) or type(error).__name__
        raise BundleError(f"{where}: cannot be taken apart: {reason}. Export the bundle again.") from error
    return Pte(file, graphs, constants)


def graph_of(program: Program, plan: Any) -> Graph:
    """The graph of the only delegate of a method."""
    if len(plan.delegates) != 1 or plan.delegates[0].id != "XnnpackBackend" or len(plan.chains[0].instructions) != 1:
        raise ValueError(f"{plan.name} is not one XNNPACK delegate")
    return read_graph(blob_of(program, plan))


def blob_of(program: Program, plan: Any) -> bytes:
    """The delegate's bytes."""
    reference = plan.delegates[0].processed
    if reference.location != DataLocation.INLINE:
        raise ValueError(f"{plan.name}: its delegate is not in the file")
    return bytes(program.backend_delegate_data[reference.index].data)


def read_graph(blob: bytes) -> Graph:
    """Header and flatbuffer -> graph."""
    header = XNNHeader.from_bytes(blob[: XNNHeader.EXPECTED_LENGTH])
    flatbuffer = blob[header.flatbuffer_offset : header.flatbuffer_offset + header.flatbuffer_size]
    with tempfile.TemporaryDirectory() as folder:
        schema, binary = Path(folder, "schema.fbs"), Path(folder, "graph.bin")
        schema.write_bytes(files(schema_package).joinpath("schema.fbs").read_bytes())
        binary.write_bytes(flatbuffer)
        _flatc_decompile(folder, str(schema), str(binary), ["--raw-binary"])
        text = _INFINITE.sub(rb'\1"\2inf"', Path(folder, "graph.json").read_bytes())
    graph: Graph = json.loads(text)
    return graph


def write_graph(graph: Graph) -> bytes:
    """Graph -> header and flatbuffer; constants stay in the program."""
    with tempfile.TemporaryDirectory() as folder:
        schema, text = Path(folder, "schema.fbs"), Path(folder, "graph.json")
        schema.write_bytes(files(schema_package).joinpath("schema.fbs").read_bytes())
        text.write_text(json.dumps(graph))
        _flatc_compile(folder, str(schema), str(text))
        flatbuffer = Path(folder, "graph.bin").read_bytes()
    start = -(-XNNHeader.EXPECTED_LENGTH // ALIGNMENT) * ALIGNMENT
    padded = -(-len(flatbuffer) // ALIGNMENT) * ALIGNMENT
    header = XNNHeader(start, len(flatbuffer), start + padded, 0).to_bytes()
    return header.ljust(start, b"\0") + flatbuffer.ljust(padded, b"\0")


def with_taps(pte: Pte, method: str, taps: list[Tap]) -> bytes:
    """The same program with one method only, whose outputs are followed by the tapped values."""
    (plan,) = [plan for plan in pte.file.program.execution_plan if plan.name == method]
    graph = json.loads(json.dumps(pte.graphs[method]))
    tensors = {value["id_out"]: value for value in map(tensor_of, graph["xvalues"])}
    first = graph["num_externs"]
    for index, tap in enumerate(taps):
        tensors[tap.value]["flags"] |= EXTERNAL_OUTPUT
        tensors[tap.value]["external_id"] = first + index
        graph["output_ids"].append(tap.value)
    graph["num_externs"] += len(taps)
    program = pte.file.program
    delegate = plan.delegates[0]
    blob = replace(program.backend_delegate_data[delegate.processed.index], data=write_graph(graph))
    alone = replace(plan, delegates=[replace(delegate, processed=replace(delegate.processed, index=0))])
    changed = replace(program, execution_plan=[plan_with_outputs(alone, taps)], backend_delegate_data=[blob])
    return written(PTEFile(changed, pte.file.mutable_data, pte.file.named_data), pte.constants)


def tensor_of(value: Graph) -> Graph:
    """The tensor of a value, quantised or not."""
    union: Graph = value["xvalue_union"]
    return union.get("tensor_value", union)


def plan_with_outputs(plan: Any, taps: list[Tap]) -> Any:
    """The method's plan with one more planned tensor per tap, behind everything it had."""
    model = plan.values[plan.outputs[0]].val
    assert isinstance(model, Tensor) and model.allocation_info is not None
    memory = model.allocation_info.memory_id
    values, sizes = list(plan.values), list(plan.non_const_buffer_sizes)
    added = []
    for tap in taps:
        offset = -(-sizes[memory] // 64) * 64
        details = AllocationDetails(memory, offset & 0xFFFFFFFF, offset >> 32)
        values.append(
            EValue(
                replace(model, sizes=list(tap.shape), dim_order=list(range(len(tap.shape))), allocation_info=details)
            )
        )
        added.append(len(values) - 1)
        sizes[memory] = offset + 4 * prod(tap.shape)
    (instruction,) = plan.chains[0].instructions
    call = instruction.instr_args
    assert isinstance(call, DelegateCall)
    wider = replace(instruction, instr_args=DelegateCall(call.delegate_index, [*call.args, *added]))
    return replace(
        plan,
        values=values,
        outputs=[*plan.outputs, *added],
        chains=[replace(plan.chains[0], instructions=[wider])],
        non_const_buffer_sizes=sizes,
    )


def with_constants(pte: Pte, changed: Mapping[str, bytes]) -> bytes:
    """The same program with other bytes under some keys."""
    return written(pte.file, {**pte.constants, **changed})


def written(file: PTEFile, constants: Mapping[str, bytes]) -> bytes:
    """The bytes of a program with these constants, aligned as XNNPACK needs them."""
    store = file.named_data
    named = None
    if store is not None:
        entries = {
            key: replace(entry, alignment=ALIGNMENT, buffer_index=i)
            for i, (key, entry) in enumerate(store.pte_data.items())
        }
        named = NamedDataStoreOutput([constants[key] for key in entries], entries, {})
    return bytes(serialize_pte_binary(PTEFile(file.program, file.mutable_data, named), extract_delegate_segments=True))
