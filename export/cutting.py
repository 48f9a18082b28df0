"""A traced network cut into parts that follow each other, each with no more weights than fit one package.

Cuts fall where little has to be handed on: between the layers of a tower, between the blocks of a U-Net.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.fx import Graph, GraphModule, Node

from dreamlite_mobile.components import MethodSpec, TensorSpec
from dreamlite_mobile.errors import ExportError
from export.tracing import lean_graphs, uncollected

Weigh = Callable[[str, torch.Tensor], float]
"""Bytes that a weight of that name takes in its package."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a method: a module that takes its inputs in order and returns its outputs."""

    module: nn.Module
    method: MethodSpec


@dataclass(frozen=True, slots=True)
class Traced:
    """A method's graph: its operators in order, and for each cut what came before it and what crosses it."""

    graph: GraphModule
    method: MethodSpec
    nodes: tuple[Node, ...]
    weights: tuple[int, ...]
    """Distinct weights used before each of the cuts, of which there is one before every operator and one at the end."""
    volumes: tuple[float, ...]
    """Their bytes."""
    crossing: tuple[float, ...]
    """Numbers that would be handed on at the cut."""


def cut_methods(
    modules: Mapping[str, nn.Module], methods: Mapping[str, MethodSpec], limit: float, weigh: Weigh
) -> dict[str, list[Part]]:
    """Every method in the same number of parts, each with the same weights, so that a package can share them.

    Args:
        limit: most bytes of weights in one part.

    Raises:
        ExportError: a method that cannot be traced, or one weight that alone is larger than a part.
    """
    names = list(methods)
    total = sum(weigh(name, weight) for name, weight in modules[names[0]].named_parameters())
    if total <= limit:
        return {name: [Part(modules[name], method)] for name, method in methods.items()}
    traced = {name: trace(name, modules[name], method, weigh) for name, method in methods.items()}
    counts = [traced[names[0]].weights[place] for place in places(names[0], traced[names[0]], limit)]
    return {name: list(parts(one, [narrowest(one, count) for count in counts])) for name, one in traced.items()}


def trace(name: str, module: nn.Module, method: MethodSpec, weigh: Weigh) -> Traced:
    """A method's graph with what each cut would cost."""
    example = tuple(torch.zeros(spec.shape) for spec in method.inputs)
    try:
        with torch.no_grad(), lean_graphs(), uncollected():
            graph = torch.export.export(module, example).module(check_guards=False)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ExportError(f"{name}: cannot be traced: {error}") from error
    assert isinstance(graph, GraphModule)
    nodes = tuple(node for node in graph.graph.nodes if node.op == "call_function")
    weights = dict(graph.named_parameters())
    place = {node: index for index, node in enumerate(nodes)}
    begun: dict[int, set[str]] = {}
    for node in getters(graph, weights):
        begun.setdefault(min(place[user] for user in node.users if user in place), set()).add(str(node.target))
    used, volumes, seen = [0], [0.0], set[str]()
    for index in range(len(nodes)):
        fresh = begun.get(index, set()) - seen
        seen |= fresh
        used.append(len(seen))
        volumes.append(volumes[-1] + sum(weigh(target, weights[target]) for target in sorted(fresh)))
    crossing = np.zeros(len(nodes) + 1)
    for node in nodes:
        crossing[place[node] + 1 : last_use(node, place) + 1] += size(node)
    return Traced(graph, method, nodes, tuple(used), tuple(volumes), tuple(crossing.tolist()))


def getters(graph: GraphModule, weights: Mapping[str, nn.Parameter]) -> list[Node]:
    """The nodes that fetch a weight and are used."""
    return [node for node in graph.graph.nodes if node.op == "get_attr" and str(node.target) in weights and node.users]


def last_use(node: Node, place: Mapping[Node, int]) -> int:
    """The place of the last operator that reads a value; a result of the method is read at the end."""
    return max((place.get(user, len(place)) for user in node.users), default=place[node])


def size(node: Node) -> float:
    """Numbers in a value; what is no single tensor cannot be handed on."""
    value: Any = node.meta["val"]
    return float(prod(value.shape)) if isinstance(value, torch.Tensor) else float("inf")


def places(name: str, traced: Traced, limit: float) -> list[int]:
    """Where to cut so that no part holds more than the limit: where least crosses in each part's second half.

    Raises:
        ExportError: a weight larger than the limit.
    """
    found, start = [], 0
    while traced.volumes[-1] - traced.volumes[start] > limit:
        held = {cut: traced.volumes[cut] - traced.volumes[start] for cut in range(start + 1, len(traced.nodes))}
        fitting = [cut for cut, volume in held.items() if 0 < volume <= limit]
        if not fitting:
            raise ExportError(
                f"{name}: a single weight takes more than the {limit / 1e6:g} MB that a package may hold; "
                "allow larger ones (--package-mb)"
            )
        late = [cut for cut in fitting if held[cut] >= limit / 2] or fitting
        start = min(late, key=lambda cut: (traced.crossing[cut], -cut))
        found.append(start)
    return found


def narrowest(traced: Traced, count: int) -> int:
    """Where least crosses (the last such place) among the cuts with so many weights before them.

    Raises:
        ExportError: no such cut, since two weights are first used by the same operator.
    """
    cuts = [cut for cut, used in enumerate(traced.weights) if used == count]
    if not cuts:
        raise ExportError(
            f"no cut has {count} weights before it in a method of {len(traced.nodes)} operators, as one of the other "
            "method has: the two cannot share packages; export one mode, or allow larger packages (--package-mb)"
        )
    return min(cuts, key=lambda cut: (traced.crossing[cut], -cut))


def parts(traced: Traced, cuts: Sequence[int]) -> Iterator[Part]:
    """The parts between the cuts. What is handed on is named after the part that makes it."""
    graph = traced.graph.graph
    given = {spec.name: spec for spec in traced.method.inputs}
    names = {node: node.name for node in graph.nodes if node.op == "placeholder"}
    (end,) = (node for node in graph.nodes if node.op == "output")
    results = end.all_input_nodes
    bounds = [0, *cuts, len(traced.nodes)]
    for index, (begin, stop) in enumerate(pairwise(bounds), 1):
        inside, later = traced.nodes[begin:stop], {*traced.nodes[stop:], end}
        if stop == len(traced.nodes):
            module, takes = part_module(traced.graph, inside, results, names)
            yield Part(module, MethodSpec(tuple(given[name] for name in takes), traced.method.outputs))
            return
        made = [node for node in inside if later.intersection(node.users)]
        module, takes = part_module(traced.graph, inside, made, names)
        outputs = tuple(
            TensorSpec(f"part{index}_{count}", tuple(node.meta["val"].shape)) for count, node in enumerate(made)
        )
        yield Part(module, MethodSpec(tuple(given[name] for name in takes), outputs))
        names |= {node: spec.name for node, spec in zip(made, outputs, strict=True)}
        given |= {spec.name: spec for spec in outputs}


def part_module(
    source: GraphModule, inside: Sequence[Node], made: Sequence[Node], names: Mapping[Node, str]
) -> tuple[nn.Module, list[str]]:
    """A module of some operators of a graph, and the names of what it takes, in order.

    Args:
        made: what it returns; names: what can be handed to it. Anything else that it reads are weights and constants.
    """
    graph, copies, own = Graph(), dict[Node, Node](), set(inside)
    read = dict.fromkeys(needed for node in inside for needed in node.all_input_nodes)
    outside = [node for node in (*read, *made) if node not in own]
    taken = [node for node in dict.fromkeys(outside) if node in names]
    for node in taken:
        copies[node] = graph.placeholder(names[node])
    for node in (*(node for node in dict.fromkeys(outside) if node not in names), *inside):
        copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(tuple(copies[node] for node in made))
    return GraphModule(source, graph), [names[node] for node in taken]
