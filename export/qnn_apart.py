"""Group norms of concatenations, which the HTP's compiler gets wrong in integers.

It normalises each part of the concatenation by itself, which is right only where no group has channels of two parts:
64 + 64 channels in 8 groups are right, 64 + 32 in 8 groups are noise (-9 dB), and it says nothing. In fp16 both are
right. A reshape between the two operators keeps them apart, whatever else reads the concatenation; a product with one
does so only sometimes.
"""

from itertools import accumulate

import torch
from torch.fx import GraphModule, Node

CHANNELS = 1


def keep_apart(graph_module: GraphModule) -> list[str]:
    """Let each group norm of a concatenation whose groups reach over a seam see rows of pixels, in place.

    Returns:
        the names of those group norms.
    """
    graph, found = graph_module.graph, []
    for norm in [node for node in graph.nodes if node.target is torch.ops.aten.group_norm.default]:
        joined = norm.args[0]
        if not (isinstance(joined, Node) and joined.target is torch.ops.aten.cat.default and crosses(norm, joined)):
            continue
        shape = list(joined.meta["val"].shape)
        with graph.inserting_before(norm):
            rows = reshaped(joined, [*shape[:2], shape[2] * shape[3], 1])
        norm.replace_input_with(joined, rows)
        norm.meta = {**norm.meta, "val": rows.meta["val"]}
        with graph.inserting_after(norm):
            picture = reshaped(norm, shape)
        norm.replace_all_uses_with(picture, delete_user_cb=lambda user, own=picture: user is not own)
        found.append(norm.name)
    graph_module.recompile()
    return found


def reshaped(node: Node, shape: list[int]) -> Node:
    """A reshape of a node, at the graph's insertion point."""
    result = node.graph.call_function(torch.ops.aten.reshape.default, (node, shape))
    result.meta = {**node.meta, "val": node.meta["val"].reshape(shape)}
    return result


def crosses(norm: Node, joined: Node) -> bool:
    """Whether a group of the norm has channels of two parts of the concatenation."""
    parts, axis = joined.args[0], joined.args[1] if len(joined.args) > 1 else 0
    if axis != CHANNELS:
        return False
    assert isinstance(parts, (list, tuple))
    width = joined.meta["val"].shape[CHANNELS] // norm.args[1]
    seams = accumulate(part.meta["val"].shape[CHANNELS] for part in parts[:-1])
    return any(seam % width for seam in seams)
