"""Results of a program that the HTP's runtime binds by where they are defined."""

import pytest
import torch
from qnn_runs import said
from torch.fx import Graph, GraphModule

from dreamlite_mobile.errors import ExportError
from export.qnn_order import define_in_order

SKIPS = """
import json
from export.qnn_sdk import ready
ready()
from qnn_norms import codes_given, level

print("SAID" + json.dumps(codes_given(*level(both=True))), flush=True)
"""


def graph_of(results: str) -> Graph:
    """`a` is the negative of what it takes, `b` the square of that and `c`, defined at the end, its exponential."""
    graph = Graph()
    taken = graph.placeholder("x")
    a = graph.call_function(torch.neg, (taken,), name="a")
    b = graph.call_function(torch.square, (a,), name="b")
    c = graph.call_function(torch.exp, (a,), name="c")
    graph.output(tuple({"a": a, "b": b, "c": c}[name] for name in results))
    return graph


@pytest.mark.parametrize(("results", "order"), [("bc", "abc"), ("cb", "acb"), ("ac", "abc"), ("acb", "acb")])
def test_results_are_defined_in_the_order_in_which_they_are_given(results: str, order: str) -> None:
    """And are what they were."""
    graph = graph_of(results)
    wanted = GraphModule({}, graph_of(results))(torch.tensor([1.0, 2.0]))
    define_in_order(graph)
    graph.lint()
    assert "".join(node.name for node in graph.nodes if node.op == "call_function") == order
    found = GraphModule({}, graph)(torch.tensor([1.0, 2.0]))
    assert all(map(torch.equal, found, wanted))


def test_what_no_result_is_made_of_goes() -> None:
    graph = graph_of("cb")
    (a, *_) = (node for node in graph.nodes if node.name == "a")
    with graph.inserting_after(a):
        graph.call_function(torch.neg, (a,), name="unused")
    define_in_order(graph)
    assert "".join(node.name for node in graph.nodes if node.op == "call_function") == "acb"


def test_a_result_made_of_a_later_one_is_refused() -> None:
    with pytest.raises(ExportError, match=r"would give a, b as b, a; cut it elsewhere \(--shards\)"):
        define_in_order(graph_of("ba"))


@pytest.mark.qnn
@pytest.mark.slow
def test_a_picture_handed_on_and_read_as_a_column_comes_in_its_own_memory() -> None:
    """A downsampler's, which the norm behind it reads through a reshape, and the resnet's. Oracle: torch fp32."""
    small, large = said(SKIPS)
    assert small > 60 and large > 60
