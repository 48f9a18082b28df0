"""Weights stored small: the `constexpr_` operators of the iOS 18 set, on raw numbers."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]
Given = Mapping[str, Numbers]


def blockwise_shift_scale(given: Given) -> Numbers:
    """(data - offset) * scale; scale and offset hold one value for each block of data."""
    data, scale = given["data"].astype(np.float32), given["scale"].astype(np.float32)
    if "offset" in given:
        data = data - spread(given["offset"].astype(np.float32), data.shape)
    return data * spread(scale, data.shape)


def lut_to_dense(given: Given) -> Numbers:
    """Every index replaced by its entry of the table of its block; entries are vectors along `vector_axis`.

    indices [...], lut [blocks along each axis ..., entries, length of an entry].
    """
    indices, lut = given["indices"], given["lut"].astype(np.float32)
    entries, length = lut.shape[-2:]
    tables = spread(lut, (*indices.shape, entries, length))
    chosen = np.take_along_axis(tables, indices.astype(np.int64)[..., None, None], axis=-2)[..., 0, :]
    if length == 1:
        return chosen[..., 0]
    axis = int(given["vector_axis"]) % indices.ndim
    moved = np.moveaxis(chosen, -1, axis + 1)
    shape = [size * length if at == axis else size for at, size in enumerate(indices.shape)]
    return moved.reshape(shape)


def spread(blocks: Numbers, shape: tuple[int, ...]) -> Numbers:
    """One value a block -> one value an element, as a view where a block is a whole axis.

    Raises:
        ValueError: a length that is not a multiple of its number of blocks.
    """
    for axis, (count, length) in enumerate(zip(blocks.shape, shape, strict=True)):
        if length % count:
            raise ValueError(f"{count} blocks along {length} values of axis {axis}")
        if count not in (1, length):
            blocks = np.repeat(blocks, length // count, axis)
    return np.broadcast_to(blocks, shape)


DECODERS: Mapping[str, Callable[[Given], Numbers]] = {
    "constexpr_blockwise_shift_scale": blockwise_shift_scale,
    "constexpr_lut_to_dense": lut_to_dense,
}
