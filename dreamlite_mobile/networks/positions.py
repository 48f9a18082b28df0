"""Rotary positions of the text tower as constants. numpy only."""

import numpy as np
from numpy.typing import NDArray

from dreamlite_mobile.errors import ConfigError


def mrope_positions(length: int, image: tuple[int, int] | None, grid: int) -> NDArray[np.int64]:
    """Time, height and width positions of `length` tokens: int64 [3, length].

    Text counts up, the same in all three rows. The `grid` x `grid` image tokens at `image` (start, stop) share one
    time, their rows and columns count from it, and text resumes `grid` later. Rows past the valid tokens go on
    counting; they are masked anyway. Mirrors `Qwen3VLModel.get_rope_index` for one picture and no video.

    Raises:
        ConfigError: the image tokens are not a square grid, or lie outside the sequence.
    """
    if image is None:
        return np.tile(np.arange(length, dtype=np.int64), (3, 1))
    start, stop = image
    if stop - start != grid * grid or grid < 1:
        raise ConfigError(f"image tokens: found {stop - start} at {start}...{stop}, but the grid is {grid}x{grid}")
    if start < 0 or stop > length:
        raise ConfigError(f"image tokens: {start}...{stop} do not lie inside {length} tokens")
    rows, columns = np.divmod(np.arange(grid * grid, dtype=np.int64), grid)
    before = np.arange(start, dtype=np.int64)
    after = np.arange(length - stop, dtype=np.int64) + start + grid
    picture = np.stack([np.zeros_like(rows), rows, columns]) + start
    return np.concatenate([np.tile(before, (3, 1)), picture, np.tile(after, (3, 1))], axis=1)
