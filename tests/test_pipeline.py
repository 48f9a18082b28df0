"""The whole pipeline over torch components equals the published one; oracle: diffusers `DreamLiteMobilePipeline`."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from checkpoint_files import tiny_checkpoint
from PIL import Image

from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.errors import ConfigError, PromptError
from dreamlite_mobile.noise import initial_latents
from dreamlite_mobile.parity.metrics import psnr
from dreamlite_mobile.parity.published import PublishedPipeline
from dreamlite_mobile.parity.reference import reference_components, reference_pipeline
from dreamlite_mobile.pipeline import STAGES, Pipeline, Stages, Step, finish
from export.driver import geometry_of, prompt_encoder

SIZES = [(128, 128), (192, 96)]
PROMPT = "two green triangles under a small red circle, on a white background"
LONG = " ".join(f"and {count} blue squares" for count in range(90))


@pytest.fixture(scope="module")
def folder() -> Path:
    return tiny_checkpoint()


@pytest.fixture(scope="module")
def published(folder: Path) -> PublishedPipeline:
    return PublishedPipeline(folder)


def ours(folder: Path, width: int, height: int) -> Pipeline:
    checkpoint = open_checkpoint(folder)
    encoder = prompt_encoder(checkpoint)
    geometry = geometry_of(checkpoint.config, encoder, width, height)
    return reference_pipeline(
        checkpoint, geometry, encoder, reference_components(checkpoint, geometry, ["generate", "edit"])
    )


def source_picture() -> Image.Image:
    random = np.random.default_rng(3)
    coarse = random.integers(0, 255, (7, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((90, 130), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("prompt", [PROMPT, LONG], ids=["short", "truncated"])
def test_generate_equals_diffusers(
    folder: Path, published: PublishedPipeline, width: int, height: int, prompt: str
) -> None:
    pipeline = ours(folder, width, height)
    noise = initial_latents(11, pipeline.latents_shape)
    found, expected = finish(pipeline.generate(prompt, noise)), published.generate(prompt, noise)
    assert relative(found.latents, expected.latents) <= 1e-5
    assert psnr(np.asarray(found.picture), np.asarray(expected.picture)) >= 60


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_edit_equals_diffusers(folder: Path, published: PublishedPipeline, width: int, height: int) -> None:
    pipeline = ours(folder, width, height)
    noise, picture = initial_latents(12, pipeline.latents_shape), source_picture()
    found = finish(pipeline.edit(picture, "the circle in yellow", noise))
    expected = published.edit(picture, "the circle in yellow", noise)
    assert relative(found.latents, expected.latents) <= 1e-5
    assert psnr(np.asarray(found.picture), np.asarray(expected.picture)) >= 60


@pytest.mark.parametrize("steps", [1, 7])
def test_other_step_counts_equal_diffusers(folder: Path, published: PublishedPipeline, steps: int) -> None:
    pipeline = ours(folder, 64, 64)
    noise = initial_latents(13, pipeline.latents_shape)
    found, expected = finish(pipeline.generate(PROMPT, noise, steps)), published.generate(PROMPT, noise, steps)
    assert relative(found.latents, expected.latents) <= 1e-5


def test_prompt_picture_instruction_and_noise_all_matter(folder: Path) -> None:
    """Else the equalities above would say little."""
    pipeline = ours(folder, 64, 64)
    noise, other = (initial_latents(seed, pipeline.latents_shape) for seed in (1, 2))
    picture = source_picture()
    results = [
        finish(pipeline.generate("a red circle", noise)).latents,
        finish(pipeline.generate("a blue square", noise)).latents,
        finish(pipeline.generate("a red circle", other)).latents,
        finish(pipeline.edit(picture, "a red circle", noise)).latents,
        finish(pipeline.edit(picture.rotate(90), "a red circle", noise)).latents,
        finish(pipeline.edit(picture, "a blue square", noise)).latents,
    ]
    for index, one in enumerate(results):
        for another in results[:index]:
            assert relative(one, another) > 1e-3


def test_every_step_is_reported_with_latents_of_its_own(folder: Path) -> None:
    pipeline = ours(folder, 64, 64)
    steps: list[Step] = []
    stages = Stages()
    result = finish(pipeline.generate(PROMPT, initial_latents(1, pipeline.latents_shape), 3, stages), steps.append)
    assert [(step.index, step.steps) for step in steps] == [(0, 3), (1, 3), (2, 3)]
    assert all(earlier.sigma > later.sigma for earlier, later in pairwise(steps))
    assert not np.array_equal(steps[0].latents, steps[1].latents)
    assert np.array_equal(steps[-1].latents, result.latents)
    assert set(stages.seconds) == {"text_encoder", "unet", "vae_decoder"} <= set(STAGES)


def test_a_caller_may_stop_after_any_step(folder: Path) -> None:
    pipeline = ours(folder, 64, 64)
    stages = Stages()
    run = pipeline.generate(PROMPT, initial_latents(1, pipeline.latents_shape), 4, stages)
    next(run)
    run.close()
    assert "vae_decoder" not in stages.seconds


@pytest.mark.parametrize("steps", [0, 51, -1])
def test_step_counts_outside_the_table_are_refused(folder: Path, steps: int) -> None:
    pipeline = ours(folder, 64, 64)
    with pytest.raises(ConfigError, match="steps"):
        finish(pipeline.generate(PROMPT, initial_latents(1, pipeline.latents_shape), steps))


def test_an_empty_instruction_is_refused(folder: Path) -> None:
    pipeline = ours(folder, 64, 64)
    with pytest.raises(PromptError, match="empty"):
        finish(pipeline.edit(source_picture(), "  ", initial_latents(1, pipeline.latents_shape)))


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
