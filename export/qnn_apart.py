"""Group norms whose groups the HTP's compiler would cut in integers, without a word.

It normalises each part of a concatenation by itself, be it one of the network or one that it makes itself where it
works on some channels after others (64, then 32 of 96). Where a group has channels of two parts the result is noise:
64 + 32 channels in 8 groups -9 dB, 64 + 64 in 8 groups are right, and in fp16 both are. A reshape in front of the norm
keeps it whole, whatever else reads its input; a product with one does so only sometimes.

A group of one channel and few pixels goes wrong as well (behind a downsampler 28 dB instead of 64), and the same
reshape mends it. At 8 x 16 pixels it is right without, and in some graphs wrong with it.
"""

from itertools import accumulate
from math import prod
from typing import Any

import torch
from torch.fx import GraphModule, Node

CHANNELS = 1
DEPTH = 32
"""The compiler's own parts are multiples of so many channels."""
FEW = 32
"""Pixels (4 x 8) of which a group of one channel comes out wrong; at 8 x 16 it is right as traced."""


def keep_whole(graph_module: GraphModule) -> list[str]:
    """Let each group norm that would be cut see one column of pixels, in place.

    Returns:
        the names of those group norms.
    """
    graph, found = graph_module.graph, []
    for norm in [node for node in graph.nodes if node.target is torch.ops.aten.group_norm.default]:
        x = norm.args[0]
        if not would_be_cut(x, norm.args[1]):
            continue
        shape = list(x.meta["val"].shape)
        with graph.inserting_before(norm):
            column = reshaped(x, [*shape[:2], shape[2] * shape[3], 1])
        norm.replace_input_with(x, column)
        norm.meta = {**norm.meta, "val": column.meta["val"]}
        with graph.inserting_after(norm):
            picture = reshaped(norm, shape)
        norm.replace_all_uses_with(picture, delete_user_cb=lambda user, own=picture: user is not own)
        found.append(norm.name)
    graph_module.recompile()
    return found


def would_be_cut(x: Node, groups: int) -> bool:
    """Whether a group of x's channels may lie in two parts of a concatenation, the network's or the compiler's; or is
    one channel of few pixels."""
    shape = x.meta["val"].shape
    width = shape[CHANNELS] // groups
    if DEPTH % width or (width == 1 and prod(shape[2:]) <= FEW):
        return True
    if x.target is not torch.ops.aten.cat.default or len(x.args) < 2 or x.args[1] != CHANNELS:
        return False
    parts: Any = x.args[0]
    seams = accumulate(part.meta["val"].shape[CHANNELS] for part in parts[:-1])
    return any(seam % width for seam in seams)


def reshaped(node: Node, shape: list[int]) -> Node:
    """A reshape of a node, at the graph's insertion point."""
    result = node.graph.call_function(torch.ops.aten.reshape.default, (node, shape))
    result.meta = {**node.meta, "val": node.meta["val"].reshape(shape)}
    return result
