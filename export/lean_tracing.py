"""Lowering with fewer re-traces of the graph, for ExecuTorch 1.5.1 and torch 2.13 (both pinned).

The stock path re-traces the graph node by node some thirty times, which for the U-Net's 5,000 nodes is most of its
time. Everything that is left out here says why nothing of ours needs it.
"""

import contextlib
import importlib
from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Any
from unittest import mock

import torch
from executorch.backends.xnnpack import _passes as passes
from executorch.backends.xnnpack import xnnpack_preprocess
from executorch.exir.passes.remove_mixed_type_operators import RemoveMixedTypeOperators
from executorch.exir.passes.remove_noop_pass import RemoveNoopPass
from executorch.exir.passes.scalar_to_tensor_pass import ScalarToTensorPass
from executorch.exir.program import _program
from executorch.exir.tracer import _default_decomposition_table
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.export.graph_signature import ExportGraphSignature
from torch.fx import GraphModule, Node
from torch.fx import traceback as fx_traceback
from torch.fx.passes.infra.pass_base import PassResult
from torch.fx.traceback import NodeSource
from torch.utils import _pytree as pytree

from export.tracing import lean_graphs

CALL_DELEGATE = "torch._higher_order_ops.executorch_call_delegate"
"""The module, which torch hides behind the operator of the same name."""


class RetracedIfChanged(passes.XNNPACKPass):
    """For passes that end in a re-trace: none where they took no node away, which is all that these ever do."""

    nodes = 0

    def __call__(self, module: GraphModule) -> PassResult | None:
        self.nodes = len(module.graph.nodes)
        return super().__call__(module)

    def call(self, module: GraphModule) -> PassResult:
        return PassResult(module, False) if len(module.graph.nodes) == self.nodes else super().call(module)


class FusedActivation(passes.FuseActivationPass, RetracedIfChanged):
    """Of what runs in front of a ReLU or hard tanh."""


class RemovedCopies(passes.RemoveRedundantCopyPass, RetracedIfChanged):
    """Changes of memory format that follow each other."""


class MixedTypes(RemoveMixedTypeOperators):
    """Nothing where every operator that it looks at has floating-point tensors of one type: a re-trace less."""

    LOOKED_AT = ("add.Tensor", "mul.Tensor", "sub.Tensor", "div.Tensor", "div.Tensor_mode", "minimum.default")

    def __call__(self, module: GraphModule) -> PassResult | None:
        return super().__call__(module) if any(map(self.is_mixed, module.graph.nodes)) else PassResult(module, False)

    def is_mixed(self, node: Node) -> bool:
        if node.op != "call_function" or str(node.target).removeprefix("aten.") not in self.LOOKED_AT:
            return False
        types = {given.meta["val"].dtype if isinstance(given, Node) else type(given) for given in node.args}
        return len(types) > 1 or not all(isinstance(one, torch.dtype) and one.is_floating_point for one in types)


class NeededPasses(passes.XNNPACKPassManager):
    """XNNPACK's graph passes that can change one of our graphs: 4 of 17, most of them a re-trace.

    The others look for operators that no DreamLite network has (batch norm, prelu, bilinear upsampling, 1-D
    convolution, `max` with indices, static quantisation), undo dim-order operators (see `EDGE`), or fold constants.
    A graph that did need one would fail to serialise or miss its parity floor; it cannot pass unnoticed.
    """

    def __init__(self, exported_program: ExportedProgram, passes_: list[Any] | None = None) -> None:
        super().__init__(exported_program, passes_)
        self.passes = passes_ or [
            passes.XNNPACKRemoveCloneOpsTransform,
            FusedActivation,
            passes.ChannelsLastTaggedReshapePass,
            RemovedCopies,
        ]


class ParentOnly(NodeSource):
    """Where a node came from, without where that one came from."""

    def __init__(self, node: Node | None, pass_name: str = "", action: Any = None) -> None:
        super().__init__(None, pass_name, action)
        if node is not None:
            self.node_info = self.NodeInfo(node.name, str(node.target), id(node.graph))


@contextlib.contextmanager
def lean_tracing(kept: Iterable[OpOverload]) -> Iterator[None]:
    """`lean_edge`, `decomposed_at_once`, and of XNNPACK's own passes only the needed ones."""
    manager = lambda program, passes=None: NeededPasses(program, passes)  # noqa: E731
    with lean_edge(), decomposed_at_once(kept), mock.patch.object(xnnpack_preprocess, "XNNPACKPassManager", manager):
        yield


@contextlib.contextmanager
def decomposed_at_once(kept: Iterable[OpOverload]) -> Iterator[None]:
    """One trace that decomposes instead of two, whatever the backend.

    The stock path first traces a graph without decomposing anything, so that nothing in it is done in place, and then
    traces it with the table of decompositions. Either does what the first is for, and where nothing is left that the
    table knows, the second does not come.

    Args:
        kept: operators that are not decomposed.
    """
    table = _default_decomposition_table()
    for operator in kept:
        table.pop(operator, None)
    decompose = ExportedProgram.run_decompositions

    def at_once(program: ExportedProgram, asked: dict[Any, Any] | None = None, **options: Any) -> ExportedProgram:
        return decompose(program, table if asked == {} else asked, **options)

    with mock.patch.object(ExportedProgram, "run_decompositions", at_once):
        yield


def given_by(delegate: Any, *_: object) -> Any:
    """Empty tensors of the shapes, strides and types that a delegate gives."""
    made_of: ExportedProgram = delegate.original_module
    values = [node.meta["val"] for node in made_of.graph.output_node().args[0]]
    empty = [torch.empty_strided(value.shape, value.stride(), dtype=value.dtype) for value in values]
    return pytree.tree_unflatten(empty, made_of.call_spec.out_spec)


@contextlib.contextmanager
def lean_edge() -> Iterator[None]:
    """Four things ExecuTorch 1.5 and torch 2.13 offer no option for, replaced for this block, whatever the backend.

    The passes before the edge dialect, of which only scalars and no-ops concern our graphs (the rest turn symbolic
    sizes, transposes and broken operators, which decomposition has removed or which we do not have): each is a
    re-trace. The ancestry that every re-traced node deep-copies from its predecessor, a chain that grows with each
    pass and that nothing here reads. The tables of inputs by kind, which are built anew, over a thousand entries,
    whenever a node is asked whether it is a parameter. What a delegate gives, which is read off the graph that it was
    made of, and that is not run again to see it. And what `lean_graphs` leaves out.
    """
    with (
        lean_graphs(),
        mock.patch.object(_program, "base_pre_op_replace_passes", [ScalarToTensorPass(), RemoveNoopPass()]),
        mock.patch.object(_program, "RemoveMixedTypeOperators", MixedTypes),
        mock.patch.object(fx_traceback, "NodeSource", ParentOnly),
        mock.patch.object(importlib.import_module(CALL_DELEGATE), "call_delegate_cpu", given_by),
        contextlib.ExitStack() as tables,
    ):
        for name in ("inputs_to_parameters", "inputs_to_buffers", "inputs_to_lifted_tensor_constants"):
            tables.enter_context(mock.patch.object(ExportGraphSignature, name, remembered(name)))
        yield


def remembered(name: str) -> property:
    """The signature's table of that name, built again only when an input was added, removed or renamed."""
    build = getattr(ExportGraphSignature, name).fget
    argument_name = attrgetter("arg.name")
    last: dict[int, tuple[object, object]] = {}

    def table(signature: ExportGraphSignature) -> object:
        specs = signature.input_specs
        key = (tuple(specs), tuple(map(argument_name, specs)))
        known = last.get(id(signature))
        if known is None or known[0] != key:
            known = last[id(signature)] = (key, build(signature))
        return known[1]

    return property(table)
