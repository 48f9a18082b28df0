"""The flow-match Euler schedule as tables, and the sinusoidal features of step and size. numpy only.

Everything is float32 with the same order of operations as diffusers' `FlowMatchEulerDiscreteScheduler` (called the
way `DreamLiteMobilePipeline` calls it) and `get_timestep_embedding`, so that the tables are equal bit for bit.
"""

import math

import numpy as np
from numpy.typing import NDArray

from dreamlite_mobile.config import SchedulerConfig
from dreamlite_mobile.errors import ConfigError

Float32 = NDArray[np.float32]
Numbers = NDArray[np.floating] | NDArray[np.integer]

MIN_STEPS = 1
MAX_STEPS = 50
MAX_PERIOD = 10_000
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


def sinusoid_frequencies(dim: int, freq_shift: float) -> Float32:
    """Angular frequencies of the features, from 1 falling towards 1/10000: float32 [dim // 2], correctly rounded.

    Upstream takes `torch.exp` of the same float32 exponents, whose last bit depends on the build (MKL on x86, Sleef on
    ARM). The correctly rounded value is the one every machine can repeat; it differs from the x86 build in 2 of the
    128 published frequencies, by one unit in the last place.
    """
    half = dim // 2
    if half < 1 or half == freq_shift:
        raise ConfigError(f"sinusoid: {dim} features with frequency shift {freq_shift} leave no frequencies")
    exponents = np.float32(-math.log(MAX_PERIOD)) * np.arange(half, dtype=np.float32) / np.float32(half - freq_shift)
    return np.exp(exponents.astype(np.float64)).astype(np.float32)


def sinusoid(
    values: Numbers, dim: int, flip_sin_to_cos: bool, freq_shift: float, frequencies: Float32 | None = None
) -> Float32:
    """Sinusoidal features of `values` [n]: float32 [n, dim], cosines first when `flip_sin_to_cos`, else sines first.

    Mirrors diffusers' `get_timestep_embedding(values, dim, flip_sin_to_cos, downscale_freq_shift=freq_shift)`: angles
    are rounded to float32 as there (at timestep 1000 that rounding is worth 3e-5 radians, so it must be the same one).
    `frequencies` [dim // 2] replaces `sinusoid_frequencies(dim, freq_shift)`: with those of a given torch build the
    features equal that build's to 6e-8.
    """
    omega = sinusoid_frequencies(dim, freq_shift) if frequencies is None else frequencies
    angles = (np.asarray(values).astype(np.float32)[:, None] * omega[None, :]).astype(np.float64)
    waves = (np.cos(angles), np.sin(angles)) if flip_sin_to_cos else (np.sin(angles), np.cos(angles))
    padding = np.zeros((angles.shape[0], dim % 2))
    return np.concatenate((*waves, padding), axis=1).astype(np.float32)
