"""Traced shards with their layers in place again: what counts, rounds or plans layers finds them under their names."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Node

from export.shards import Shard

WEIGHT = ".weight"


def put_back(shards: Sequence[Shard], names: Collection[str]) -> None:
    """Make modules of the linear layers and convolutions of traced shards, in place; their methods share them.

    They hold the parameters that the graphs did, so nothing is copied.

    Args:
        names: of those that are layers of their own, not parts of one of another kind.
    """
    for shard in shards:
        known: dict[str, nn.Module] = {}
        for part in shard.parts.values():
            for graph_module in [module for module in part.module.modules() if isinstance(module, GraphModule)]:
                put_back_layers(graph_module, names, known)


def put_back_layers(graph_module: GraphModule, names: Collection[str], known: dict[str, nn.Module]) -> None:
    """The layers of one graph; `known` are those that another method of the shard has made."""
    graph = graph_module.graph
    for node in [node for node in graph.nodes if node.target in MAKERS]:
        weight, bias = node.args[1], node.args[2] if len(node.args) > 2 else None
        name = str(weight.target).removesuffix(WEIGHT)
        if weight.op != "get_attr" or name not in names:
            continue
        if name not in known:
            known[name] = layer(node, graph_module.get_parameter(str(weight.target)), parameter(graph_module, bias))
        graph_module.set_submodule(name, known[name])
        with graph.inserting_before(node):
            called = graph.call_module(name, (node.args[0],))
        called.meta = dict(node.meta)
        node.replace_all_uses_with(called)
        graph.erase_node(node)
    for node in [node for node in graph.nodes if node.op == "get_attr" and not node.users]:
        graph.erase_node(node)
    graph_module.recompile()


def parameter(graph_module: GraphModule, node: Node | None) -> nn.Parameter | None:
    """What a node fetches."""
    return None if node is None else graph_module.get_parameter(str(node.target))


def layer(node: Node, weight: nn.Parameter, bias: nn.Parameter | None) -> nn.Module:
    """The module that computes what the operator does."""
    made = MAKERS[node.target](weight, bias is not None, *node.args[3:])
    made.weight = weight
    if bias is not None:
        made.bias = bias
    return made.eval()


def linear(weight: torch.Tensor, bias: bool) -> nn.Linear:
    """Of weights [O, C]."""
    return nn.Linear(weight.shape[1], weight.shape[0], bias, device="meta")


def convolution(
    weight: torch.Tensor,
    bias: bool,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> nn.Conv2d:
    """Of weights [O, C / groups, H, W]."""
    outputs, inputs, *kernel = weight.shape
    return nn.Conv2d(
        inputs * groups, outputs, pair(kernel), pair(stride), pair(padding), pair(dilation), groups, bias, device="meta"
    )


def transposed(
    weight: torch.Tensor,
    bias: bool,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    further: Sequence[int] = (0, 0),
    groups: int = 1,
    dilation: Sequence[int] = (1, 1),
) -> nn.ConvTranspose2d:
    """Of weights [C, O / groups, H, W]."""
    inputs, outputs, *kernel = weight.shape
    return nn.ConvTranspose2d(
        inputs,
        outputs * groups,
        pair(kernel),
        pair(stride),
        pair(padding),
        pair(further),
        groups,
        bias,
        pair(dilation),
        device="meta",
    )


def pair(sides: Sequence[int]) -> tuple[int, int]:
    """Of a traced list, which is no plain one."""
    height, width = sides
    return height, width


MAKERS: Mapping[Any, Callable[..., nn.Linear | nn.Conv2d | nn.ConvTranspose2d]] = {
    torch.ops.aten.linear.default: linear,
    torch.ops.aten.conv2d.default: convolution,
    torch.ops.aten.conv_transpose2d.input: transposed,
}
