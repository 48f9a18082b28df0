"""The parts of the recipe, and a part on its way."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dreamlite_mobile.tiny.models import Models

STUDENT_STEPS = 4
TEACHER_STEPS = 24
GUIDANCE = 3.0
BLANK = "an image"
"""The text of an unguided prediction; one training text in ten is replaced by it."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One part of the recipe.

    `batch`: examples in a step; `draws`: noise levels drawn for each, since reading an instruction and its picture
    costs more than a step of the U-Net; `learns`: the networks that are trained; `edits`: the share of edit batches;
    `copies`: the share of batches in which the target is the condition itself, beside words that tell nothing;
    `strange`: of edit batches, the share in which what an edit leaves alone has shapes without a name; `paired`: of
    batches that are neither edits nor copies, the share that has the (blank) condition's half beside the target's, at
    twice the cost; of stages that learn from the student's own pictures, `spare`: how many times as many are drawn as
    are learnt from; `held`: prompts are held by the right pictures of the weights before; `steered`: steps are mended
    from where the student stands, not the whole path; `taken`: how far the stage's weights go from those it began
    with to those that it learnt (Wortsman et al. 2022: half way keeps more of what was known and loses little of what
    is new).
    """

    name: str
    steps: int
    batch: int
    rate: float
    learns: tuple[str, ...]
    draws: int = 1
    edits: float = 0.0
    copies: float = 0.0
    strange: float = 0.0
    paired: float = 1.0
    spare: int = 1
    held: bool = False
    steered: bool = False
    taken: float = 1.0


DRAWING = ("unet", "drafts")
STAGES = (
    Stage("autoencoder", 8_000, 8, 2e-3, ("vae",)),
    Stage("decoder", 4_000, 8, 2e-3, ("vae",)),
    Stage("reading", 3_500, 12, 3e-3, ("text_encoder", "reader"), draws=2, edits=0.4),
    Stage("text", 13_000, 16, 2e-3, DRAWING, paired=0.0),
    Stage("edit", 1_200, 8, 1.5e-3, DRAWING, draws=2, edits=0.75, paired=0.5),
    Stage("joint", 16_800, 8, 1.5e-3, DRAWING, draws=2, edits=0.4, copies=0.15, paired=0.7),
    Stage("distil", 1_900, 16, 5e-4, ("unet",), edits=0.5),
    Stage("mend", 2_900, 16, 5e-4, DRAWING, edits=0.5, taken=0.5),
    Stage("copy", 2_600, 16, 5e-4, DRAWING, edits=0.7, strange=0.5, spare=2, held=True, taken=0.5),
    Stage("steer", 2_800, 16, 5e-4, DRAWING, edits=0.5, strange=0.5, spare=2, steered=True, taken=0.5),
)


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line sets.

    `scale` multiplies every stage's steps, `pool` is the number of examples per pool. Stages before `first` are loaded
    where an earlier run has been through them; `warm` is a checkpoint to begin with.
    """

    out: Path
    seed: int = 0
    scale: float = 1.0
    pool: int = 40_000
    first: str = STAGES[0].name
    until: str = STAGES[-1].name
    warm: Path | None = None
    device: str = "cpu"
    report_every: float = 120.0
    scored: int = 48


@dataclass(slots=True)
class Run:
    """A stage on its way: what is trained, its running average, the optimiser and the step.

    `begun`: what was trained as it was before, where the stage goes only part of the way from there.
    """

    models: Models
    stage: Stage
    steps: int
    begun: dict[str, Any]
    average: dict[str, Any]
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)

    def parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]


Losses = Iterator[torch.Tensor]
