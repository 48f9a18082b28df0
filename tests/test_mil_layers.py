"""Layers and compressed weights of the MIL evaluator over shapes and attributes. Oracles: torch's own functions, and
numbers one by one.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from mil_calls import call, lengths, normal, quick, same, shapes

from dreamlite_mobile.runtime.mil.compressed import blockwise_shift_scale, lut_to_dense


@quick
@given(shape=shapes(1, 3), out=lengths, bias=st.booleans())
def test_linear(shape: tuple[int, ...], out: int, bias: bool) -> None:
    x, weight, added = normal(*shape), normal(out, shape[-1], seed=1), normal(out, seed=2)
    expected = torch.einsum("...i,oi->...o", x, weight) + (added if bias else 0)
    assert same(call("linear", x=x, weight=weight, bias=added if bias else None), expected)


@quick
@given(batch=shapes(0, 2), rows=lengths, inner=lengths, columns=lengths, flips=st.tuples(st.booleans(), st.booleans()))
def test_matmul(batch: tuple[int, ...], rows: int, inner: int, columns: int, flips: tuple[bool, bool]) -> None:
    x, y = normal(*batch, rows, inner), normal(*batch, inner, columns, seed=1)
    found = call(
        "matmul",
        x=x.mT.contiguous() if flips[0] else x,
        y=y.mT.contiguous() if flips[1] else y,
        transpose_x=flips[0],
        transpose_y=flips[1],
    )
    assert same(found, torch.einsum("...ij,...jk->...ik", x, y))


@quick
@given(heads=lengths, rows=lengths, keys=lengths, width=lengths, mask=st.sampled_from([None, "added", "allowed"]))
def test_attention(heads: int, rows: int, keys: int, width: int, mask: str | None) -> None:
    query, key, value = normal(1, heads, rows, width), normal(1, heads, keys, width), normal(1, heads, keys, 3)
    added = None if mask is None else normal(1, 1, rows, keys, seed=3)
    if mask == "allowed":
        added = (added > 0).index_fill(-1, torch.tensor(0), True)
    found = call("scaled_dot_product_attention", query=query, key=key, value=value, attn_mask=added)
    assert same(found, F.scaled_dot_product_attention(query, key, value, added))


@quick
@given(
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    groups=st.sampled_from([1, 2, 4]),
    pad=st.tuples(*[st.integers(0, 2)] * 4),
    bias=st.booleans(),
)
def test_convolution(
    kernel: tuple[int, int], stride: int, dilation: int, groups: int, pad: tuple[int, ...], bias: bool
) -> None:
    x, weight = normal(1, 4, 7, 8), normal(8, 4 // groups, *kernel, seed=1)
    added = normal(8, seed=2) if bias else None
    found = call(
        "conv",
        x=x,
        weight=weight,
        bias=added,
        strides=[stride, stride],
        dilations=[dilation, dilation],
        groups=groups,
        pad_type="custom",
        pad=list(pad),
    )
    top, bottom, left, right = pad
    padded = torch.zeros(1, 4, 7 + top + bottom, 8 + left + right)
    padded[:, :, top : top + 7, left : left + 8] = x
    assert same(found, F.conv2d(padded, weight, added, stride, 0, dilation, groups))


@quick
@given(kernel=st.integers(1, 4), stride=st.integers(1, 3), size=st.integers(4, 9))
def test_same_padding_keeps_the_length_over_the_stride(kernel: int, stride: int, size: int) -> None:
    """More goes behind than in front, and the other way round for `same_lower`. Oracle: both, written out."""
    x, weight = normal(1, 1, size, size), normal(1, 1, kernel, kernel, seed=1)
    out = -(-size // stride)
    total = max((out - 1) * stride + kernel - size, 0)
    for kind, front in (("same", total // 2), ("same_lower", total - total // 2)):
        padded = F.pad(x, (front, total - front, front, total - front))
        found = call("conv", x=x, weight=weight, strides=[stride, stride], pad_type=kind)
        assert same(found, F.conv2d(padded, weight, stride=stride)) and found.shape[-1] == out
    assert same(call("conv", x=x, weight=weight), F.conv2d(x, weight))


@quick
@given(
    kernel=st.integers(2, 4), stride=st.integers(1, 2), pad=st.integers(0, 1), groups=st.sampled_from([1, 2]),
    extra=st.integers(0, 1),
)  # fmt: skip
def test_transposed_convolution(kernel: int, stride: int, pad: int, groups: int, extra: int) -> None:
    extra = min(extra, stride - 1, pad)
    x, weight, bias = normal(1, 4, 3, 5), normal(4, 6 // groups, kernel, kernel, seed=1), normal(6, seed=2)
    expected = F.conv_transpose2d(x, weight, bias, stride, pad, extra, groups)
    found = call(
        "conv_transpose",
        x=x,
        weight=weight,
        bias=bias,
        strides=[stride, stride],
        groups=groups,
        pad_type="custom",
        pad=[pad] * 4,
        output_shape=list(expected.shape),
    )
    assert same(found, expected)


@quick
@given(shape=shapes(2), affine=st.booleans(), draw=st.data())
def test_layer_norm(shape: tuple[int, ...], affine: bool, draw: st.DataObject) -> None:
    count = draw.draw(st.integers(1, len(shape)))
    x, inner = normal(*shape), shape[-count:]
    gamma, beta = (normal(*inner, seed=1), normal(*inner, seed=2)) if affine else (None, None)
    found = call("layer_norm", x=x, axes=list(range(-count, 0)), gamma=gamma, beta=beta, epsilon=1e-3)
    assert same(found, F.layer_norm(x, inner, gamma, beta, 1e-3))


@quick
@given(channels=lengths, affine=st.booleans(), flat=st.booleans())
def test_instance_norm(channels: int, affine: bool, flat: bool) -> None:
    x = normal(1, channels, 12) if flat else normal(1, channels, 3, 4)
    gamma, beta = (normal(channels, seed=1), normal(channels, seed=2)) if affine else (None, None)
    found = call("instance_norm", x=x, gamma=gamma, beta=beta, epsilon=1e-3)
    assert same(found, F.instance_norm(x, weight=gamma, bias=beta, eps=1e-3))


@quick
@given(channels=lengths, affine=st.booleans())
def test_batch_norm(channels: int, affine: bool) -> None:
    x, mean, variance = normal(1, channels, 3, 4), normal(channels, seed=3), normal(channels, seed=4).square()
    gamma, beta = (normal(channels, seed=1), normal(channels, seed=2)) if affine else (None, None)
    found = call("batch_norm", x=x, mean=mean, variance=variance, gamma=gamma, beta=beta)
    assert same(found, F.batch_norm(x, mean, variance, gamma, beta))


@quick
@given(blocks=shapes(1, 3), offset=st.booleans(), draw=st.data())
def test_shifted_and_scaled_blocks(blocks: tuple[int, ...], offset: bool, draw: st.DataObject) -> None:
    """Oracle: number by number."""
    random = np.random.default_rng(0)
    repeats = [draw.draw(st.integers(1, 3)) for _ in blocks]
    shape = [count * repeat for count, repeat in zip(blocks, repeats, strict=True)]
    given = {
        "data": random.integers(-128, 128, shape).astype(np.int8),
        "scale": random.uniform(0.5, 2, blocks).astype(np.float32),
    }
    if offset:
        given["offset"] = random.integers(-5, 5, blocks).astype(np.int8)
    found = blockwise_shift_scale(given)
    for index in np.ndindex(*shape):
        block = tuple(at // repeat for at, repeat in zip(index, repeats, strict=True))
        shift = float(given["offset"][block]) if offset else 0.0
        assert found[index] == pytest.approx((given["data"][index] - shift) * given["scale"][block], rel=1e-6)


@quick
@given(blocks=shapes(1, 3), bits=st.sampled_from([1, 2, 4, 6]), vector=st.integers(1, 3), draw=st.data())
def test_palettes(blocks: tuple[int, ...], bits: int, vector: int, draw: st.DataObject) -> None:
    """A palette for each block, entries of one or several numbers along an axis. Oracle: number by number."""
    random = np.random.default_rng(0)
    repeats = [draw.draw(st.integers(1, 3)) for _ in blocks]
    shape = [count * repeat for count, repeat in zip(blocks, repeats, strict=True)]
    axis = draw.draw(st.integers(-len(shape), len(shape) - 1)) % len(shape)
    indices = random.integers(0, 1 << bits, shape).astype(np.uint8)
    lut = random.standard_normal((*blocks, 1 << bits, vector)).astype(np.float32)
    found = lut_to_dense({"indices": indices, "lut": lut, "vector_axis": np.array(axis)})
    assert found.shape == tuple(length * (vector if at == axis else 1) for at, length in enumerate(shape))
    for place in np.ndindex(*found.shape):
        index = tuple(at // (vector if number == axis else 1) for number, at in enumerate(place))
        block = tuple(at // repeat for at, repeat in zip(index, repeats, strict=True))
        assert found[place] == lut[(*block, indices[index], place[axis] % vector)]
