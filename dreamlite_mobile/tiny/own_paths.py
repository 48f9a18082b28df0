"""The student's own paths from noise to a picture, with what they should have led to.

The right picture nearest to the one that was drawn (`mending`) leaves places and sizes the student's choice, so there
is one right answer for one noise, and the student is corrected where it really goes wrong (as in DAgger, Ross et al.
2011). `mend` does this to prompts and edits. `copy` does it to edits alone, half of them among things whose shapes have
no name, and half of what it learns from are the worst of twice as many; prompts, of whose many right pictures the
mending of one unlearns another, are held by the right pictures of the weights that it began with.

Both bend whole paths and teach the later steps on what the student never meets. `steer`, of prompts and edits, tells
the first step the same, and each later one, from where the student really stands, to make up all that is still missed:
what went wrong is seen there, and often not in the noise.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dreamlite_mobile.tiny.examples import SCENE_KINDS, EditExample, Example, edit_examples, examples
from dreamlite_mobile.tiny.facts import layout
from dreamlite_mobile.tiny.mending import mended_edit, mended_scene
from dreamlite_mobile.tiny.models import Models, Words, decode, encode, read_words
from dreamlite_mobile.tiny.paths import Paths, path_losses, sigmas_of
from dreamlite_mobile.tiny.recipe import Losses, Run, Stage
from dreamlite_mobile.tiny.sampling import guided
from dreamlite_mobile.tiny.score import judge_generated
from dreamlite_mobile.tiny.tinting import reshaped, tinted, two_toned
from dreamlite_mobile.tiny.world import EDIT_KINDS, SIDE, Pixels, Sampler, Scene, render

TINTED = 0.5
"""Share of the edits that are learnt from whose things have colours without a name."""
TWO_TONED = 0.5
"""Share of the strange edits whose things have two colours; the others' have one, and shapes without a name."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be drawn, and which picture would have been the right one."""

    text: str
    mend: Callable[[Pixels], Scene]
    source: Pixels | None = None


def mend_losses(run: Run, state: Path, seed: int) -> Losses:
    """The mean velocity towards what the student should have drawn; `state` is where its weights are kept."""
    return path_losses(run, partial(mended_paths, run, state, (seed, run.step)), seed)


def mended_paths(run: Run, state: Path, seed: tuple[int, int]) -> Iterator[Paths]:
    """Without end, of fresh examples, by the running average as it was last kept."""
    models, stage = run.models, run.stage
    student, read_at = copy.deepcopy(run.average["unet"]).eval(), 0.0
    sampler = Sampler(np.random.default_rng(seed))
    before = run.begun["unet"].eval() if stage.held else None
    drawn = stage.spare * stage.batch
    move = steered if stage.steered else bent
    mended = partial(mended_path, models, student, count=stage.batch, move=move)
    while True:
        written = state.stat().st_mtime if state.exists() else 0.0
        if written > read_at:
            student.load_state_dict(torch.load(state, map_location=models.device)["average"]["unet"])
            read_at = written
        if sampler.random.random() < stage.edits:
            strange = sampler.random.random() < stage.strange
            yield mended(wanted_edits(sampler, drawn, strange), named=not strange)
        elif before is not None:
            yield held_path(models, before, sampler, stage)
        else:
            yield mended(wanted_scenes(sampler, drawn))


def wanted_edits(sampler: Sampler, count: int, strange: bool) -> list[Wanted]:
    """All kinds alike; strange ones are among things that have two colours, or a shape without a name as well."""
    first = int(sampler.random.integers(len(EDIT_KINDS)))
    changes = edit_examples(sampler, count, first)
    if strange:
        changes = [estranged(one, sampler) for one in changes]
    else:
        changes = [tinted(one, sampler) if sampler.random.random() < TINTED else one for one in changes]
    return [Wanted(one.instruction, partial(mended_edit, one), render(one.edit.before)) for one in changes]


def estranged(one: EditExample, sampler: Sampler) -> EditExample:
    """The example among things that no picture has twice."""
    if sampler.random.random() < TWO_TONED:
        return tinted(one, sampler, two_toned)
    return reshaped(tinted(one, sampler), sampler)


def wanted_scenes(sampler: Sampler, count: int) -> list[Wanted]:
    """All kinds alike."""
    return [Wanted(one.caption, partial(mended_scene, one)) for one in scenes_of(sampler, count)]


def scenes_of(sampler: Sampler, count: int) -> list[Example]:
    """All kinds alike."""
    return examples(sampler, count, int(sampler.random.integers(len(SCENE_KINDS))))


@torch.no_grad()
def mended_path(
    models: Models,
    student: nn.Module,
    wanted: Sequence[Wanted],
    count: int,
    move: Callable[[Paths, torch.Tensor], Paths],
    named: bool = True,
) -> Paths:
    """The student's own paths from fresh noise, told by `move` (`bent`, `steered`) where they should have led.

    Of more than `count`, those that missed it most and as many others. `named`: all shapes have names, so that the
    layout can be told.
    """
    sources = [one.source for one in wanted if one.source is not None]
    drawn = drawn_path(models, student, read_words(models, [one.text for one in wanted], sources or None), sources)
    scenes = [one.mend(picture) for one, picture in zip(wanted, decode(models, drawn.points[-1]), strict=True)]
    missed = encode(models.vae, np.stack([render(scene) for scene in scenes])) - drawn.points[-1]
    layouts = None
    if named:
        layouts = torch.from_numpy(np.stack([layout(scene, missed.shape[-1]) for scene in scenes])).to(missed.device)
    return rows_of(replace(move(drawn, missed), layouts=layouts), worst_and_others(missed, count))


def bent(drawn: Paths, missed: torch.Tensor) -> Paths:
    """Paths moved in a straight line by what their ends `missed` [B, 4, h, w]; their noise stays."""
    shares = [float(1 - sigma / drawn.sigmas[0]) for sigma in drawn.sigmas]
    return replace(drawn, points=[point + share * missed for point, share in zip(drawn.points, shares, strict=True)])


def steered(drawn: Paths, missed: torch.Tensor) -> Paths:
    """The same paths, each step of which should make up its share of what the end `missed`, the last step all of it."""
    shares = [float(1 - then / now) for now, then in pairwise(drawn.sigmas)]
    return replace(drawn, ends=[point + share * missed for point, share in zip(drawn.points[1:], shares, strict=True)])


def worst_and_others(missed: torch.Tensor, count: int) -> torch.Tensor:
    """`count` rows of `missed` [B, ...]: half of them those of the largest squares, the rest drawn from the others."""
    worst = missed.square().flatten(1).mean(1).argsort(descending=True)
    others = worst[count // 2 :]
    others = others[torch.randperm(len(others), device=others.device)]
    return torch.cat([worst[: count // 2], others[: count - count // 2]]).sort().values


@torch.no_grad()
def held_path(models: Models, before: nn.Module, sampler: Sampler, stage: Stage) -> Paths:
    """Paths of prompts as the weights from before draw them, of those that end in a right picture; of any if none does.

    At most a batch of them.
    """
    scenes = scenes_of(sampler, stage.spare * stage.batch)
    drawn = drawn_path(models, before, read_words(models, [one.caption for one in scenes]), [])
    pictures = decode(models, drawn.points[-1])
    right = [judge_generated(one, picture).right for one, picture in zip(scenes, pictures, strict=True)]
    kept = [index for index, is_right in enumerate(right) if is_right] or list(range(len(right)))
    return rows_of(drawn, torch.tensor(kept[: stage.batch], device=models.device))


def drawn_path(models: Models, student: nn.Module, words: Words, sources: Sequence[Pixels]) -> Paths:
    """Where the student stands before and after each of its steps."""
    vae = models.config.vae
    side = SIDE // vae.scale
    points = [torch.randn(len(words.states), vae.latent_channels, side, side, device=models.device)]
    condition = encode(models.vae, np.stack(sources)) if sources else torch.zeros_like(points[0])
    sigmas = sigmas_of(models)
    for now, then in pairwise(sigmas):
        speed = guided(student, points[-1], condition, float(now), words, None, 1.0)
        points.append(points[-1] + float(then - now) * speed)
    return Paths(points, condition, words, sigmas)


def rows_of(paths: Paths, rows: torch.Tensor) -> Paths:
    """Some of them."""
    words = Words(paths.words.states[rows], paths.words.mask[rows])
    layouts = None if paths.layouts is None else paths.layouts[rows]
    ends = None if paths.ends is None else [end[rows] for end in paths.ends]
    return Paths([point[rows] for point in paths.points], paths.condition[rows], words, paths.sigmas, layouts, ends)
