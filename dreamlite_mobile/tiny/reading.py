"""Reading and seeing, taught to the text tower before the U-Net has to draw what it says.

The published tower is a Qwen3-VL that knew language and pictures long before DreamLite; this one begins with neither,
and the U-Net's loss alone teaches it words but not which colour belongs to which shape. So a linear reader asks its
states for the facts: the tokens that close the template, which come after everything, for one thing each and for the
background; the picture's tokens for what they show. The reader is thrown away, the tower stays as it is from then on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from dreamlite_mobile.tiny.examples import SCENE_KINDS, edit_examples, examples
from dreamlite_mobile.tiny.facts import ATTRIBUTES, CLOSING, Facts, Lesson, caption_lesson, edit_lesson, labels
from dreamlite_mobile.tiny.models import Models, read_words
from dreamlite_mobile.tiny.recipe import Losses, Run
from dreamlite_mobile.tiny.world import EDIT_KINDS, Sampler

PLACED = 4.0
"""Weight of errors in position beside the attributes' cross-entropy."""


@dataclass(frozen=True, slots=True)
class Read:
    """What the reader makes of tokens: logits [B, tokens, classes] by attribute, positions [B, tokens, 3]."""

    logits: dict[str, torch.Tensor]
    positions: torch.Tensor


def read(models: Models, lessons: Sequence[Lesson]) -> tuple[Read, Read | None]:
    """The reader's answers for the closing tokens and, where there are pictures, for theirs."""
    sources = [one.source for one in lessons if one.source is not None]
    words = read_words(models, [one.text for one in lessons], sources or None)
    valid = words.mask.sum(1, keepdim=True)
    rows = (valid - CLOSING + torch.arange(CLOSING, device=valid.device))[..., None]
    closing = words.states.gather(1, rows.expand(-1, -1, words.states.shape[2]))
    if not sources:
        return _answers(models, closing), None
    first = models.prompts.image_slice[0] - models.prompts.edit_shape.drop
    seen = words.states[:, first : first + len(lessons[0].cells)]
    return _answers(models, closing), _answers(models, seen)


def _answers(models: Models, states: torch.Tensor) -> Read:
    found = models.reader(F.rms_norm(states, states.shape[-1:])).float()
    *logits, positions = found.split([len(values) + 1 for values in ATTRIBUTES.values()] + [3], dim=2)
    return Read(dict(zip(ATTRIBUTES, logits, strict=True)), positions)


def loss_of(answers: Read, facts: Sequence[Sequence[Facts]]) -> torch.Tensor:
    """Cross-entropy summed over the attributes, mean over tokens."""
    wanted = torch.from_numpy(np.stack([labels(one) for one in facts])).to(answers.positions.device)
    return torch.stack(
        [
            F.cross_entropy(logits.flatten(0, 1), wanted[..., index].flatten())
            for index, logits in enumerate(answers.logits.values())
        ]
    ).sum()


def positions_of(lessons: Sequence[Lesson], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Centre and half-width [B, CLOSING, 3] of the things on the closing tokens, and which are known [B, CLOSING]."""
    known = [[thing is not None for thing in one.things] for one in lessons]
    where = [[(thing.x, thing.y, thing.half) if thing else (0.0, 0.0, 0.0) for thing in one.things] for one in lessons]
    return torch.tensor(where, device=device), torch.tensor(known, device=device)


def lessons_of(sampler: Sampler, count: int, edits: bool, grid: int) -> list[Lesson]:
    """Fresh ones, all kinds alike."""
    first = int(sampler.random.integers(len(EDIT_KINDS if edits else SCENE_KINDS)))
    if edits:
        return [edit_lesson(one, grid) for one in edit_examples(sampler, count, first)]
    return [caption_lesson(one) for one in examples(sampler, count, first)]


def grid_of(models: Models) -> int:
    """The picture's tokens in a row."""
    return models.config.vision.grid // models.config.vision.spatial_merge_size


def reading_losses(run: Run, seed: int) -> Losses:
    """Captions and edits; every step has new ones."""
    models, grid = run.models, grid_of(run.models)
    sampler = Sampler(np.random.default_rng((seed, 4, run.step)))
    while True:
        edits = bool(sampler.random.random() < run.stage.edits)
        lessons = lessons_of(sampler, run.stage.batch * (1 if edits else run.stage.draws), edits, grid)
        closing, seen = read(models, lessons)
        loss = loss_of(closing, [one.facts for one in lessons])
        if seen is not None:
            where, known = positions_of(lessons, models.device)
            away = (closing.positions - where).abs().mean(2)
            loss = loss + loss_of(seen, [one.cells for one in lessons]) + PLACED * away[known].mean()
        yield loss


@torch.no_grad()
def judge_reading(models: Models, count: int) -> dict[str, Any]:
    """Share of fresh texts of which the closing tokens know everything, and how far positions are off."""
    found: dict[str, Any] = {}
    for held in (False, True):
        for edits, name in ((False, "captions"), (True, "edits")):
            sampler = Sampler(np.random.default_rng((5, held)), held)
            lessons = lessons_of(sampler, count, edits, grid_of(models))
            closing, seen = read(models, lessons)
            entry = {"right": _right(closing, [one.facts for one in lessons], whole=True)}
            if seen is not None:
                where, known = positions_of(lessons, models.device)
                entry["cells"] = _right(seen, [one.cells for one in lessons], whole=False)
                entry["off"] = float((closing.positions - where).abs().mean(2)[known].mean())
            group = f"{name}_{'held_out' if held else 'seen'}"
            found[group] = {key: round(value, 3) for key, value in entry.items()}
    return found


def _right(answers: Read, facts: Sequence[Sequence[Facts]], whole: bool) -> float:
    """The share of tokens, or of whole texts, whose every attribute is right."""
    wanted = torch.from_numpy(np.stack([labels(one) for one in facts]))
    given = torch.stack([logits.argmax(2).cpu() for logits in answers.logits.values()], dim=2)
    right = (given == wanted).all(2)
    return float((right.all(1) if whole else right).float().mean())
