"""Pictures that the image tests share."""

import numpy as np
from PIL import Image


def colourful(width: int = 48, height: int = 32, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Smooth random colours, so that a lossy format keeps them recognisable."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 6, 4), dtype=np.uint8), "RGBA")
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))[..., :channels].copy()


def rgb(width: int = 48, height: int = 32, seed: int = 0) -> Image.Image:
    return Image.fromarray(colourful(width, height, seed=seed))


def assert_same_picture(found: Image.Image, expected: Image.Image) -> None:
    assert found.mode == expected.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
