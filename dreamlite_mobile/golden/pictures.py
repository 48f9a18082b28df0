"""Resized and normalised pictures: raw RGB bytes and raw little-endian float32 beside a list of what they are.

And which of a bundle's sizes an edit takes for pictures of many shapes.
"""

from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
from PIL import Image

from dreamlite_mobile.config import MOBILE
from dreamlite_mobile.images import condition_image, nearest_shape, to_picture, vision_patches
from dreamlite_mobile.noise import initial_latents

SOURCES = ((48, 32), (37, 23), (200, 120), (17, 300), (64, 64), (16, 16))
TARGETS = ((64, 64), (33, 47), (16, 128))
VISION = replace(MOBILE.vision, image_size=64, image_mean=(0.5, 0.4, 0.3), image_std=(0.5, 0.25, 0.3))
DECODED = (7, 5)
OFFERED = ((512, 512), (512, 768), (768, 512), (1024, 1024), (32, 2048))
"""Two of one shape, two that a square lies between, one far from all."""
SHAPES = (
    (1, 1), (16, 16), (640, 640), (3, 2), (2, 3), (4000, 3000), (3000, 4000), (1000, 1100), (1920, 1080), (1080, 2400),
    (16, 16384), (16384, 16), (16384, 16383), (12247, 10000), (12248, 10000), (10000, 12247), (10000, 12248),
    (1, 8), (1, 9), (64, 96), (65, 96), (1023, 1536), (1025, 1536), (1, 2**31 - 1), (2**31 - 1, 2**31 - 2),
)  # fmt: skip
"""Sides of pictures to edit; among them those next to the border between 1:1 and 3:2, sqrt(1.5) = 1.22474."""


def picture_cases() -> tuple[dict[str, Any], dict[str, bytes]]:
    """The list, and the files it names."""
    files: dict[str, bytes] = {}
    cases = []
    for index, (width, height) in enumerate(SOURCES):
        source = _source(width, height, index)
        name = f"pictures/{index}"
        files[f"{name}.rgb"] = source.tobytes()
        files[f"{name}-patches.f32"] = vision_patches(source, VISION).astype("<f4").tobytes()
        for wide, high in TARGETS:
            files[f"{name}-{wide}x{high}.rgb"] = source.resize((wide, high), Image.Resampling.LANCZOS).tobytes()
            files[f"{name}-{wide}x{high}.f32"] = condition_image(source, wide, high).astype("<f4").tobytes()
        cases.append({"name": name, "width": width, "height": height})
    files["pictures/decoded.f32"], files["pictures/decoded.rgb"] = _decoded()
    vision = {
        "picture_size": VISION.image_size, "patch_size": VISION.patch_size, "merge_size": VISION.spatial_merge_size,
        "mean": VISION.image_mean, "std": VISION.image_std, "deepstack_count": 1,
    }  # fmt: skip
    targets = [list(target) for target in TARGETS]
    document = {
        "sources": cases, "targets": targets, "vision": vision, "decoded": list(DECODED), "shapes": SHAPES,
        "nearest": _nearest(),
    }  # fmt: skip
    return document, files


def _nearest() -> list[dict[str, Any]]:
    """Which size is taken, for every order of two or three sizes: of two equally near it is the earlier one."""
    orders = [order for count in (1, 2, 3) for order in permutations(OFFERED, count)]
    return [{"sizes": order, "chosen": [nearest_shape(order, *shape) for shape in SHAPES]} for order in orders]


def _source(width: int, height: int, seed: int) -> Image.Image:
    """Noise and hard edges, where overshoot is clipped and rounding shows."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels[: height // 2, : width // 2] = 255 * (rng.random((height // 2, width // 2, 1)) > 0.5)
    return Image.fromarray(pixels)


def _decoded() -> tuple[bytes, bytes]:
    """Values inside, outside and exactly between two levels."""
    width, height = DECODED
    image = initial_latents(3, (1, 3, height, width))
    image.reshape(-1)[:20] = (np.arange(20, dtype=np.float32) + np.float32(0.5)) / np.float32(255) * 2 - 1
    return image.astype("<f4").tobytes(), to_picture(image).tobytes()
