"""Shards that compute the same with other weights: blocks of a network follow each other, and most are alike.

Their weights get names that tell their place only, so that what is compiled of one depends on none of the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import TypeGuard

import torch
from torch import nn
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg

from export.shards import Boundaries, Shard

TOGETHER = 6
"""Most shards that one worker compiles: more leave other workers idle at the end, and long without a word."""


@dataclass(slots=True)
class Names:
    """A name for each weight by when it is first asked for."""

    known: dict[int, str] = field(default_factory=dict)

    def of(self, weight: torch.Tensor) -> str:
        return self.known.setdefault(id(weight), f"weight_{len(self.known)}")


def alike(shards: Sequence[Shard], chosen: Sequence[int]) -> list[list[int]]:
    """The chosen shards, those together that compute the same; no more than a worker takes."""
    found: dict[str, list[int]] = {}
    for index in chosen:
        found.setdefault(computed(shards[index]), []).append(index)
    return [group[at : at + TOGETHER] for group in found.values() for at in range(0, len(group), TOGETHER)]


def computed(shard: Shard) -> str:
    """Operators, shapes, constants and which weight is used where, but no name and no number of a weight."""
    names, lines = Names(), list[str]()
    for method, part in shard.parts.items():
        lines.append(f"{method} {[(spec.shape, spec.dtype) for spec in (*part.method.inputs, *part.method.outputs)]}")
        lines += lines_of(part.module, names)
    return "\n".join(lines)


def lines_of(module: nn.Module, names: Names) -> list[str]:
    """A line for a boundary and one per operator of its graph; any other module is like no other."""
    if isinstance(module, Boundaries):
        return [f"{module.takes} {module.gives} {module.codes}", *lines_of(module.module, names)]
    if not is_plain(module):
        return [f"{type(module).__qualname__} {id(module)}"]
    place = {node: f"%{index}" for index, node in enumerate(module.graph.nodes)}
    lines = []
    for node in module.graph.nodes:
        arguments = map_arg((node.args, node.kwargs), lambda one: place[one])
        called = node.target if node.op == "call_function" else ""
        if node.op == "get_attr":
            weight = weight_of(module, node)
            called = f"{names.of(weight)} {weight.dtype} {tuple(weight.shape)}"
        lines.append(f"{node.op} {called} {arguments} {getattr(node.meta.get('val'), 'shape', '')}")
    return lines


def is_plain(module: nn.Module) -> TypeGuard[GraphModule]:
    """Whether it is a graph that calls functions with weights, as `torch.export` leaves it but for graphs in graphs."""
    return isinstance(module, GraphModule) and all(
        node.op in ("placeholder", "output", "call_function")
        or (node.op == "get_attr" and isinstance(fetched(module, node), torch.Tensor))
        for node in module.graph.nodes
    )


def plainly_named(shard: Shard) -> Shard:
    """The same shard whose weights are called by their places."""
    names = Names()
    parts = {method: replace(part, module=renamed(part.module, names)) for method, part in shard.parts.items()}
    return replace(shard, parts=parts)


def renamed(module: nn.Module, names: Names) -> nn.Module:
    """A boundary or a graph with the weights' new names; anything else as it is."""
    if isinstance(module, Boundaries):
        return Boundaries(renamed(module.module, names), module.takes, module.gives, module.codes)
    if not is_plain(module):
        return module
    graph, copies, weights = Graph(), dict[Node, Node](), dict[str, torch.Tensor]()
    for node in module.graph.nodes:
        copies[node] = graph.node_copy(node, copies.__getitem__)
        if node.op == "get_attr":
            weight = weight_of(module, node)
            copies[node].target = names.of(weight)
            weights[names.of(weight)] = weight
    return GraphModule(weights, graph)


def weight_of(module: GraphModule, node: Node) -> torch.Tensor:
    """The weight that a node of the graph fetches."""
    found = fetched(module, node)
    assert isinstance(found, torch.Tensor)
    return found


def fetched(module: GraphModule, node: Node) -> object:
    """What a node of the graph fetches."""
    return attrgetter(str(node.target))(module)
