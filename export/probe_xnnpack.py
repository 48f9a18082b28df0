"""A shipped XNNPACK `.pte`, opened: run with the values after each block as more outputs, its constants compared.

A fresh lowering of the same module says which value belongs to which block and weight. Values are numbered alike as
long as both graphs are cut alike, which is checked.
"""

import io
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from executorch.backends.xnnpack._passes.channels_last_tagged_reshape_pass import ChannelsLastTaggedReshapePass
from executorch.backends.xnnpack.operators.node_visitor import NodeVisitor
from numpy.typing import NDArray

from dreamlite_mobile.components import MethodSpec, TensorSpec
from dreamlite_mobile.errors import BundleError
from dreamlite_mobile.parity.blocks import BLOCK, within
from dreamlite_mobile.runtime import Array
from dreamlite_mobile.runtime.executorch import ExecuTorchComponent
from export.backends import example_inputs
from export.probe import Difference, Seen, Subject, described, unambiguous
from export.pte import Graph, Pte, Tap, read_pte, tensor_of, with_constants, with_taps
from export.xnnpack import lower

NHWC = (0, 3, 1, 2)
"""Axes that turn a picture as XNNPACK holds it into [1, C, H, W]."""
STORED: Mapping[str, str] = {
    "xnn_datatype_fp32": "<f4",
    "xnn_datatype_qcint8": "i1",
    "xnn_datatype_qint8": "i1",
    "xnn_datatype_fp16": "<f2",
}
"""How constants are stored; those of other types (two 4-bit values to a byte) are compared as bytes."""


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a graph: the modules its node stands in, its shape in torch, the weight it is of, how it is held."""

    node: str
    modules: tuple[str, ...]
    shape: tuple[int, ...]
    constant: str | None
    nhwc: bool
    quantised: bool


@dataclass(frozen=True, slots=True)
class Constant:
    """One stored constant: the value it belongs to, what it is called, its key and how its numbers are stored."""

    name: str
    key: str
    dtype: str


@dataclass(frozen=True, slots=True)
class XnnpackProbe:
    """A shipped program beside the one that a fresh lowering gives."""

    subject: Subject
    shipped: Pte
    fresh: Pte
    legend: dict[int, Value]

    @classmethod
    def open(cls, subject: Subject) -> "XnnpackProbe":
        """Read the shipped program and lower the subject's module again (its linear layers are quantised in place).

        Raises:
            BundleError: a program that is not one delegate, or is cut otherwise than a fresh one.
        """
        bundle, method = subject.bundle, subject.method
        path = bundle.file(bundle.component(subject.component).methods[method].file)
        spec = subject.spec.methods[method]
        with recorded_values() as legend:
            lowered = lower(
                {method: (subject.module, example_inputs(spec))}, bundle.component(subject.component).precision
            )
        stream = io.BytesIO()
        lowered.write(stream)
        fresh = read_pte(stream.getvalue(), "a fresh lowering")
        shipped = read_pte(path.read_bytes(), str(path))
        counts = [len(pte.graphs[method]["xvalues"]) for pte in (shipped, fresh)]
        if counts[0] != counts[1]:
            raise BundleError(
                f"{path}: {method} has {counts[0]} values, a fresh lowering {counts[1]}: they cannot be placed"
            )
        return cls(subject, shipped, fresh, legend)

    def graphs(self) -> tuple[Graph, Graph]:
        """The shipped graph and the fresh one."""
        return self.shipped.graphs[self.subject.method], self.fresh.graphs[self.subject.method]

    def differences(self) -> list[Difference]:
        """Constants that are not those of the checkpoint, then operators that are not those of its graph."""
        mine, wanted = self.graphs()
        found = [
            Difference(constant.name, described(*self.numbers(constant, other))) for constant, other in self.changed()
        ]
        if len(mine["xnodes"]) != len(wanted["xnodes"]):
            text = f"{len(mine['xnodes'])} operators where a fresh lowering has {len(wanted['xnodes'])}"
            return [*found, Difference("the graph", text)]
        for left, right in zip(mine["xnodes"], wanted["xnodes"], strict=True):
            if operator(left) != operator(right):
                where = self.legend[output_of(right)]
                found.append(Difference(where.modules[-1] or where.node, f"{told(left)} where {told(right)} belongs"))
        return found

    def changed(self) -> Iterator[tuple[Constant, str]]:
        """Constants whose shipped bytes differ, each with the key its bytes are shipped under."""
        for constant, key in self.pairs():
            if self.shipped.constants[key] != self.fresh.constants[constant.key]:
                yield constant, key

    def pairs(self) -> Iterator[tuple[Constant, str]]:
        """Every constant of both programs with the key its bytes are shipped under."""
        mine, wanted = self.graphs()
        theirs = {constant.name: constant for constant in constants_of(mine, self.legend)}
        for constant in constants_of(wanted, self.legend):
            if constant.name in theirs:
                yield constant, theirs[constant.name].key

    def numbers(self, constant: Constant, key: str) -> tuple[NDArray[Any], NDArray[Any]]:
        """Shipped and wanted numbers of a constant."""
        left, right = self.shipped.constants[key], self.fresh.constants[constant.key]
        return np.frombuffer(left, constant.dtype), np.frombuffer(right, constant.dtype)

    def values(self, blocks: Mapping[str, tuple[int, ...]], inputs: Mapping[str, Array]) -> dict[str, Seen]:
        """What the shipped program holds at the end of each block of that output shape, and its own outputs."""
        mine, _ = self.graphs()
        ends = {name: end for name, shape in blocks.items() if (end := self.end_of(name, shape)) is not None}
        taps = {name: Tap(number, memory_shape(self.legend[number])) for name, number in ends.items()}
        taps = {name: tap for name, tap in taps.items() if tap.value not in mine["output_ids"]}
        unique = list({tap.value: tap for tap in taps.values()}.values())
        program = with_taps(self.shipped, self.subject.method, unique)
        method = self.subject.spec.methods[self.subject.method]
        found = run_program(program, self.subject.method, tapped_method(method, unique), inputs)
        limits = {output_of(node): clamped(node) for node in mine["xnodes"]}
        placed = {
            name: Seen(self.straightened(found[f"value_{tap.value}"], tap.value), *limits[tap.value])
            for name, tap in taps.items()
        }
        return placed | {spec.name: Seen(found[spec.name]) for spec in method.outputs}

    def straightened(self, array: Array, number: int) -> Array:
        """A value as torch has it."""
        return np.transpose(array, NHWC) if self.legend[number].nhwc else array

    def end_of(self, block: str, shape: tuple[int, ...]) -> int | None:
        """The last value that a block computes in its output's shape; None when it was fused away."""
        ends = [
            number
            for number, value in self.legend.items()
            if not (value.constant or value.quantised) and value.shape == shape and block in value.modules
        ]
        return max(ends, default=None)

    def transplant(self, folder: Path, block: str) -> bool:
        """Put the shipped constants into `block.pte`, whose clean ones are found by their keys (digests)."""
        path = folder / f"{BLOCK}.pte"
        program = read_pte(path.read_bytes(), str(path))
        swaps = unambiguous(
            (self.fresh.constants[constant.key], self.shipped.constants[key])
            for constant, key in self.pairs()
            if within(constant.name, block)
        )
        mine = {key: swaps[data] for key, data in program.constants.items() if data in swaps}
        if mine:
            path.write_bytes(with_constants(program, mine))
        return bool(mine)


@contextmanager
def recorded_values() -> Iterator[dict[int, Value]]:
    """Number of a value in the XNNPACK graph -> where it comes from, for the one method lowered in this block."""
    legend: dict[int, Value] = {}
    define = NodeVisitor.define_tensor

    def recording(
        visitor: NodeVisitor, tensor: Any, graph: Any, numbers: dict[Any, int], *args: Any, **more: Any
    ) -> None:
        known = len(graph.xvalues)
        define(visitor, tensor, graph, numbers, *args, **more)
        if len(graph.xvalues) > known:
            quantised = "quant_params" in more and more["quant_params"] is not None
            legend[numbers[tensor]] = value_of(tensor, visitor, quantised)

    with mock.patch.object(NodeVisitor, "define_tensor", recording):
        yield legend


def value_of(node: Any, visitor: NodeVisitor, quantised: bool) -> Value:
    """What a node of the lowered graph tells about its value."""
    stack = node.meta.get("nn_module_stack") or {}
    return Value(
        node=node.name,
        modules=tuple(entry[0] for entry in stack.values()) or ("",),
        shape=tuple(node.meta["val"].shape),
        constant=constant_name(node, visitor) or (quantised and constant_name(node.args[0], visitor)) or None,
        nhwc=bool(node.meta.get(ChannelsLastTaggedReshapePass.XNN_NHWC_NODE, False)),
        quantised=quantised,
    )


def constant_name(node: Any, visitor: NodeVisitor) -> str | None:
    """The weight or table that an input of the lowered graph is, or None."""
    if getattr(node, "op", None) != "placeholder":
        return None
    signature = visitor.exported_program.graph_signature
    tables = (signature.inputs_to_parameters, signature.inputs_to_buffers, signature.inputs_to_lifted_tensor_constants)
    known = next((table[node.name] for table in tables if node.name in table), None)
    if known is not None:  # a quantised weight is a parametrised one: ...parametrizations.weight.original0
        return str(known).replace(".parametrizations.", ".").removesuffix(".original0")
    return node.name if node.name.startswith(("p_", "b_", "c_")) else None


def constants_of(graph: Graph, legend: Mapping[int, Value]) -> Iterator[Constant]:
    """Every stored constant of a graph; the scales of a quantised weight are one of their own."""
    for value in graph["xvalues"]:
        tensor = tensor_of(value)
        index = tensor["constant_buffer_idx"]
        if not index:
            continue
        value_here = legend.get(tensor["id_out"])
        name = f"value {tensor['id_out']}" if value_here is None else value_here.constant or value_here.node
        yield Constant(name, graph["constant_data"][index]["named_key"], STORED.get(tensor["datatype"], "u1"))
        params = value["xvalue_union"].get("quant_params", {})
        scales = params.get("scale_buffer_idx", 0)
        if scales and scales != 0xFFFFFFFF:
            grouped = value["xvalue_union"]["quant_params_type"] == "PerChannelGroupQuant"
            key = graph["constant_data"][scales]["named_key"]
            yield Constant(f"{name} (scales)", key, "<u2" if grouped else "<f4")


def operator(node: Graph) -> str:
    """A node without the number that only debuggers read."""
    return json.dumps({key: value for key, value in node.items() if key != "debug_handle"}, sort_keys=True)


def told(node: Graph) -> str:
    return f"{node['xnode_union_type'].removeprefix('_').removeprefix('XNN')} {json.dumps(node['xnode_union'])}"


def output_of(node: Graph) -> int:
    """The value a node computes."""
    union = node["xnode_union"]
    return int(union.get("output_id", union.get("output1_id", 0)))


def clamped(node: Graph) -> tuple[float, float]:
    """What the activation fused into a node clamps its result to."""
    limits = node.get("output_min_max") or {}
    return float(limits.get("output_min", "-inf")), float(limits.get("output_max", "inf"))


def memory_shape(value: Value) -> tuple[int, ...]:
    """The shape as it lies in memory."""
    if not value.nhwc:
        return value.shape
    batch, channels, height, width = value.shape
    return batch, height, width, channels


def tapped_method(method: MethodSpec, taps: list[Tap]) -> MethodSpec:
    """The method with its taps behind its outputs."""
    more = tuple(TensorSpec(f"value_{tap.value}", tap.shape) for tap in taps)
    return MethodSpec(method.inputs, (*method.outputs, *more))


def run_program(program: bytes, name: str, method: MethodSpec, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Run a program that lies in memory."""
    with tempfile.TemporaryDirectory(prefix="dreamlite-probe-") as folder:
        path = Path(folder) / "tapped.pte"
        path.write_bytes(program)
        component = ExecuTorchComponent(path, {name: method}, name="tapped")
        outputs = component.run(name, inputs)
        component.unload()
    return outputs
