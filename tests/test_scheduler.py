"""Oracle: diffusers' FlowMatchEulerDiscreteScheduler, called as DreamLiteMobilePipeline calls it."""

from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.pipelines.dreamlite.pipeline_dreamlite_mobile import calculate_shift, retrieve_timesteps
from hypothesis import given
from hypothesis import strategies as st

from dreamlite_mobile.config import SchedulerConfig
from dreamlite_mobile.errors import ConfigError
from dreamlite_mobile.scheduler import (
    euler_step,
    mu,
    sigma_table,
    sinusoid,
    sinusoid_frequencies,
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


@pytest.mark.parametrize("cfg", [PUBLISHED, replace(PUBLISHED, max_shift=1.15)], ids=["silent", "max_shift 1.15"])
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


def torch_frequencies(dim: int, freq_shift: float) -> np.ndarray:
    exponents = -log(10000) * torch.arange(dim // 2, dtype=torch.float32) / (dim // 2 - freq_shift)
    return torch.exp(exponents).numpy()


@pytest.mark.parametrize("dim", [2, 6, 32, 33, 64, 256, 320])
@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("freq_shift", [0.0, 0.5])
def test_sinusoid_equals_get_timestep_embedding_given_its_frequencies(dim: int, flip: bool, freq_shift: float) -> None:
    tables = [timesteps(sigma_table(n, w, w, VAE_SCALE, PUBLISHED)) for n in STEPS for w in (256, 1024)]
    values = np.concatenate([*tables, np.arange(256, 1025, 32, dtype=np.float32)])
    expected = get_timestep_embedding(
        torch.from_numpy(values), dim, flip_sin_to_cos=flip, downscale_freq_shift=freq_shift
    ).numpy()
    found = sinusoid(values, dim, flip, freq_shift, frequencies=torch_frequencies(dim, freq_shift))
    assert found.dtype == np.float32 and found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-7


@pytest.mark.parametrize("dim", [32, 256])
def test_own_frequencies_are_correctly_rounded_and_within_one_bit_of_torch(dim: int) -> None:
    own, theirs = sinusoid_frequencies(dim, 0.0), torch_frequencies(dim, 0.0)
    exact = np.exp(
        (np.float32(-log(10000)) * np.arange(dim // 2, dtype=np.float32) / np.float32(dim // 2)).astype(float)
    )
    assert np.abs(own - exact).max(where=np.ones(dim // 2, bool), initial=0) <= (0.5 * np.spacing(own)).max()
    assert (np.abs(own - exact) <= 0.5000001 * np.spacing(own)).all()
    assert (np.abs(own - theirs) <= np.spacing(own)).all()


@pytest.mark.parametrize("dim", [32, 256])
def test_sinusoid_with_own_frequencies_stays_within_one_bit_of_angle(dim: int) -> None:
    values = np.array([1000.0, 937.5, 250.0, 1024.0, 768.0], np.float32)
    expected = get_timestep_embedding(torch.from_numpy(values), dim, flip_sin_to_cos=True, downscale_freq_shift=0.0)
    difference = np.abs(sinusoid(values, dim, True, 0.0) - expected.numpy())
    assert difference.max() <= 1024 * 2**-24
    assert (difference.max(axis=0) > 1e-6).mean() <= 0.03


def test_sinusoid_takes_whole_numbers() -> None:
    np.testing.assert_array_equal(
        sinusoid(np.array([512, 1024]), 32, True, 0.0), sinusoid(np.array([512.0, 1024.0]), 32, True, 0.0)
    )


@pytest.mark.parametrize(("dim", "freq_shift"), [(0, 0.0), (1, 0.0), (2, 1.0)])
def test_a_sinusoid_without_frequencies_is_refused(dim: int, freq_shift: float) -> None:
    with pytest.raises(ConfigError, match="leave no frequencies"):
        sinusoid(np.array([1.0]), dim, True, freq_shift)
