"""Operators that move numbers without changing them. Definitions and defaults: MIL, iOS 18 operator set."""

from collections.abc import Mapping
from itertools import accumulate

import torch

from dreamlite_mobile.runtime.mil.arguments import Arguments
from dreamlite_mobile.runtime.mil.elementwise import Kernel


def reshape(given: Arguments) -> torch.Tensor:
    """-1 stands for what is left, 0 for the input's own length there."""
    x = given.tensor("x")
    shape = [x.shape[axis] if length == 0 else length for axis, length in enumerate(given.integers("shape"))]
    return x.reshape(shape)


def transpose(given: Arguments) -> torch.Tensor:
    return given.tensor("x").permute(given.integers("perm"))


def expand_dims(given: Arguments) -> torch.Tensor:
    """`axes` count in the result."""
    x = given.tensor("x")
    axes = given.integers("axes")
    rank = x.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def squeeze(given: Arguments) -> torch.Tensor:
    x = given.tensor("x")
    ones = tuple(axis for axis, length in enumerate(x.shape) if length == 1)
    axes = given.integers("axes", ones)
    if any(x.shape[axis] != 1 for axis in axes):
        given.refuse(f"drops the axes {list(axes)} of {list(x.shape)}")
    return x.squeeze(axes)


def concat(given: Arguments) -> torch.Tensor:
    if given.flag("interleave", False):
        given.refuse("interleaves, which is not supported")
    return torch.cat(given.tensors("values"), given.integer("axis"))


def split(given: Arguments) -> list[torch.Tensor]:
    """By `split_sizes`, or into `num_splits` equal parts."""
    x, axis = given.tensor("x"), given.integer("axis")
    length = x.shape[axis]
    if "split_sizes" in given.given:
        sizes = list(given.integers("split_sizes"))
    else:
        count = given.integer("num_splits")
        sizes = [length // count] * count
    if sum(sizes) != length:
        given.refuse(f"cuts {length} into {sizes}")
    begins = [0, *accumulate(sizes)][:-1]
    return [x.narrow(axis, begin, size) for begin, size in zip(begins, sizes, strict=True)]


def slice_by_index(given: Arguments) -> torch.Tensor:
    """As Python slices, where a mask opens an end and a squeezed axis keeps one index and goes."""
    x = given.tensor("x")
    none = (False,) * x.ndim
    begins, ends = given.integers("begin"), given.integers("end")
    strides = given.integers("stride", (1,) * x.ndim)
    open_begin, open_end = given.flags("begin_mask", none), given.flags("end_mask", none)
    squeezed = given.flags("squeeze_mask", none)
    for axis in range(x.ndim):
        if squeezed[axis]:
            places = range(begins[axis] % x.shape[axis], begins[axis] % x.shape[axis] + 1)
        else:
            begin = None if open_begin[axis] else begins[axis]
            end = None if open_end[axis] else ends[axis]
            places = range(x.shape[axis])[begin : end : strides[axis]]
        x = taken(x, axis, places)
    return x.squeeze(tuple(axis for axis in range(x.ndim) if squeezed[axis]))


def taken(x: torch.Tensor, axis: int, places: range) -> torch.Tensor:
    """The given places along one axis."""
    if places.step == 1:
        return x.narrow(axis, places.start, len(places))
    return x.index_select(axis, torch.tensor(list(places), dtype=torch.int64))


def slice_by_size(given: Arguments) -> torch.Tensor:
    """A size of -1 reaches to the end."""
    x = given.tensor("x")
    for axis, (begin, size) in enumerate(zip(given.integers("begin"), given.integers("size"), strict=True)):
        x = x.narrow(axis, begin, x.shape[axis] - begin if size == -1 else size)
    return x


def tile(given: Arguments) -> torch.Tensor:
    return given.tensor("x").repeat(given.integers("reps"))


def upsample_nearest_neighbor(given: Arguments) -> torch.Tensor:
    """Whole factors only: each pixel of [N, C, H, W] is repeated."""
    x = given.tensor("x")
    for axis, name in ((2, "scale_factor_height"), (3, "scale_factor_width")):
        factor = given.number(name, 1.0)
        if factor != int(factor):
            given.refuse(f"has {name} {factor}, which is not whole")
        x = x.repeat_interleave(int(factor), axis)
    return x


SHAPING: Mapping[str, Kernel] = {
    "concat": concat,
    "expand_dims": expand_dims,
    "reshape": reshape,
    "slice_by_index": slice_by_index,
    "slice_by_size": slice_by_size,
    "squeeze": squeeze,
    "tile": tile,
    "transpose": transpose,
    "upsample_nearest_neighbor": upsample_nearest_neighbor,
}
