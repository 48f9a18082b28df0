"""Shards in integers: what one hands to the next are 16-bit codes, which neither of them turns into numbers.

Both take the values' ranges from the same calibration calls, so that a code means the same to both; `codes_of` says
what, for whoever puts shards together to compare.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from executorch.backends.qualcomm._passes import TagQuantIO
from executorch.backends.qualcomm.utils.constants import (
    QCOM_PASS_ACTIVATE_KEY,
    QCOM_PASS_ARGS_KWARGS_DEFAULTS_KEY,
    QCOM_QUANT_ATTRS,
)
from torch.export import ExportedProgram
from torch.export.graph_signature import ExportGraphSignature
from torch.fx import GraphModule, Node
from torch.fx.passes.infra.pass_base import PassResult

from dreamlite_mobile.errors import ExportError
from export.shards import HANDED_ON, Code
from export.shared_inputs import SharedInputs

Met = tuple[tuple[bool, ...], tuple[bool, ...]]
"""Of each input and of each output of a method, whether it meets another shard."""
Codes = tuple[Code | None, ...]
"""What the codes stand for of each input or output, where it is one."""
GO_BY = getattr(torch, HANDED_ON)
SPAN = (0, 65_535)


def stay_codes(jobs: Mapping[Any, Any], program: ExportedProgram, takes: Sequence[bool], gives: Sequence[bool]) -> None:
    """Have the compiler's passes leave what meets other shards as it is computed with, in place."""
    taken = {name for name, is_met in zip(program.graph_signature.user_inputs, takes, strict=True) if is_met}

    def label(node: Node) -> torch.dtype | None:
        results: Any = node.graph.output_node().args[0]
        is_given = any(is_met and result is node for result, is_met in zip(results, gives, strict=True))
        return GO_BY if is_given or (node.op == "placeholder" and node.name in taken) else None

    jobs[TagQuantIO][QCOM_PASS_ACTIVATE_KEY] = True
    jobs[TagQuantIO][QCOM_PASS_ARGS_KWARGS_DEFAULTS_KEY]["get_quant_io_dtype_fn"] = label


def codes_of(program: ExportedProgram, takes: Sequence[bool], gives: Sequence[bool]) -> tuple[Codes, Codes]:
    """What the codes of a lowered shard stand for, of its inputs and of its outputs.

    Raises:
        ExportError: something handed on that has not become codes.
    """
    by_name = {node.name: node for node in program.graph.nodes}

    def code(name: str, is_met: bool) -> Code | None:
        if not is_met:
            return None
        known = by_name[name].meta.get(QCOM_QUANT_ATTRS)
        if known is None or (known["quant_min"], known["quant_max"]) != SPAN:
            raise ExportError(f"{name} is handed to another shard and was not quantised to 16 bits; cut it elsewhere")
        return float(known["scale"]), int(known["zero_point"])

    signature = program.graph_signature
    return tuple(map(code, signature.user_inputs, takes)), tuple(map(code, signature.user_outputs, gives))


class SharedCodes(SharedInputs):
    """Plans memory, and before that gives what meets other shards the dtype that its codes go by.

    Not sooner: passes run the graph on its dtypes, and fp32 operators refuse others.
    """

    def __init__(self, takes: Sequence[bool], gives: Sequence[bool]) -> None:
        super().__init__()
        self.takes, self.gives = takes, gives

    def run(self, graph_module: GraphModule, graph_signature: ExportGraphSignature | None = None) -> PassResult:
        """Of a method's whole graph."""
        assert graph_signature is not None
        given = {node.name: node for node in graph_module.graph.nodes if node.op == "placeholder"}
        inputs = [given[name] for name in graph_signature.user_inputs if isinstance(name, str)]
        results: Any = graph_module.graph.output_node().args[0]
        for node, is_met in (*zip(inputs, self.takes, strict=True), *zip(results, self.gives, strict=True)):
            if is_met:
                node.meta["spec"].scalar_type = GO_BY
        return super().run(graph_module, graph_signature)
