"""The operators of the MIL evaluator over shapes and attributes; layers are in `test_mil_layers.py`. Oracles: torch's
own functions and numpy.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from mil_calls import call, normal, quick, same, shapes

from dreamlite_mobile.errors import BundleError
from dreamlite_mobile.runtime.mil.arguments import Arguments
from dreamlite_mobile.runtime.mil.compressed import DECODERS
from dreamlite_mobile.runtime.mil.evaluator import OPERATORS
from dreamlite_mobile.runtime.mil.shaping import split

UNARY = {
    "abs": torch.abs,
    "cos": torch.cos,
    "erf": torch.special.erf,
    "exp": torch.exp,
    "identity": lambda x: x,
    "relu": lambda x: x.clamp(min=0),
    "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
    "silu": lambda x: x / (1 + torch.exp(-x)),
    "sin": torch.sin,
    "softplus": lambda x: torch.log1p(torch.exp(x)),
    "square": lambda x: x * x,
    "tanh": torch.tanh,
}
POSITIVE = {
    "inverse": lambda x: 1 / (x + 1e-4),
    "rsqrt": lambda x: (x + 1e-12) ** -0.5,
    "sqrt": lambda x: x**0.5,
}
BINARY = {
    "add": lambda x, y: x + y,
    "maximum": lambda x, y: torch.where(x > y, x, y),
    "minimum": lambda x, y: torch.where(x < y, x, y),
    "mul": lambda x, y: x * y,
    "real_div": lambda x, y: x / y,
    "sub": lambda x, y: x - y,
}
REDUCTIONS = {"reduce_max": np.max, "reduce_mean": np.mean, "reduce_min": np.min, "reduce_sum": np.sum}


@pytest.mark.parametrize("kind", UNARY)
@quick
@given(shape=shapes())
def test_one_number_at_a_time(kind: str, shape: tuple[int, ...]) -> None:
    x = normal(*shape) * 3
    assert same(call(kind, x=x), UNARY[kind](x))


@pytest.mark.parametrize("kind", POSITIVE)
@quick
@given(shape=shapes())
def test_roots_and_inverses_add_their_default_epsilon(kind: str, shape: tuple[int, ...]) -> None:
    x = normal(*shape).abs() + 1e-3
    assert same(call(kind, x=x), POSITIVE[kind](x))


@quick
@given(epsilon=st.floats(0, 1))
def test_a_given_epsilon_replaces_the_default(epsilon: float) -> None:
    x = normal(7).abs() + 0.1
    assert same(call("rsqrt", x=x, epsilon=epsilon), (x + epsilon) ** -0.5)
    assert same(call("inverse", x=x, epsilon=epsilon), 1 / (x + epsilon))


@pytest.mark.parametrize("kind", BINARY)
@quick
@given(shape=shapes(), draw=st.data())
def test_two_tensors_are_broadcast(kind: str, shape: tuple[int, ...], draw: st.DataObject) -> None:
    other = [draw.draw(st.sampled_from([1, length])) for length in shape][draw.draw(st.integers(0, len(shape) - 1)) :]
    x, y = normal(*shape), normal(*other, seed=1) + 3
    assert same(call(kind, x=x, y=y), BINARY[kind](x, y))


@quick
@given(shape=shapes(), power=st.sampled_from([2.0, 3.0, 0.5, -1.0]))
def test_power(shape: tuple[int, ...], power: float) -> None:
    x = normal(*shape).abs() + 0.1
    assert same(call("pow", x=x, y=power), x**power)


@pytest.mark.parametrize("kind", REDUCTIONS)
@quick
@given(shape=shapes(), keep=st.booleans(), draw=st.data())
def test_reductions(kind: str, shape: tuple[int, ...], keep: bool, draw: st.DataObject) -> None:
    axes = draw.draw(st.lists(st.integers(-len(shape), -1), min_size=1, unique=True))
    x = normal(*shape)
    expected = REDUCTIONS[kind](x.numpy(), axis=tuple(axes), keepdims=keep)
    assert same(call(kind, x=x, axes=axes, keep_dims=keep), torch.as_tensor(expected))
    assert same(call(kind, x=x), torch.as_tensor(REDUCTIONS[kind](x.numpy())))


@quick
@given(shape=shapes(), draw=st.data())
def test_softmax(shape: tuple[int, ...], draw: st.DataObject) -> None:
    axis = draw.draw(st.integers(-len(shape), len(shape) - 1))
    x = normal(*shape) * 10
    assert same(call("softmax", x=x, axis=axis), F.softmax(x.double(), axis))


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (None, lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))),
        ("EXACT", lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))),
        ("TANH_APPROXIMATION", lambda x: F.gelu(x, approximate="tanh")),
        ("SIGMOID_APPROXIMATION", lambda x: x * torch.sigmoid(1.702 * x)),
    ],
)
def test_gelu(mode: str | None, expected: object) -> None:
    x = normal(100) * 3
    assert same(call("gelu", x=x, mode=mode), expected(x))


@pytest.mark.parametrize(
    ("dtype", "kind"), [("fp16", torch.float32), ("fp32", torch.float32), ("int32", torch.int32), ("bool", torch.bool)]
)
def test_cast(dtype: str, kind: torch.dtype) -> None:
    """Short floats are held wide; the evaluator rounds them."""
    found = call("cast", x=torch.tensor([0.0, 1.7, -2.5]), dtype=dtype)
    assert found.dtype == kind and torch.equal(found, torch.tensor([0.0, 1.7, -2.5]).to(kind))


@quick
@given(shape=shapes(2), draw=st.data())
def test_reshape_and_transpose(shape: tuple[int, ...], draw: st.DataObject) -> None:
    x, perm = normal(*shape), draw.draw(st.permutations(range(len(shape))))
    assert same(call("transpose", x=x, perm=perm), torch.from_numpy(np.transpose(x.numpy(), perm)))
    assert same(call("reshape", x=x, shape=[-1]), x.flatten())
    assert same(call("reshape", x=x, shape=[0, -1]), torch.from_numpy(x.numpy().reshape(shape[0], -1)))


@quick
@given(shape=shapes(most=3), draw=st.data())
def test_expand_and_squeeze(shape: tuple[int, ...], draw: st.DataObject) -> None:
    rank = len(shape) + 1
    axis = draw.draw(st.integers(-rank, rank - 1))
    x = normal(*shape)
    expanded = call("expand_dims", x=x, axes=[axis])
    assert same(expanded, torch.from_numpy(np.expand_dims(x.numpy(), axis)))
    assert same(call("squeeze", x=expanded, axes=[axis]), x)
    assert same(call("squeeze", x=expanded), torch.from_numpy(np.squeeze(expanded.numpy())))


@quick
@given(shape=shapes(), count=st.integers(1, 3), draw=st.data())
def test_concat_and_split(shape: tuple[int, ...], count: int, draw: st.DataObject) -> None:
    axis = draw.draw(st.integers(-len(shape), len(shape) - 1))
    parts = [normal(*shape, seed=seed) for seed in range(count)]
    whole = call("concat", values=parts, axis=axis)
    assert same(whole, torch.from_numpy(np.concatenate([part.numpy() for part in parts], axis)))
    sizes = [shape[axis]] * count
    for how in ({"num_splits": torch.tensor(count)}, {"split_sizes": torch.tensor(sizes)}):
        found = split(Arguments("split", {"x": whole, "axis": torch.tensor(axis), **how}))
        assert len(found) == count and all(map(same, found, parts))


@quick
@given(length=st.integers(1, 8), draw=st.data())
def test_slices_are_pythons(length: int, draw: st.DataObject) -> None:
    """Negative places, open ends, strides both ways. Oracle: Python's slicing of a list."""
    place = st.integers(-length, length)
    begin, end = draw.draw(place), draw.draw(place)
    stride = draw.draw(st.sampled_from([-3, -2, -1, 1, 2, 3]))
    masks = draw.draw(st.tuples(st.booleans(), st.booleans()))
    values = list(range(length))
    expected = values[None if masks[0] else begin : None if masks[1] else end : stride]
    found = call(
        "slice_by_index",
        x=torch.arange(2 * length).view(2, length),
        begin=[0, begin],
        end=[0, end],
        stride=[1, stride],
        begin_mask=[True, masks[0]],
        end_mask=[True, masks[1]],
    )
    assert found.tolist() == [expected, [value + length for value in expected]]


@quick
@given(shape=shapes(2, 3), draw=st.data())
def test_a_squeezed_axis_keeps_one_index(shape: tuple[int, ...], draw: st.DataObject) -> None:
    index = draw.draw(st.integers(-shape[0], shape[0] - 1))
    x, rest = normal(*shape), [False] * (len(shape) - 1)
    found = call(
        "slice_by_index",
        x=x,
        begin=[index, *rest],
        end=[0, *shape[1:]],
        squeeze_mask=[True, *rest],
    )
    assert same(found, x[index])


@quick
@given(shape=shapes(), draw=st.data())
def test_slices_by_size(shape: tuple[int, ...], draw: st.DataObject) -> None:
    begin = [draw.draw(st.integers(0, length - 1)) for length in shape]
    size = [draw.draw(st.sampled_from([-1, length - at])) for length, at in zip(shape, begin, strict=True)]
    x = normal(*shape)
    expected = x[tuple(slice(at, None) for at in begin)]
    assert same(call("slice_by_size", x=x, begin=begin, size=size), expected)


@quick
@given(shape=shapes(), draw=st.data())
def test_tile(shape: tuple[int, ...], draw: st.DataObject) -> None:
    reps = [draw.draw(st.integers(1, 3)) for _ in shape]
    x = normal(*shape)
    assert same(call("tile", x=x, reps=reps), torch.from_numpy(np.tile(x.numpy(), reps)))


@quick
@given(height=st.integers(1, 3), width=st.integers(1, 3))
def test_nearest_upsampling(height: int, width: int) -> None:
    x = normal(1, 2, 3, 4)
    found = call("upsample_nearest_neighbor", x=x, scale_factor_height=height, scale_factor_width=float(width))
    assert same(found, F.interpolate(x, scale_factor=(height, width), mode="nearest"))


def test_no_operator_is_left_untested() -> None:
    """By the tables above, by hand, and in `test_mil_layers.py`."""
    tested = {*UNARY, *POSITIVE, *BINARY, *REDUCTIONS, *DECODERS, "const", "split", "pow", "softmax", "gelu", "cast"}
    tested |= {"reshape", "transpose", "expand_dims", "squeeze", "concat", "slice_by_index", "slice_by_size", "tile"}
    tested |= {"upsample_nearest_neighbor", "linear", "matmul", "scaled_dot_product_attention", "conv"}
    tested |= {"conv_transpose", "layer_norm", "instance_norm", "batch_norm"}
    assert tested == set(OPERATORS)


@pytest.mark.parametrize(
    ("kind", "inputs", "message"),
    [
        ("linear", {"x": normal(2, 3)}, "needs a tensor 'weight'"),
        ("gelu", {"x": normal(2), "mode": "NEAREST"}, "has mode 'NEAREST'"),
        ("cast", {"x": normal(2), "dtype": "bf16"}, "casts to 'bf16'"),
        ("concat", {"values": [normal(2)], "axis": 0, "interleave": True}, "interleaves"),
        ("conv", {"x": normal(1, 1, 3, 3), "weight": normal(1, 1, 1, 1), "pad_type": "odd"}, "pad_type 'odd'"),
        ("squeeze", {"x": normal(2, 3), "axes": [1]}, "drops the axes"),
        ("softmax", {"x": normal(2), "axis": [0, 0]}, "needs one value for 'axis'"),
        ("upsample_nearest_neighbor", {"x": normal(1, 1, 2, 2), "scale_factor_height": 1.5}, "which is not whole"),
    ],
)
def test_what_cannot_be_computed_is_refused_by_name(kind: str, inputs: dict[str, object], message: str) -> None:
    with pytest.raises(BundleError, match=f"^{kind}: .*{message}"):
        call(kind, **inputs)
