"""Train the embedded DreamLite: autoencoder, text to picture, editing, both, and the distillation to four steps.

    python -m dreamlite_mobile.tiny.train --out work                 # all stages; repeat after a kill to go on
    python -m dreamlite_mobile.tiny.train --out work --until text    # up to one stage

The order is the paper's: each task is learnt on top of the one before. `--out` holds the checkpoint, the state of the
running stage (written every few minutes), the example pools and `log.jsonl`, one line per report: stage, step, loss,
score, seconds.

The four-step student is a flow map learnt from the teacher's own trajectories: the guided teacher integrates from noise
with many small steps, and the student learns the mean velocity between the points where its four steps stand. For one
noise and prompt there is one right answer, so a plain squared error does not blur, as it would on data; no critic and
no second network are needed, which suits a small machine.
"""

import argparse
import copy
import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from dreamlite_mobile.noise import initial_latents
from dreamlite_mobile.scheduler import sigma_table
from dreamlite_mobile.tiny.examples import SCENE_KINDS, EditExample, Example, example
from dreamlite_mobile.tiny.models import Models, Words, create, decode, encode, read_words, save, to_unit, velocity
from dreamlite_mobile.tiny.pools import Pool, make_pool
from dreamlite_mobile.tiny.score import Score, edits, judge_edited, judge_generated, prompts, score
from dreamlite_mobile.tiny.world import SIDE, Sampler, render

SCALE = 8
STUDENT_STEPS = 4
TEACHER_STEPS = 24
GUIDANCE = 3.0
BLANK = "an image"
"""The text of an unguided prediction; one training text in ten is replaced by it."""
DROPPED = 0.1
LEVEL_SPREAD = 1.2


@dataclass(frozen=True, slots=True)
class Stage:
    """One part of the recipe.

    `batch`: examples in a step; `draws`: noise levels drawn for each, since reading an instruction and its picture
    costs more than a step of the U-Net; `learns`: the networks that are trained; `edits`: the share of edit batches.
    """

    name: str
    steps: int
    batch: int
    rate: float
    learns: tuple[str, ...]
    draws: int = 1
    edits: float = 0.0


STAGES = (
    Stage("autoencoder", 5_000, 16, 2e-3, ("vae",)),
    Stage("text", 20_000, 16, 1e-3, ("unet", "text_encoder")),
    Stage("edit", 10_000, 8, 7e-4, ("unet", "text_encoder"), draws=2, edits=0.75),
    Stage("joint", 12_000, 8, 5e-4, ("unet", "text_encoder"), draws=2, edits=0.5),
    Stage("distil", 6_000, 16, 3e-4, ("unet",), edits=0.5),
)
CROP = 64
"""Side of what the autoencoder is trained on, in pixels: it is a convolution, and a whole picture costs four times."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line sets; `scale` multiplies every stage's steps, `pool` is the number of examples per pool."""

    out: Path
    seed: int = 0
    scale: float = 1.0
    pool: int = 40_000
    until: str = STAGES[-1].name
    device: str = "cpu"
    report_every: float = 120.0
    scored: int = 48


@dataclass(slots=True)
class Run:
    """A stage on its way: what is trained, its running average, the optimiser and the step it stands at."""

    models: Models
    stage: Stage
    steps: int
    average: dict[str, Any]
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)

    def parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]


Losses = Iterator[torch.Tensor]
Judge = Callable[[Models], dict[str, Any]]
EMA = 0.999
PARTS = 4
"""How often in a stage the score is taken."""


def start(models: Models, stage: Stage, options: Options) -> Run:
    """A stage from its beginning, or from the state a killed run left."""
    networks: dict[str, Any] = {name: network for name, network in models.networks().items() if name in stage.learns}
    for network in models.networks().values():
        network.requires_grad_(False).eval()
    for network in networks.values():
        network.requires_grad_(True).train()
    parameters = [parameter for network in networks.values() for parameter in network.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=stage.rate, betas=(0.9, 0.99), weight_decay=0.01)
    run = Run(models, stage, max(1, round(stage.steps * options.scale)), copy.deepcopy(networks), optimizer)
    file = options.out / f"{stage.name}.state"
    if file.exists():
        stored = torch.load(file, map_location=models.device)
        for name, network in networks.items():
            network.load_state_dict(stored["networks"][name])
            run.average[name].load_state_dict(stored["average"][name])
        optimizer.load_state_dict(stored["optimizer"])
        run.step, run.seconds = stored["step"], stored["seconds"]
    return run


def keep(run: Run, options: Options) -> None:
    """Write the state beside its place, then move it there."""
    file = options.out / f"{run.stage.name}.state"
    partial = file.with_suffix(".partial")
    networks = run.models.networks()
    stored = {
        "networks": {name: networks[name].state_dict() for name in run.average},
        "average": {name: network.state_dict() for name, network in run.average.items()},
        "optimizer": run.optimizer.state_dict(),
        "step": run.step,
        "seconds": run.seconds,
    }
    torch.save(stored, partial)
    partial.rename(file)


def train(run: Run, options: Options, losses: Losses, judge: Judge) -> None:
    """Drive a stage to its end; then its networks are the running averages."""
    reported = begun = time.monotonic()
    before = run.seconds
    judged_at = {run.steps * part // PARTS for part in range(1, PARTS + 1)}
    while run.step < run.steps:
        for group in run.optimizer.param_groups:
            group["lr"] = run.stage.rate * warmup_and_decay(run.step, run.steps)
        run.optimizer.zero_grad(set_to_none=True)
        with narrowed(run.models.device):
            loss = next(losses)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(run.parameters(), 1.0)
        run.optimizer.step()
        update_average(run)
        run.step += 1
        run.losses.append(float(loss.detach()))
        run.seconds = before + time.monotonic() - begun
        if time.monotonic() - reported > options.report_every:
            keep(run, options)
            report(run, options, {})
            reported = time.monotonic()
        if run.step in judged_at:
            report(run, options, judge(averaged(run)))
    keep(run, options)
    finish(run)


def finish(run: Run) -> None:
    """Put the running averages into the networks and those into the checkpoint."""
    for name, network in run.average.items():
        run.models.networks()[name].load_state_dict(network.state_dict())
        run.models.networks()[name].requires_grad_(False).eval()
    save(run.models)


def averaged(run: Run) -> Models:
    """The models with the running averages in place of what is being trained."""
    for network in run.average.values():
        network.eval()
    return replace(run.models, **run.average)


def narrowed(device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 arithmetic on a GPU; on two CPU cores it gains nothing (benchmarked), so float32 there."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def warmup_and_decay(step: int, steps: int) -> float:
    """Up over the first twentieth, level, down to a twentieth over the last third."""
    part = (step + 1) / steps
    return min(1.0, part / 0.05, 0.05 + 0.95 * max(0.0, (1 - part) / 0.33))


@torch.no_grad()
def update_average(run: Run) -> None:
    """Exponential, and shorter while there is little to average."""
    weight = min(EMA, (1 + run.step) / (10 + run.step))
    networks = run.models.networks()
    for name, average in run.average.items():
        torch._foreach_lerp_(list(average.parameters()), list(networks[name].parameters()), 1 - weight)


def report(run: Run, options: Options, found: dict[str, Any]) -> None:
    """One line for the log and the terminal."""
    recent = run.losses[-200:]
    line = {
        "stage": run.stage.name,
        "step": run.step,
        "steps": run.steps,
        "loss": round(float(np.mean(recent)), 5) if recent else None,
        "seconds": round(run.seconds),
        **found,
    }
    with (options.out / "log.jsonl").open("a") as log:
        log.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)


def autoencoder_losses(run: Run, seed: int) -> Losses:
    """Errors of pixels and of their differences, under noisy latents of about unit size."""
    vae, device = run.models.vae, run.models.device
    sampler = Sampler(np.random.default_rng((seed, 1, run.step)))
    while True:
        images = to_unit(np.stack([crop(sampler) for _ in range(run.stage.batch)]), device)
        latents = vae.encode(images).latents
        spread, mean = latents.std((0, 2, 3)), latents.mean((0, 2, 3))
        sized = ((spread - 1) ** 2).mean() + (mean**2).mean()
        found = vae.decode(latents + 0.05 * torch.randn_like(latents)).sample
        error = found - images
        edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        yield error.abs().mean() + error.square().mean() + 0.5 * edges + 0.01 * sized


def crop(sampler: Sampler) -> np.ndarray:
    """A piece of a scene around one of its things."""
    scene = example(sampler, SCENE_KINDS[int(sampler.random.integers(len(SCENE_KINDS)))]).scene
    thing = scene.things[int(sampler.random.integers(len(scene.things)))]
    shift = sampler.random.integers(-CROP // 3, CROP // 3 + 1, 2)
    top, left = np.clip(np.array((thing.y, thing.x)) * SIDE - CROP / 2 + shift, 0, SIDE - CROP).astype(int)
    return render(scene)[top : top + CROP, left : left + CROP]


@torch.no_grad()
def judge_autoencoder(models: Models, count: int) -> dict[str, Any]:
    """PSNR and score of reconstructed scenes: what the autoencoder lets through at best."""
    asked = prompts(count)
    pictures = np.stack([render(one.scene) for one in asked])
    found = decode(models, encode(models, pictures))
    error = np.square(found.astype(float) - pictures).mean((1, 2, 3))
    judged = score([judge_generated(one, picture) for one, picture in zip(asked, found, strict=True)])
    return {"psnr_db": round(float(np.mean(10 * np.log10(255**2 / error))), 2), "reconstructed": summary(judged)}


def flow_losses(run: Run, pools: dict[bool, Pool], seed: int) -> Losses:
    """Flow matching: the velocity from picture to noise, at noise levels of the sampler's schedule."""
    models = run.models
    random = np.random.default_rng((seed, run.step))
    shift = shift_of(models)
    while True:
        pool = pools[bool(random.random() < run.stage.edits)]
        rows = random.integers(len(pool), size=run.stage.batch)
        clean, condition, words = repeated(batch_of(models, pool, rows, random, DROPPED), run.stage.draws)
        noise = torch.randn_like(clean)
        level = drawn_levels(len(clean), shift, models.device)
        wide = level.view(-1, 1, 1, 1)
        found = velocity(models.unet, (1 - wide) * clean + wide * noise, condition, level, words, SIDE)
        yield F.mse_loss(found.float(), noise - clean)


def repeated(batch: tuple[torch.Tensor, torch.Tensor, Words], draws: int) -> tuple[torch.Tensor, torch.Tensor, Words]:
    """The batch `draws` times over."""
    clean, condition, words = batch
    return (
        clean.repeat(draws, 1, 1, 1),
        condition.repeat(draws, 1, 1, 1),
        Words(words.states.repeat(draws, 1, 1), words.mask.repeat(draws, 1)),
    )


def drawn_levels(count: int, shift: float, device: torch.device) -> torch.Tensor:
    """Noise levels [count], logit-normal (Esser et al. 2024), one from each of `count` equal shares, then shifted."""
    share = (torch.arange(count, device=device) + torch.rand(count, device=device)) / count
    level = torch.sigmoid(torch.special.ndtri(share.clamp(1e-4, 1 - 1e-4)) * LEVEL_SPREAD)
    return (shift * level / (1 + (shift - 1) * level))[torch.randperm(count, device=device)]


def batch_of(
    models: Models, pool: Pool, rows: np.ndarray, random: np.random.Generator, dropped: float
) -> tuple[torch.Tensor, torch.Tensor, Words]:
    """Clean latents, condition latents and words of some examples."""
    texts = [BLANK if random.random() < dropped else pool.texts[row] for row in rows]
    clean = pool.latents[rows].to(models.device).float()
    if pool.sources is None or pool.conditions is None:
        return clean, torch.zeros_like(clean), read_words(models, texts)
    condition = pool.conditions[rows].to(models.device).float()
    return clean, condition, read_words(models, texts, list(pool.sources[rows]))


def shift_of(models: Models) -> float:
    """How the schedule shifts noise levels for pictures of this size: its middle step's odds, which unshifted are 1."""
    half = float(sigma_table(2, SIDE, SIDE, SCALE, models.config.scheduler)[1])
    return half / (1 - half)


@torch.no_grad()
def sample(
    models: Models, texts: list[str], sources: list[np.ndarray] | None, steps: int, guidance: float
) -> np.ndarray:
    """Pictures uint8 [B, H, W, 3] by Euler steps from the noise of seeds 0, 1, ..., as `dreamlite score` draws them.

    Guidance 1 leaves the unguided prediction out.
    """
    shape = (1, models.config.vae.latent_channels, SIDE // SCALE, SIDE // SCALE)
    noise = np.concatenate([initial_latents(seed, shape) for seed in range(len(texts))])
    latents = torch.from_numpy(noise).to(models.device)
    condition = torch.zeros_like(latents) if sources is None else encode(models, np.stack(sources))
    words = read_words(models, texts, sources)
    blank = read_words(models, [BLANK] * len(texts), sources) if guidance != 1 else None
    sigmas = sigma_table(steps, SIDE, SIDE, SCALE, models.config.scheduler)
    for now, then in pairwise(sigmas):
        latents = latents + float(then - now) * guided(
            models.unet, latents, condition, float(now), words, blank, guidance
        )
    return decode(models, latents)


def guided(
    unet: nn.Module,
    latents: torch.Tensor,
    condition: torch.Tensor,
    sigma: float,
    words: Words,
    blank: Words | None,
    guidance: float,
) -> torch.Tensor:
    """Classifier-free guidance where an unguided prompt is given."""
    level = torch.full((len(latents),), sigma, device=latents.device)
    found = velocity(unet, latents, condition, level, words, SIDE)
    if blank is None:
        return found
    free = velocity(unet, latents, condition, level, blank, SIDE)
    return free + guidance * (found - free)


def distil_losses(run: Run, pools: dict[bool, Pool], teacher: nn.Module, seed: int) -> Losses:
    """The mean velocity of the guided teacher over each of the student's steps."""
    models = run.models
    random = np.random.default_rng((seed, run.step))
    while True:
        pool = pools[bool(random.random() < run.stage.edits)]
        rows = random.integers(len(pool), size=run.stage.batch)
        points, condition, words, sigmas = trajectory(models, teacher, pool, rows, random)
        for index in random.permutation(STUDENT_STEPS):
            now, then = float(sigmas[index]), float(sigmas[index + 1])
            target = (points[index + 1] - points[index]) / (then - now)
            level = torch.full((len(rows),), now, device=models.device)
            yield F.mse_loss(velocity(models.unet, points[index], condition, level, words, SIDE), target)


@torch.no_grad()
def trajectory(
    models: Models, teacher: nn.Module, pool: Pool, rows: np.ndarray, random: np.random.Generator
) -> tuple[list[torch.Tensor], torch.Tensor, Words, np.ndarray]:
    """Where the guided teacher stands at each of the student's noise levels, from fresh noise."""
    clean, condition, words = batch_of(models, pool, rows, random, 0.0)
    sources = None if pool.sources is None else list(pool.sources[rows])
    blank = read_words(models, [BLANK] * len(rows), sources)
    sigmas = sigma_table(STUDENT_STEPS, SIDE, SIDE, SCALE, models.config.scheduler)
    latents = torch.randn_like(clean)
    points = [latents]
    for now, then in pairwise(sigmas):
        fine = np.linspace(now, then, TEACHER_STEPS // STUDENT_STEPS + 1)
        for one, next_one in pairwise(fine):
            speed = guided(teacher, latents, condition, float(one), words, blank, GUIDANCE)
            latents = latents + float(next_one - one) * speed
        points.append(latents)
    return points, condition, words, sigmas


def judge_models(models: Models, count: int, steps: int, guidance: float, edited: bool = True) -> dict[str, Any]:
    """Scores of generation and editing, held-out pairs apart."""
    found: dict[str, Any] = {"sampled_steps": steps, "guidance": guidance}
    for held in (False, True):
        name = "held_out" if held else "seen"
        found[f"generate_{name}"] = summary(score_generated(models, prompts(count, held), steps, guidance))
        if edited:
            found[f"edit_{name}"] = summary(score_edited(models, edits(count, held), steps, guidance))
    return found


def score_generated(models: Models, asked: list[Example], steps: int, guidance: float) -> Score:
    pictures = sample(models, [one.caption for one in asked], None, steps, guidance)
    return score([judge_generated(one, picture) for one, picture in zip(asked, pictures, strict=True)])


def score_edited(models: Models, asked: list[EditExample], steps: int, guidance: float) -> Score:
    sources = [render(one.edit.before) for one in asked]
    pictures = sample(models, [one.instruction for one in asked], sources, steps, guidance)
    return score([judge_edited(one, picture) for one, picture in zip(asked, pictures, strict=True)])


def summary(found: Score) -> dict[str, Any]:
    kept = {} if found.kept_db is None else {"kept_db": round(found.kept_db, 1)}
    return {
        "overall": round(found.overall, 3),
        **{kind: round(share, 3) for kind, share in found.by_kind.items()},
        **kept,
    }


def run_stage(models: Models, stage: Stage, options: Options) -> None:
    """One stage, from wherever it stands."""
    run = start(models, stage, options)
    if run.step >= run.steps:
        finish(run)
        return
    if stage.name == "autoencoder":
        train(run, options, autoencoder_losses(run, options.seed), partial(judge_autoencoder, count=options.scored))
        return
    pools = {
        is_edit: make_pool(models, is_edit, options.pool, options.seed, options.out / f"{name}.pool")
        for is_edit, name in ((False, "scenes"), (True, "edits"))
        if not is_edit or stage.edits > 0
    }
    if stage.name != "distil":
        judge = partial(
            judge_models, count=options.scored, steps=TEACHER_STEPS, guidance=GUIDANCE, edited=True in pools
        )
        train(run, options, flow_losses(run, pools, options.seed), judge)
        return
    teacher = copy.deepcopy(models.unet).requires_grad_(False).eval()
    joint = torch.load(options.out / "joint.state", map_location=models.device)
    teacher.load_state_dict(joint["average"]["unet"])
    losses = distil_losses(run, pools, teacher, options.seed)
    train(run, options, losses, partial(judge_models, count=options.scored, steps=STUDENT_STEPS, guidance=1.0))


def run_all(options: Options) -> Models:
    """Every stage up to `options.until`; what an earlier run has done is not done again."""
    options.out.mkdir(parents=True, exist_ok=True)
    models = create(options.out / "checkpoint", options.seed, torch.device(options.device))
    for stage in STAGES:
        run_stage(models, stage, options)
        if stage.name == options.until:
            break
    return models


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies every stage's steps")
    parser.add_argument("--pool", type=int, default=40_000)
    parser.add_argument("--until", choices=[stage.name for stage in STAGES], default=STAGES[-1].name)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--scored", type=int, default=48)
    run_all(Options(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
