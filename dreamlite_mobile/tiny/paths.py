"""What the four-step student learns from: paths from noise to a picture, and where its four steps stand on them.

`distil` takes the guided teacher's paths, `mend`, `copy` and `steer` the student's own (`own_paths`).
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from dreamlite_mobile.scheduler import sigma_table
from dreamlite_mobile.tiny.drafts import features_of
from dreamlite_mobile.tiny.losses import DRAFTED, batch_of, words_of
from dreamlite_mobile.tiny.models import Models, Words, velocity
from dreamlite_mobile.tiny.pools import Pool
from dreamlite_mobile.tiny.recipe import GUIDANCE, STUDENT_STEPS, Losses, Run, Stage
from dreamlite_mobile.tiny.sampling import guided
from dreamlite_mobile.tiny.supply import supplied
from dreamlite_mobile.tiny.world import SIDE

SUBSTEPS = 4
"""Of the teacher within one of the student's, when it shows the way."""
REMEMBERED = 32
"""Batches of paths kept for the student."""
SETTLING = 150
"""Steps in which the maps of `drafts`, which are new, learn from the features and not the features from them."""
REUSED = {"distil": 4, "mend": 2, "copy": 2, "steer": 2}
"""How often a path is used on average: the teacher's cost more."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Latents [B, 4, h, w] at each of the student's noise levels `sigmas`, the condition and the words they follow.

    `ends`: where each step should lead, if that is not the next of the points. `layouts` [B, 3, h, w]: what the right
    picture shows, where that is known.
    """

    points: list[torch.Tensor]
    condition: torch.Tensor
    words: Words
    sigmas: np.ndarray
    layouts: torch.Tensor | None = None
    ends: list[torch.Tensor] | None = None


def distil_losses(run: Run, pools: dict[bool, Pool], teacher: nn.Module, seed: int) -> Losses:
    """The mean velocity of the guided teacher over each of the student's steps."""
    return path_losses(run, partial(teachers_paths, run.models, teacher, pools, run.stage, (seed, run.step)), seed)


def path_losses(run: Run, make: Callable[[], Iterator[Paths]], seed: int) -> Losses:
    """Squared errors of the mean velocity of one step: to the next point of a path, or to the step's own end.

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

    Until it is settled who says it, that teaches the features nothing. A step that should make up for what went wrong
    before it has less noise left for that the later it comes: its squared error grows with 1 / sigma^2, of which the
    weight takes one power back. What the features say weighs the same at every step.
    """
    now, then = float(paths.sigmas[index]), float(paths.sigmas[index + 1])
    here = paths.points[index]
    end, weight = (paths.points[index + 1], 1.0) if paths.ends is None else (paths.ends[index], now)
    target = (end - here) / (then - now)
    level = torch.full((len(target),), now, device=models.device)
    with features_of(models.unet, models.drafts) as features:
        found = velocity(models.unet, here, paths.condition, level, paths.words, SIDE)
    loss = weight * F.mse_loss(found.float(), target)
    if paths.layouts is None:
        return loss
    heard = features if settled else [one.detach() for one in features]
    return loss + DRAFTED * models.drafts(heard, paths.layouts)


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


def sigmas_of(models: Models) -> np.ndarray:
    """The student's noise levels, the last of them 0."""
    return sigma_table(STUDENT_STEPS, SIDE, SIDE, models.config.vae.scale, models.config.scheduler)
