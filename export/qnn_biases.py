"""Biases that their 32 bits cannot hold.

The HTP adds a bias to the sums of a layer with 8-bit weights in steps of the input's step times the weight's. Behind
an activation that calibration hardly ever saw above zero the step is tiny, and a bias of ordinary size does not fit: it
would be clipped without a word (the trained tiny autoencoder's encoder went from 46 to 6 dB). There the input gets a
wider range.

Biases of norms have steps of their own, and the largest lies at the end of its range: its sign turns there.
"""

from typing import Any

import torch
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e import MinMaxObserver

BIASED = (torch.ops.aten.conv2d.default, torch.ops.aten.linear.default, torch.ops.aten.conv_transpose2d.input)
WHOLE = 2**31 - 1
LITTLE = 1 + 2.0**-16
LARGEST = 2.0**29
"""The largest code of a bias: a quarter of what 32 bits hold, for the products are added to it."""


def make_room(prepared: GraphModule) -> list[str]:
    """Widen, in place, the calibrated range of each input whose layer's bias would not fit.

    Returns:
        the names of those layers' operators.
    """
    keep_largest(prepared)
    found = []
    for node in prepared.graph.nodes:
        if node.target not in BIASED or len(node.args) < 3 or not isinstance(node.args[2], Node):
            continue
        seen, weights = (attribute(prepared, node.args[at]) for at in (0, 1))
        bias = attribute(prepared, source(node.args[2]))
        if not (isinstance(seen, MinMaxObserver) and isinstance(bias, torch.Tensor)):
            continue
        step, least = seen.calculate_qparams()[0], (bias.abs() / weights.calculate_qparams()[0]).max() / LARGEST
        if step < least:
            seen.max_val = seen.max_val + (least - step) * (seen.quant_max - seen.quant_min)
            found.append(node.name)
    return found


def keep_largest(prepared: GraphModule) -> None:
    """Widen, in place, the ranges of tensors with 32-bit codes of their own (biases of norms) by a little.

    The largest code is none that fp32 has: it becomes 2^31, which turns to -2^31.
    """
    for seen in prepared.modules():
        if isinstance(seen, MinMaxObserver) and seen.quant_max == WHOLE:
            seen.min_val, seen.max_val = seen.min_val * LITTLE, seen.max_val * LITTLE


def source(node: Node) -> Node:
    """What an observer's node observes; any other node itself."""
    return node.args[0] if node.op == "call_module" and isinstance(node.args[0], Node) else node


def attribute(module: GraphModule, node: Any) -> Any:
    """The observer or tensor that a node names, or None."""
    found: Any = module
    for part in str(node.target).split(".") if node.op in ("call_module", "get_attr") else ():
        found = getattr(found, part)
    return None if found is module else found
