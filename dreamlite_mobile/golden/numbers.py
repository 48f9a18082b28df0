"""Philox words, normal deviates, sigma tables and Euler steps, every float as its bits."""

from dataclasses import asdict, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dreamlite_mobile.config import SchedulerConfig
from dreamlite_mobile.noise import MAX_SEED, NAME, initial_latents, philox
from dreamlite_mobile.scheduler import MAX_STEPS, euler_step, sigma_table

SEEDS = (0, 1, 42, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63, 0x0123456789ABCDEF, MAX_SEED)
BLOCKS = (0, 1, 2, 2**16, 2**32 - 1, 2**32, 2**40 + 7)
DEVIATES = 4098
"""Not a multiple of four: the last block is cut."""
SIZES = ((1024, 1024), (512, 512), (768, 1024), (256, 256), (64, 64), (1600, 1216), (2048, 2048))
SCHEDULES = {
    "published": SchedulerConfig(),
    "steeper": replace(SchedulerConfig(), base_shift=0.3, max_shift=1.6),
    "fixed": replace(SchedulerConfig(), use_dynamic_shifting=False, shift=3.0),
    "none": replace(SchedulerConfig(), use_dynamic_shifting=False),
}
VAE_SCALE = 8


def noise_cases() -> dict[str, Any]:
    """Philox words of some blocks and the first deviates of some seeds; 64-bit numbers as text."""
    words = [
        {"seed": str(seed), "block": str(block), "words": _philox(seed, block)}
        for seed, block in product(SEEDS, BLOCKS)
    ]
    normals = [{"seed": str(seed), "bits": bits(initial_latents(seed, (DEVIATES,)))} for seed in SEEDS]
    return {"name": NAME, "philox": words, "normals": normals}


def schedule_cases() -> dict[str, Any]:
    """Sigma tables for every number of steps, and Euler steps through one of them."""
    tables = [
        {
            "steps": steps, "width": width, "height": height, "vae_scale": VAE_SCALE, "scheduler": asdict(schedule),
            "bits": bits(sigma_table(steps, width, height, VAE_SCALE, schedule)),
        }
        for schedule in SCHEDULES.values()
        for width, height in SIZES
        for steps in range(1, MAX_STEPS + 1)
    ]  # fmt: skip
    return {"tables": tables, "euler": _euler()}


def bits(values: NDArray[np.float32]) -> list[int]:
    """float32 as unsigned 32-bit numbers."""
    numbers: list[int] = np.ascontiguousarray(values, np.float32).view(np.uint32).reshape(-1).tolist()
    return numbers


def _philox(seed: int, block: int) -> list[int]:
    counter = np.array([[block & 0xFFFFFFFF, block >> 32, 0, 0]], np.uint64)
    words: list[int] = philox(counter, (seed & 0xFFFFFFFF, seed >> 32))[0].tolist()
    return words


def _euler() -> list[dict[str, Any]]:
    sigmas = sigma_table(4, 1024, 1024, VAE_SCALE, SchedulerConfig())
    latents, velocity = initial_latents(1, (64,)), initial_latents(2, (64,))
    steps = []
    for sigma, following in zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True):
        after = euler_step(latents, velocity, sigma, following)
        ends = bits(np.array([sigma, following], np.float32))
        steps.append({"sigmas": ends, "latents": bits(latents), "velocity": bits(velocity), "after": bits(after)})
        latents = after
    return steps
