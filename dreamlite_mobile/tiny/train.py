"""Train the embedded DreamLite, stage by stage, down to four steps.

    python -m dreamlite_mobile.tiny.train --out work                 # all stages; repeat after a kill to go on
    python -m dreamlite_mobile.tiny.train --out work --until text    # up to one stage
    python -m dreamlite_mobile.tiny.train --out more --warm work/checkpoint --first joint

The order is the paper's: each task is learnt on top of the one before. What the paper takes as given, a text tower that
reads and sees, is a stage of its own, `reading`: taught by the U-Net's loss alone, the tower knew words but not which
colour belongs to which shape (score 0.25 after 16,000 steps). While the U-Net learns, `drafts` ask its features for
what stands where. `decoder` sharpens pictures without a change to what they are encoded as: on two cores it runs beside
later stages (`--first decoder --until decoder`).

`--out` holds the checkpoint, the state of the running stage (written every few minutes), the example pools and
`log.jsonl`, one line per report: stage, step, loss, score, seconds.

The four-step student is a flow map learnt from the teacher's own trajectories: the guided teacher integrates from noise
with many small steps, and the student learns the mean velocity between the points where its four steps stand. For one
noise and prompt there is one right answer, so a plain squared error does not blur, as it would on data; no critic and
no second network are needed, which suits a small machine. What it still draws wrong then, it learns from its own
pictures, put right by the world (`mend`): so it may become better than its teacher. `copy` mends edits alone, half of
them among things that have no name, and holds prompts: what an edit leaves alone went wrong most, and of pairs of
colour and shape that no training picture has more than of others, because the U-Net drew again what it recognised.
`steer` mends prompts and edits step by step, from where the student really stands: one thing too many can often not be
told from noise, and later steps see it.
"""

import argparse
import copy
import importlib.metadata
import json
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dreamlite_mobile.files import write_atomic
from dreamlite_mobile.tiny.embedded import RECORD, training_record
from dreamlite_mobile.tiny.judging import judge_autoencoder, judge_models
from dreamlite_mobile.tiny.losses import autoencoder_losses, flow_losses
from dreamlite_mobile.tiny.models import Models, create, load, save
from dreamlite_mobile.tiny.own_paths import mend_losses
from dreamlite_mobile.tiny.paths import distil_losses
from dreamlite_mobile.tiny.pools import Pool, make_pool, store
from dreamlite_mobile.tiny.reading import judge_reading, reading_losses
from dreamlite_mobile.tiny.recipe import GUIDANCE, STAGES, STUDENT_STEPS, TEACHER_STEPS, Losses, Options, Run, Stage

Judge = Callable[[Models], dict[str, Any]]
EMA = 0.999
SHARES = {"text_encoder": 0.3}
"""Of the learning rate: at the U-Net's own, the text tower says the same of every prompt before anybody listens."""
PARTS = 2
"""How often in a stage the score is taken."""


def start(models: Models, stage: Stage, options: Options) -> Run:
    """A stage from its beginning, or from the state a killed run left."""
    networks: dict[str, Any] = {name: network for name, network in models.networks().items() if name in stage.learns}
    for network in models.networks().values():
        network.requires_grad_(False).eval()
    for network in networks.values():
        network.requires_grad_(True).train()
    groups = [
        {"params": list(network.parameters()), "share": SHARES.get(name, 1.0)} for name, network in networks.items()
    ]
    optimizer = torch.optim.AdamW(groups, lr=stage.rate, betas=(0.9, 0.99), weight_decay=0.01)
    begun = copy.deepcopy(networks) if stage.taken < 1 else {}
    run = Run(models, stage, steps_of(stage, options), begun, copy.deepcopy(networks), optimizer)
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
    """Write the state."""
    networks = run.models.networks()
    stored = {
        "networks": {name: networks[name].state_dict() for name in run.average},
        "average": {name: network.state_dict() for name, network in run.average.items()},
        "optimizer": run.optimizer.state_dict(),
        "step": run.step,
        "seconds": run.seconds,
    }
    store(stored, options.out / f"{run.stage.name}.state")


def train(run: Run, options: Options, losses: Losses, judge: Judge) -> None:
    """Drive a stage to its end; then its networks are the running averages."""
    reported = begun = time.monotonic()
    before = run.seconds
    judged_at = {run.steps * part // PARTS for part in range(1, PARTS + 1)}
    while run.step < run.steps:
        for group in run.optimizer.param_groups:
            group["lr"] = run.stage.rate * group["share"] * warmup_and_decay(run.step, run.steps)
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
    """Put what was learnt into the networks and those into the checkpoint."""
    for name, network in outcome(run).items():
        run.models.networks()[name].load_state_dict(network.state_dict())
        run.models.networks()[name].requires_grad_(False).eval()
    save(run.models)


def averaged(run: Run) -> Models:
    """The models with what was learnt in place of what is being trained."""
    found = outcome(run)
    for network in found.values():
        network.eval()
    return replace(run.models, **found)


@torch.no_grad()
def outcome(run: Run) -> dict[str, Any]:
    """The running averages, or a point on the way to them from where the stage began."""
    if run.stage.taken == 1:
        return run.average
    found = copy.deepcopy(run.average)
    for name, network in found.items():
        torch._foreach_lerp_(list(network.parameters()), list(run.begun[name].parameters()), 1 - run.stage.taken)
    return found


def narrowed(device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 arithmetic on a GPU; on two CPU cores it gains nothing (benchmarked), so float32 there."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def warmup_and_decay(step: int, steps: int) -> float:
    """Up over the first twentieth, level, down to a twentieth over the second half."""
    part = (step + 1) / steps
    return min(1.0, part / 0.05, 0.05 + 0.95 * max(0.0, (1 - part) / 0.5))


@torch.no_grad()
def update_average(run: Run) -> None:
    """Exponential, and shorter while there is little to average."""
    weight = min(EMA, (1 + run.step) / (10 + run.step))
    networks = run.models.networks()
    for name, average in run.average.items():
        torch._foreach_lerp_(list(average.parameters()), list(networks[name].parameters()), 1 - weight)


REPORTED = ("stage", "step", "steps", "loss", "seconds")
"""What every line of the log has; a judged one has more."""


def report(run: Run, options: Options, found: dict[str, Any]) -> None:
    """One line for the log and the terminal."""
    recent = run.losses[-200:]
    loss = round(float(np.mean(recent)), 5) if recent else None
    line = dict(zip(REPORTED, (run.stage.name, run.step, run.steps, loss, round(run.seconds)), strict=True)) | found
    with (options.out / "log.jsonl").open("a") as log:
        log.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)


def steps_of(stage: Stage, options: Options) -> int:
    """Of a whole stage."""
    return max(1, round(stage.steps * options.scale))


def is_done(stage: Stage, options: Options) -> bool:
    """Whether an earlier run has been through it: then it is only loaded."""
    file = options.out / f"{stage.name}.state"
    return file.exists() and torch.load(file, map_location="cpu", mmap=True)["step"] >= steps_of(stage, options)


def run_stage(models: Models, stage: Stage, options: Options, pools: dict[bool, Pool]) -> None:
    """One stage, from wherever it stands. `pools`: those of earlier stages, with what the text tower said of them."""
    teacher = models.unet
    if stage.name == "distil":  # before the student of a killed run takes its place
        teacher = copy.deepcopy(teacher).eval()
    run = start(models, stage, options)
    if run.step >= run.steps:
        finish(run)
        return
    if stage.learns == ("vae",):
        train(run, options, autoencoder_losses(run, options.seed), partial(judge_autoencoder, count=options.scored))
        return
    if stage.name == "reading":
        train(run, options, reading_losses(run, options.seed), partial(judge_reading, count=options.scored))
        return
    judge = partial(judge_models, stage=stage, count=options.scored, steps=STUDENT_STEPS, guidance=1.0)
    if stage.name in ("mend", "copy", "steer"):
        train(run, options, mend_losses(run, options.out / f"{stage.name}.state", options.seed), judge)
        return
    for is_edit, name in ((False, "scenes"), (True, "edits")):
        if is_edit not in pools and (not is_edit or stage.edits > 0):
            pools[is_edit] = make_pool(models, is_edit, options.pool, options.seed, options.out / f"{name}.pool")
    if stage.name == "distil":
        train(run, options, distil_losses(run, pools, teacher, options.seed), judge)
        return
    judge = partial(judge_models, stage=stage, count=options.scored, steps=TEACHER_STEPS, guidance=GUIDANCE)
    train(run, options, flow_losses(run, pools, options.seed), judge)


def provenance(options: Options) -> dict[str, Any]:
    """What the checkpoint came from: commit, seed, and of every stage its steps, seconds and last scores.

    `before`: the same of the checkpoint that the run began with.
    """
    lines = [json.loads(line) for line in (options.out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    names = [stage.name for stage in STAGES]
    judged = {line["stage"]: line for line in lines if len(line) > len(REPORTED)}
    return {
        "before": training_record(options.warm) if options.warm and (options.warm / RECORD).exists() else None,
        "commit": commit(),
        "command": command_of(options),
        "seed": options.seed,
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "diffusers", "transformers")},
        "stages": [judged[name] for name in names if name in judged],
    }


def command_of(options: Options) -> str:
    """The command line that does the same, without its places; `before` tells what `--warm` was."""
    given: dict[str, object] = {"seed": options.seed, "pool": options.pool}
    chosen = {"first": options.first, "until": options.until, "scale": options.scale}
    usual = Options(options.out)
    given |= {name: value for name, value in chosen.items() if value != getattr(usual, name)}
    return " ".join(
        ["python -m dreamlite_mobile.tiny.train --out ...", *(f"--{name} {value}" for name, value in given.items())]
    )


def commit() -> str:
    """Of the checkout that this code runs from; "unknown" outside of one."""
    here = Path(__file__).parent
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],  # noqa: S607 - whichever git there is
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or "unknown"


def run_all(options: Options) -> Models:
    """Every stage up to `options.until`; what an earlier run has done is not done again."""
    options.out.mkdir(parents=True, exist_ok=True)
    models = create(options.out / "checkpoint", options.seed, torch.device(options.device))
    if options.warm is not None:
        load(models, options.warm)
    waits, pools = True, dict[bool, Pool]()
    for stage in STAGES:
        waits = waits and stage.name != options.first
        if not waits or is_done(stage, options):
            run_stage(models, stage, options, pools)
        if stage.name == options.until:
            break
    write_atomic(models.folder / RECORD, (json.dumps(provenance(options), indent=2) + "\n").encode())
    return models


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies every stage's steps")
    parser.add_argument("--pool", type=int, default=40_000)
    names = [stage.name for stage in STAGES]
    parser.add_argument("--first", choices=names, default=names[0], help="stages before it are taken as they are")
    parser.add_argument("--until", choices=names, default=names[-1])
    parser.add_argument("--warm", type=Path, help="a checkpoint of this configuration to begin with")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--scored", type=int, default=48)
    run_all(Options(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
