"""What the four-step student learns from: paths from noise to a picture, and where its four steps stand on them.

`distil` takes the guided teacher's paths. `mend` takes the student's own, bent so that they end in the right picture
nearest to the one that was drawn (`mending`): places and sizes stay the student's choice, so there is one right answer
for one noise, and the student is corrected where it really goes wrong (as in DAgger, Ross et al. 2011).
"""

import copy
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from dreamlite_mobile.scheduler import sigma_table
from dreamlite_mobile.tiny.drafts import features_of
from dreamlite_mobile.tiny.examples import SCENE_KINDS, edit_example, example
from dreamlite_mobile.tiny.facts import layout
from dreamlite_mobile.tiny.losses import DRAFTED, batch_of, words_of
from dreamlite_mobile.tiny.mending import mended_edit, mended_scene
from dreamlite_mobile.tiny.models import Models, Words, decode, encode, read_words, velocity
from dreamlite_mobile.tiny.pools import Pool
from dreamlite_mobile.tiny.recipe import GUIDANCE, STUDENT_STEPS, Losses, Run, Stage
from dreamlite_mobile.tiny.sampling import guided
from dreamlite_mobile.tiny.supply import supplied
from dreamlite_mobile.tiny.tinting import tinted
from dreamlite_mobile.tiny.world import EDIT_KINDS, SIDE, Sampler, Scene, render

SUBSTEPS = 4
"""Of the teacher within one of the student's, when it shows the way."""
REMEMBERED = 32
"""Batches of paths kept for the student."""
TINTED = 0.5
"""Share of the edits that `mend` learns from whose things have colours without a name."""
SETTLING = 150
"""Steps in which the maps of `drafts`, which are new, learn from the features and not the features from them."""
REUSED = {"distil": 4, "mend": 2}
"""How often a path is used on average: the teacher's cost more."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Latents [B, 4, h, w] at each of the student's noise levels `sigmas`, the condition and the words they follow.

    `layouts` [B, 3, h, w]: what the picture at their end shows, where that is known.
    """

    points: list[torch.Tensor]
    condition: torch.Tensor
    words: Words
    sigmas: np.ndarray
    layouts: torch.Tensor | None = None


def distil_losses(run: Run, pools: dict[bool, Pool], teacher: nn.Module, seed: int) -> Losses:
    """The mean velocity of the guided teacher over each of the student's steps."""
    return path_losses(run, partial(teachers_paths, run.models, teacher, pools, run.stage, (seed, run.step)), seed)


def mend_losses(run: Run, state: Path, seed: int) -> Losses:
    """The mean velocity towards what the student should have drawn; `state` is where its weights are kept."""
    return path_losses(run, partial(mended_paths, run, state, (seed, run.step)), seed)


def path_losses(run: Run, make: Callable[[], Iterator[Paths]], seed: int) -> Losses:
    """Squared errors of the mean velocity between two points of a path.

    A batch of paths costs as much as some of the student's steps, so the latest are used again.
    """
    models = run.models
    random = np.random.default_rng((seed, run.step, 1))
    latest: deque[Paths] = deque(maxlen=REMEMBERED)
    for shown in supplied(make, models.device):
        if shown is not None:
            latest.append(shown)
        for _ in range(REUSED[run.stage.name] * STUDENT_STEPS):
            paths, index = latest[int(random.integers(len(latest)))], int(random.integers(STUDENT_STEPS))
            yield path_loss(models, paths, index, settled=run.step >= SETTLING)


def path_loss(models: Models, paths: Paths, index: int, settled: bool) -> torch.Tensor:
    """Over step `index`; where the layout is known, what the features say of it as well.

    Until it is settled who says it, that teaches the features nothing.
    """
    now, then = float(paths.sigmas[index]), float(paths.sigmas[index + 1])
    here = paths.points[index]
    target = (paths.points[index + 1] - here) / (then - now)
    level = torch.full((len(target),), now, device=models.device)
    if paths.layouts is None:
        return F.mse_loss(velocity(models.unet, here, paths.condition, level, paths.words, SIDE), target)
    with features_of(models.unet, models.drafts) as features:
        found = velocity(models.unet, here, paths.condition, level, paths.words, SIDE)
    heard = features if settled else [one.detach() for one in features]
    return F.mse_loss(found.float(), target) + DRAFTED * models.drafts(heard, paths.layouts)


def teachers_paths(
    models: Models, teacher: nn.Module, pools: dict[bool, Pool], stage: Stage, seed: tuple[int, int]
) -> Iterator[Paths]:
    """Without end, of rows drawn from the pools."""
    random = np.random.default_rng(seed)
    while True:
        pool = pools[bool(random.random() < stage.edits)]
        yield teachers_path(models, teacher, pool, random.integers(len(pool), size=stage.batch), random)


@torch.no_grad()
def teachers_path(
    models: Models, teacher: nn.Module, pool: Pool, rows: np.ndarray, random: np.random.Generator
) -> Paths:
    """Where the guided teacher stands at each of the student's noise levels, from fresh noise."""
    clean, condition, words = batch_of(models, pool, rows, random, 0.0)
    blank = words_of(models, pool, [(int(row), True) for row in rows])
    sigmas = sigmas_of(models)
    latents = torch.randn_like(clean)
    points = [latents]
    for now, then in pairwise(sigmas):
        fine = np.linspace(now, then, SUBSTEPS + 1)
        for one, next_one in pairwise(fine):
            speed = guided(teacher, latents, condition, float(one), words, blank, GUIDANCE)
            latents = latents + float(next_one - one) * speed
        points.append(latents)
    return Paths(points, condition, words, sigmas)


def mended_paths(run: Run, state: Path, seed: tuple[int, int]) -> Iterator[Paths]:
    """Without end, of fresh examples, by the running average as it was last kept."""
    models = run.models
    student, read_at = copy.deepcopy(run.average["unet"]).eval(), 0.0
    sampler = Sampler(np.random.default_rng(seed))
    while True:
        written = state.stat().st_mtime if state.exists() else 0.0
        if written > read_at:
            student.load_state_dict(torch.load(state, map_location=models.device)["average"]["unet"])
            read_at = written
        yield mended_path(models, student, sampler, run.stage)


@torch.no_grad()
def mended_path(models: Models, student: nn.Module, sampler: Sampler, stage: Stage) -> Paths:
    """The student's own paths from fresh noise, moved in a straight line to where they should have ended."""
    asked: list[tuple[str, Callable[[np.ndarray], Scene]]]
    sources = None
    first = int(sampler.random.integers(len(SCENE_KINDS)))
    if sampler.random.random() < stage.edits:
        changes = [edit_example(sampler, EDIT_KINDS[(first + index) % len(EDIT_KINDS)]) for index in range(stage.batch)]
        changes = [tinted(one, sampler) if sampler.random.random() < TINTED else one for one in changes]
        sources = [render(one.edit.before) for one in changes]
        asked = [(one.instruction, partial(mended_edit, one)) for one in changes]
    else:
        scenes = [example(sampler, SCENE_KINDS[(first + index) % len(SCENE_KINDS)]) for index in range(stage.batch)]
        asked = [(one.caption, partial(mended_scene, one)) for one in scenes]
    words = read_words(models, [text for text, _ in asked], sources)
    points, condition, sigmas = drawn_path(models, student, words, sources)
    right = [mend(picture) for (_, mend), picture in zip(asked, decode(models, points[-1]), strict=True)]
    missed = encode(models.vae, np.stack([render(scene) for scene in right])) - points[-1]
    bent = [point + float(1 - sigma / sigmas[0]) * missed for point, sigma in zip(points, sigmas, strict=True)]
    layouts = np.stack([layout(scene, missed.shape[-1]) for scene in right])
    return Paths(bent, condition, words, sigmas, torch.from_numpy(layouts).to(models.device))


def drawn_path(
    models: Models, student: nn.Module, words: Words, sources: list[np.ndarray] | None
) -> tuple[list[torch.Tensor], torch.Tensor, np.ndarray]:
    """Where the student stands before and after each of its steps, the condition, and the noise levels."""
    vae = models.config.vae
    side = SIDE // vae.scale
    points = [torch.randn(len(words.states), vae.latent_channels, side, side, device=models.device)]
    condition = torch.zeros_like(points[0]) if sources is None else encode(models.vae, np.stack(sources))
    sigmas = sigmas_of(models)
    for now, then in pairwise(sigmas):
        speed = guided(student, points[-1], condition, float(now), words, None, 1.0)
        points.append(points[-1] + float(then - now) * speed)
    return points, condition, sigmas


def sigmas_of(models: Models) -> np.ndarray:
    """The student's noise levels, the last of them 0."""
    return sigma_table(STUDENT_STEPS, SIDE, SIDE, models.config.vae.scale, models.config.scheduler)
