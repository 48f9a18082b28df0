"""Graphs of modules, without what torch makes of each and nobody reads (what it costs: benchmarks/htp.md, Shards)."""

import contextlib
import gc
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule
from torch.fx.graph import _PyTreeCodeGen


def trace_module(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> ExportedProgram:
    """What `torch.export.export` gives.

    Raises:
        RuntimeError, ValueError, TypeError: what cannot be traced.
    """
    with lean_graphs():
        return torch.export.export(module, inputs)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """For this block, Python does not look for cycles, of which a trace of thousands of nodes leaves few."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@contextlib.contextmanager
def lean_graphs() -> Iterator[None]:
    """For this block, no stack trace at each operator, and no Python source that every pass generates and compiles.

    Graphs are interpreted, and hardly one is ever called.
    """
    with (
        mock.patch.object(fx.config, "do_not_emit_stack_traces", True),
        mock.patch.object(GraphModule, "recompile", recompile_when_called),
    ):
        yield


REAL_RECOMPILE = GraphModule.recompile


def recompile_when_called(module: GraphModule) -> None:
    """Generate the module's source when it is called, if it ever is."""

    def forward(self: GraphModule, *args: Any, **kwargs: Any) -> Any:
        REAL_RECOMPILE(self)
        return self.forward(*args, **kwargs)

    type(module).forward = forward
    module._code = "# made when called"
    codegen = module.graph._codegen
    if isinstance(codegen, _PyTreeCodeGen):
        module._in_spec, module._out_spec = codegen.pytree_info.in_spec, codegen.pytree_info.out_spec
