"""The flow-match Euler schedule as tables. numpy only.

Everything is float32 with the same order of operations as diffusers' `FlowMatchEulerDiscreteScheduler` (called the
way `DreamLiteMobilePipeline` calls it), so that the tables are equal bit for bit.
"""

import math

import numpy as np
from numpy.typing import NDArray

from dreamlite_mobile.config import SchedulerConfig
from dreamlite_mobile.errors import ConfigError

Float32 = NDArray[np.float32]

MIN_STEPS = 1
MAX_STEPS = 50
PATCH = 2
"""Latents along one side that the schedule counts as one position."""


def mu(image_seq_len: int, cfg: SchedulerConfig) -> float:
    """How far the schedule is shifted for a picture of `image_seq_len` positions: a line through two known lengths.

    Mirrors `calculate_shift` of `DreamLiteMobilePipeline`; lengths outside the two known ones extrapolate, as there.
    """
    slope = (cfg.max_shift - cfg.base_shift) / (cfg.max_image_seq_len - cfg.base_image_seq_len)
    return image_seq_len * slope + (cfg.base_shift - slope * cfg.base_image_seq_len)


def sigma_table(steps: int, width: int, height: int, vae_scale: int, cfg: SchedulerConfig) -> Float32:
    """Noise levels of a run of `steps` steps on a `width` x `height` picture: float32 [steps + 1], 1.0 down to 0.0.

    Equal bit for bit to `FlowMatchEulerDiscreteScheduler.sigmas` after `set_timesteps(sigmas=linspace(1, 1/n, n),
    mu=mu)`. With `use_dynamic_shifting` off the size does not matter and `cfg.shift` applies instead.

    Raises:
        ConfigError: `steps` outside 1...50, or a side that is not a positive number of pixels.
    """
    check_steps(steps)
    if width < vae_scale or height < vae_scale:
        raise ConfigError(
            f"size {width}x{height}: a side is shorter than one latent; give at least {vae_scale}x{vae_scale} pixels"
        )
    even = np.linspace(1.0, 1 / steps, steps).astype(np.float32)
    if cfg.use_dynamic_shifting:
        positions = (width // vae_scale) * (height // vae_scale) // PATCH**2
        shift = math.exp(mu(positions, cfg))
        shifted = shift / (shift + (1 / even - 1))
    else:
        shifted = cfg.shift * even / (1 + (cfg.shift - 1) * even)
    return np.append(shifted, np.float32(0.0))


def check_steps(steps: int) -> None:
    """Refuse a step count outside 1...50 (ConfigError)."""
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or not MIN_STEPS <= steps <= MAX_STEPS:
        raise ConfigError(
            f"steps: found {steps!r}; supported are whole numbers from {MIN_STEPS} to {MAX_STEPS}"
            " (DreamLite-mobile was distilled for 4)"
        )


def timesteps(sigmas: Float32, cfg: SchedulerConfig | None = None) -> Float32:
    """What the U-Net is told at each step: float32 [steps], `num_train_timesteps` (1000) times sigma, without the 0."""
    scale = (cfg or SchedulerConfig()).num_train_timesteps
    return sigmas[:-1] * np.float32(scale)


def euler_step(latents: Float32, velocity: Float32, sigma: float, sigma_next: float) -> Float32:
    """One Euler step in float32: latents + (sigma_next - sigma) * velocity. Inputs are left as they are.

    Mirrors `FlowMatchEulerDiscreteScheduler.step`: the difference of the two float32 noise levels is taken in float32.
    """
    dt = np.float32(sigma_next) - np.float32(sigma)
    return latents.astype(np.float32, copy=False) + dt * velocity.astype(np.float32, copy=False)
