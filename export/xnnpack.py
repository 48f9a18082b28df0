"""Lowering to XNNPACK: one `.pte` per component, one delegate per method, or the name and reason of what is outside."""

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any
from unittest import mock

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import EdgeCompileConfig, ExecutorchProgramManager, to_edge_transform_and_lower
from executorch.exir.backend.utils import WhyNoPartition
from torch import nn
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node
from torch.fx.passes.infra.partitioner import Partition

from dreamlite_mobile.errors import ExportError
from export.lean_tracing import lean_tracing
from export.quantize import quantize
from export.tracing import trace_module

Methods = Mapping[str, tuple[nn.Module, tuple[torch.Tensor, ...]]]
"""Method name -> module in evaluation mode, example inputs with the static shapes."""

EDGE = EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=True)
"""Without the verifiers (each walks the whole graph; parity is proven on the file) and without dim-order operators
(every tensor of ours is contiguous, and the XNNPACK passes would only turn them back)."""


@dataclass(frozen=True, slots=True)
class Report:
    """How one method was cut: the number of delegates, and every operator outside of them with its reason."""

    delegates: int
    outside: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lowered:
    """A finished program and how each of its methods was cut."""

    program: ExecutorchProgramManager
    reports: dict[str, Report]

    def write(self, stream: IO[bytes]) -> None:
        """Write the `.pte`; weights go to the stream without another copy in memory."""
        self.program.write_to_file(stream)


def lower(methods: Methods, precision: str) -> Lowered:
    """Lower all methods into one program, in which equal weights are stored once.

    Args:
        methods: built in the `xnnpack` form. Modules are quantised in place.
        precision: `fp32`, `w8` or `w4` (see `export.quantize`).

    Raises:
        ExportError: a weight that the precision cannot hold, or a graph the compiler refuses.
    """
    for module, _ in methods.values():
        quantize(module, precision)
    partitioners = {name: WholeGraphPartitioner() for name in methods}
    try:
        with torch.no_grad():
            programs = {name: trace_module(module, inputs) for name, (module, inputs) in methods.items()}
        with lean_tracing(XnnpackPartitioner().ops_to_not_decompose(None)[0]):
            edge = to_edge_transform_and_lower(
                programs, partitioner={name: [one] for name, one in partitioners.items()}, compile_config=EDGE
            )
            reports = {
                name: cut_report(edge.exported_program(name).graph_module, one.reasons)
                for name, one in partitioners.items()
            }
            return Lowered(edge.to_executorch(), reports)
    except (RuntimeError, AssertionError, ValueError, TypeError, NotImplementedError) as error:
        raise ExportError(f"XNNPACK could not lower {', '.join(methods)}: {error}") from error


class WholeGraphPartitioner(XnnpackPartitioner):
    """XNNPACK's own checks of every operator, then one partition if all of them pass.

    The stock partitioner merges partitions pairwise, asking for every pair whether merging makes a cycle: quadratic,
    and order decides the outcome, so that it may leave two delegates where one is possible. A partition that holds
    every operator cannot make a cycle. Where an operator does not pass, the stock merging decides.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reasons: dict[str, str] = {}

    def ops_to_not_decompose(self, ep: ExportedProgram) -> tuple[list[Any], None]:
        """Keep the operators XNNPACK has; without a per-node check, ExecuTorch skips one of three decompositions."""
        operators, _ = super().ops_to_not_decompose(ep)
        return operators, None

    def generate_partitions(self, ep: ExportedProgram) -> list[Partition]:
        """One partition, or the stock ones when an operator has to stay outside."""
        with refusals() as reasons:
            groups = self.get_matched_nodes_from_configs(ep)
        taken = {node for group in groups for node in group}
        left = [node for node in ep.graph.nodes if node.op == "call_function" and node not in taken]
        if not left:
            return [Partition(id=0, nodes=[node for node in ep.graph.nodes if node in taken])]
        known = self.target_partitioner_configs
        for node in left:
            missing = "XNNPACK has no such operator" if short_name(node) not in known else "XNNPACK refuses it here"
            self.reasons[node.name] = reasons.get(node.name, missing)
        partitions: list[Partition] = super().generate_partitions(ep)
        return partitions


@contextlib.contextmanager
def refusals() -> Iterator[dict[str, str]]:
    """Collect why XNNPACK's checks refuse a node: node name -> reason. They only tell it to a debug log."""
    found: dict[str, str] = {}

    class Collect(WhyNoPartition):
        def __call__(self, node: Node, reason: str) -> None:
            found.setdefault(node.name, reason)

    configs = "executorch.backends.xnnpack.partition.config."
    with contextlib.ExitStack() as stack:
        for module in ("xnnpack_config", "gemm_configs", "generic_node_configs", "node_configs"):
            stack.enter_context(mock.patch(f"{configs}{module}.why", Collect(logging.getLogger(__name__))))
        yield found


def cut_report(graph: GraphModule, reasons: Mapping[str, str]) -> Report:
    """Count the delegates of a lowered method and name what is outside, most frequent first."""
    calls = [node for node in graph.graph.nodes if node.op == "call_function"]
    names = [short_name(node) for node in calls]
    outside = Counter(
        f"{name}: {reasons.get(node.name, 'between two delegates')}"
        for node, name in zip(calls, names, strict=True)
        if name not in {"executorch_call_delegate", "getitem"}
    )
    listed = tuple(f"{count} x {what}" for what, count in outside.most_common())
    return Report(names.count("executorch_call_delegate"), listed)


def short_name(node: Node) -> str:
    """`aten.cat.default` -> `cat.default`, the way XNNPACK's table names operators."""
    name = getattr(node.target, "__name__", str(node.target))
    parts = name.split(".")
    return ".".join(parts[1:]) if len(parts) > 2 else name
