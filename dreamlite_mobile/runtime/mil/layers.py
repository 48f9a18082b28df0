"""Products, convolutions and norms. Definitions and defaults: MIL, iOS 18 operator set."""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F

from dreamlite_mobile.runtime.mil.arguments import Arguments
from dreamlite_mobile.runtime.mil.elementwise import Kernel


def linear(given: Arguments) -> torch.Tensor:
    """x [..., in], weight [out, in] -> [..., out]."""
    return F.linear(given.tensor("x"), given.tensor("weight"), given.optional("bias"))


def matmul(given: Arguments) -> torch.Tensor:
    x, y = given.tensor("x"), given.tensor("y")
    x = x.transpose(-1, -2) if given.flag("transpose_x", False) else x
    y = y.transpose(-1, -2) if given.flag("transpose_y", False) else y
    return x @ y


def attention(given: Arguments) -> torch.Tensor:
    """Softmax of scaled products, plus the mask or (where it is of truth values) only where it allows."""
    query, key, value = (given.tensor(name) for name in ("query", "key", "value"))
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    mask = given.optional("attn_mask")
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1) @ value


def padding(given: Arguments, lengths: Sequence[int], kernel: Sequence[int], strides: Sequence[int]) -> list[int]:
    """[before, after] of every spatial axis, for a convolution over these lengths."""
    kind = given.text("pad_type", "valid")
    if kind == "valid":
        return [0, 0] * len(lengths)
    if kind == "custom":
        return list(given.integers("pad", (0, 0) * len(lengths)))
    if kind not in ("same", "same_lower"):
        given.refuse(f"has pad_type {kind!r}; supported: valid, same, same_lower, custom")
    pads = []
    for length, taps, stride in zip(lengths, kernel, strides, strict=True):
        total = max((math.ceil(length / stride) - 1) * stride + taps - length, 0)
        less, more = total // 2, total - total // 2
        pads += [less, more] if kind == "same" else [more, less]
    return pads


def conv(given: Arguments) -> torch.Tensor:
    """x [N, C, H, W], weight [out, C / groups, kH, kW]."""
    x, weight = given.tensor("x"), given.tensor("weight")
    strides, dilations = given.integers("strides", (1, 1)), given.integers("dilations", (1, 1))
    taps = [(size - 1) * step + 1 for size, step in zip(weight.shape[2:], dilations, strict=True)]
    pads = padding(given, x.shape[2:], taps, strides)
    return F.conv2d(
        F.pad(x, last_axis_first(pads)),
        weight,
        given.optional("bias"),
        stride=strides,
        dilation=dilations,
        groups=given.integer("groups", 1),
    )


def conv_transpose(given: Arguments) -> torch.Tensor:
    """x [N, C, H, W], weight [C, out / groups, kH, kW]; `pad` is cut off the full result, as `output_shape` asks."""
    x, weight = given.tensor("x"), given.tensor("weight")
    strides = given.integers("strides", (1, 1))
    full = F.conv_transpose2d(
        x,
        weight,
        given.optional("bias"),
        stride=strides,
        dilation=given.integers("dilations", (1, 1)),
        groups=given.integer("groups", 1),
    )
    kind = given.text("pad_type", "valid")
    if kind not in ("valid", "custom"):
        given.refuse(f"has pad_type {kind!r}; supported: valid, custom")
    pads = given.integers("pad", (0, 0, 0, 0)) if kind == "custom" else (0, 0, 0, 0)
    wanted = given.integers("output_shape", ()) or (0, 0, 0, 0)
    for axis, before, after in ((2, *pads[:2]), (3, *pads[2:])):
        length = wanted[axis] or full.shape[axis] - before - after
        if before + length > full.shape[axis]:
            given.refuse(f"asks for {length} of {full.shape[axis] - before} along axis {axis}")
        full = full.narrow(axis, before, length)
    return full


def last_axis_first(pads: Sequence[int]) -> list[int]:
    """torch's order of paddings."""
    pairs = [list(pads[at : at + 2]) for at in range(0, len(pads), 2)]
    return [pad for pair in reversed(pairs) for pad in pair]


def layer_norm(given: Arguments) -> torch.Tensor:
    """Over `axes` (by default all), then gamma and beta of these axes' shape."""
    x = given.tensor("x")
    axes = sorted(axis % x.ndim for axis in given.integers("axes", tuple(range(x.ndim))))
    shape = [length if axis in axes else 1 for axis, length in enumerate(x.shape)]
    centred = x - x.mean(axes, keepdim=True)
    normed = centred * torch.rsqrt(centred.square().mean(axes, keepdim=True) + given.number("epsilon", 1e-5))
    return scaled(normed, given, shape)


def instance_norm(given: Arguments) -> torch.Tensor:
    """Every channel of [N, C, ...] by its own mean and variance."""
    x = given.tensor("x")
    axes = list(range(2, x.ndim))
    centred = x - x.mean(axes, keepdim=True)
    normed = centred * torch.rsqrt(centred.square().mean(axes, keepdim=True) + given.number("epsilon", 1e-5))
    return scaled(normed, given, channel_shape(x))


def batch_norm(given: Arguments) -> torch.Tensor:
    """Every channel of [N, C, ...] by a given mean and variance."""
    x = given.tensor("x")
    shape = channel_shape(x)
    mean, variance = given.tensor("mean").reshape(shape), given.tensor("variance").reshape(shape)
    return scaled((x - mean) * torch.rsqrt(variance + given.number("epsilon", 1e-5)), given, shape)


def channel_shape(x: torch.Tensor) -> list[int]:
    """[1, C, 1, ...]."""
    return [1, x.shape[1], *([1] * (x.ndim - 2))]


def scaled(x: torch.Tensor, given: Arguments, shape: list[int]) -> torch.Tensor:
    """Times gamma plus beta, where they are given."""
    gamma, beta = given.optional("gamma"), given.optional("beta")
    x = x if gamma is None else x * gamma.reshape(shape)
    return x if beta is None else x + beta.reshape(shape)


LAYERS: Mapping[str, Kernel] = {
    "batch_norm": batch_norm,
    "conv": conv,
    "conv_transpose": conv_transpose,
    "instance_norm": instance_norm,
    "layer_norm": layer_norm,
    "linear": linear,
    "matmul": matmul,
    "scaled_dot_product_attention": attention,
}
