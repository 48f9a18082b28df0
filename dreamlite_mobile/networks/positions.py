"""Token positions of the text tower (M-RoPE), constants of each mode. numpy only, so that the host side can share it."""

import numpy as np


def mrope_positions(length: int, image_start: int | None, grid: int) -> np.ndarray:
    """Time, height and width position of every token, int64 [3, length] (`Qwen3VLModel.get_rope_index`).

    Text counts up along all three axes. The `grid` x `grid` image tokens at `image_start` share one time and spread
    over height and width; the text after them goes on at `image_start + grid`.
    """
    positions = np.tile(np.arange(length, dtype=np.int64), (3, 1))
    if image_start is None:
        return positions
    stop = image_start + grid * grid
    cells = np.arange(grid * grid, dtype=np.int64)
    positions[:, image_start:stop] = image_start
    positions[1, image_start:stop] += cells // grid
    positions[2, image_start:stop] += cells % grid
    positions[:, stop:] -= grid * grid - grid
    return positions
