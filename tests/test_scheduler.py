"""Oracle: diffusers' FlowMatchEulerDiscreteScheduler, called as DreamLiteMobilePipeline calls it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.dreamlite.pipeline_dreamlite_mobile import calculate_shift, retrieve_timesteps
from hypothesis import given
from hypothesis import strategies as st

from dreamlite_mobile.config import SchedulerConfig
from dreamlite_mobile.errors import ConfigError
from dreamlite_mobile.scheduler import (
    euler_step,
    mu,
    sigma_table,
    timesteps,
)

SIDES = range(256, 1025, 32)
STEPS = range(1, 51)
VAE_SCALE = 8
PUBLISHED = SchedulerConfig()


def upstream(cfg: SchedulerConfig) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(
        num_train_timesteps=cfg.num_train_timesteps,
        shift=cfg.shift,
        use_dynamic_shifting=cfg.use_dynamic_shifting,
        base_shift=cfg.base_shift,
        max_shift=cfg.max_shift,
        base_image_seq_len=cfg.base_image_seq_len,
        max_image_seq_len=cfg.max_image_seq_len,
    )


def upstream_mu(width: int, height: int, cfg: SchedulerConfig) -> float:
    positions = (height // VAE_SCALE) * (width // VAE_SCALE) // 4
    return calculate_shift(positions, cfg.base_image_seq_len, cfg.max_image_seq_len, cfg.base_shift, cfg.max_shift)


def upstream_run(scheduler: FlowMatchEulerDiscreteScheduler, steps: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    sigmas = np.linspace(1.0, 1 / steps, steps)
    times, _ = retrieve_timesteps(scheduler, steps, "cpu", sigmas=sigmas, mu=shift)
    return scheduler.sigmas.numpy(), times.numpy()


@pytest.mark.parametrize("cfg", [PUBLISHED, replace(PUBLISHED, max_shift=1.16)], ids=["published", "pipeline fallback"])
def test_every_length_and_step_count_equals_diffusers_bit_for_bit(cfg: SchedulerConfig) -> None:
    scheduler = upstream(cfg)
    sizes = {(w // 8) * (h // 8) // 4: (w, h) for w in SIDES for h in SIDES}
    for width, height in sizes.values():
        shift = upstream_mu(width, height, cfg)
        for steps in STEPS:
            expected_sigmas, expected_times = upstream_run(scheduler, steps, shift)
            sigmas = sigma_table(steps, width, height, VAE_SCALE, cfg)
            assert sigmas.dtype == np.float32 and sigmas.shape == (steps + 1,)
            np.testing.assert_array_equal(sigmas, expected_sigmas)
            np.testing.assert_array_equal(timesteps(sigmas), expected_times)


def test_only_the_area_of_the_picture_counts() -> None:
    for width in SIDES:
        for height in SIDES:
            positions = (width // 8) * (height // 8) // 4
            assert mu(positions, PUBLISHED) == upstream_mu(width, height, PUBLISHED)
            np.testing.assert_array_equal(
                sigma_table(4, width, height, VAE_SCALE, PUBLISHED), sigma_table(4, height, width, VAE_SCALE, PUBLISHED)
            )


@pytest.mark.parametrize("shift", [1.0, 3.0, 0.7])
def test_static_shift_equals_diffusers_bit_for_bit(shift: float) -> None:
    cfg = replace(PUBLISHED, use_dynamic_shifting=False, shift=shift)
    for steps in STEPS:
        expected, _ = upstream_run(upstream(cfg), steps, 0.0)
        np.testing.assert_array_equal(sigma_table(steps, 1024, 512, VAE_SCALE, cfg), expected)


@given(
    steps=st.integers(1, 50),
    side=st.tuples(st.integers(1, 64), st.integers(1, 64)),
    base=st.floats(0.1, 1.0),
    extra=st.floats(0.0, 2.0),
)
def test_other_shifts_equal_diffusers_bit_for_bit(steps: int, side: tuple[int, int], base: float, extra: float) -> None:
    cfg = replace(PUBLISHED, base_shift=base, max_shift=base + extra)
    width, height = 32 * side[0], 32 * side[1]
    expected, _ = upstream_run(upstream(cfg), steps, upstream_mu(width, height, cfg))
    np.testing.assert_array_equal(sigma_table(steps, width, height, VAE_SCALE, cfg), expected)


def test_euler_steps_equal_diffusers_bit_for_bit() -> None:
    rng = np.random.default_rng(0)
    scheduler = upstream(PUBLISHED)
    upstream_run(scheduler, 7, upstream_mu(512, 768, PUBLISHED))
    sigmas = sigma_table(7, 512, 768, VAE_SCALE, PUBLISHED)
    latents = rng.standard_normal((1, 4, 6, 10), dtype=np.float32)
    expected = torch.from_numpy(latents.copy())
    for i, time in enumerate(scheduler.timesteps):
        velocity = rng.standard_normal(latents.shape, dtype=np.float32)
        expected = scheduler.step(torch.from_numpy(velocity), time, expected, return_dict=False)[0]
        latents = euler_step(latents, velocity, sigmas[i], sigmas[i + 1])
        np.testing.assert_array_equal(latents, expected.numpy())
    assert latents.dtype == np.float32


def test_euler_step_leaves_its_inputs_alone() -> None:
    latents, velocity = np.ones((1, 4, 2, 2), np.float32), np.ones((1, 4, 2, 2), np.float32)
    euler_step(latents, velocity, 1.0, 0.5)
    assert latents.min() == latents.max() == velocity.min() == velocity.max() == 1.0


@pytest.mark.parametrize("steps", [0, -1, 51, 1000, 4.0, True, "4"])
def test_steps_outside_1_to_50_are_refused(steps: object) -> None:
    with pytest.raises(ConfigError, match=r"steps: found .*1 to 50"):
        sigma_table(steps, 512, 512, VAE_SCALE, PUBLISHED)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(0, 512), (512, -32), (7, 512)])
def test_a_side_without_a_single_latent_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="shorter than one latent"):
        sigma_table(4, *size, VAE_SCALE, PUBLISHED)
