"""What a compiled graph gives, in the order in which its method says.

The HTP's runtime binds results to a method's by the place at which the graph defines them, whatever they are called.
Passes of the lowering move them: of a picture that is read through a reshape, the transposition that hands it on is
left at the end, that of a later picture is folded into its operator. The two then come in each other's memory, without
a word where it suffices (codes are not converted in between, as fp16 and fp32 results are).
"""

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from executorch.backends.qualcomm._passes.qnn_pass_manager import get_qnn_pass_manager_cls
from torch.export import ExportedProgram
from torch.fx import Graph, GraphModule, Node

from dreamlite_mobile.errors import ExportError


@contextlib.contextmanager
def results_in_order() -> Iterator[None]:
    """For this block, the last thing done to a graph before it is compiled is `define_in_order`."""
    manager = get_qnn_pass_manager_cls()
    real = manager.transform_for_preprocess_pipeline

    def transformed(self: Any, program: ExportedProgram, use_mha2sha: bool = False) -> GraphModule:
        made: GraphModule = real(self, program, use_mha2sha)
        define_in_order(made.graph)
        return made

    with mock.patch.object(manager, "transform_for_preprocess_pipeline", transformed):
        yield


def define_in_order(graph: Graph) -> None:
    """Where results are defined in another order than they are given in: what each is made of, then it, in place.

    What no result is made of goes.

    Raises:
        ExportError: a result that is made of a later one.
    """
    end: Any = graph.output_node()
    results = [result for result in dict.fromkeys(end.args[0]) if result.op == "call_function"]
    place = {node: index for index, node in enumerate(graph.nodes)}
    if results == sorted(results, key=place.__getitem__):
        return
    ordered: dict[Node, None] = {}
    for result in results:
        ordered |= dict.fromkeys(sorted(made_of(result), key=place.__getitem__))
    found = [node for node in ordered if node in results]
    if found != results:
        raise ExportError(
            f"the runtime would give {', '.join(map(str, found))} as {', '.join(map(str, results))}; "
            "cut it elsewhere (--shards)"
        )
    graph.eliminate_dead_code()
    for node in ordered:
        end.prepend(node)
    graph.lint()


def made_of(result: Node) -> set[Node]:
    """A result and the operators that it needs."""
    found, waiting = set[Node](), [result]
    while waiting:
        node = waiting.pop()
        if node.op == "call_function" and node not in found:
            found.add(node)
            waiting += node.all_input_nodes
    return found
