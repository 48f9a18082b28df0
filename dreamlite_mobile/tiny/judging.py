"""Scores of networks in training, as `dreamlite score` takes them of a bundle."""

from typing import Any

import numpy as np
import torch

from dreamlite_mobile.tiny.evaluate import MODES, asked_of, score_json
from dreamlite_mobile.tiny.models import Models, decode, encode
from dreamlite_mobile.tiny.recipe import Stage
from dreamlite_mobile.tiny.sampling import sample
from dreamlite_mobile.tiny.score import Score, judge_generated, prompts, score
from dreamlite_mobile.tiny.world import SIDE, render


@torch.no_grad()
def judge_autoencoder(models: Models, count: int) -> dict[str, Any]:
    """PSNR and score of reconstructed scenes: what the autoencoder lets through at best."""
    asked = prompts(count)
    pictures = np.stack([render(one.scene) for one in asked])
    found = decode(models, encode(models.vae, pictures))
    error = np.square(found.astype(float) - pictures).mean((1, 2, 3))
    judged = score([judge_generated(one, picture) for one, picture in zip(asked, found, strict=True)])
    return {"psnr_db": round(float(np.mean(10 * np.log10(255**2 / error))), 2), "reconstructed": summary(judged)}


def judge_models(models: Models, stage: Stage, count: int, steps: int, guidance: float) -> dict[str, Any]:
    """Scores of generation and editing, held-out pairs apart."""
    found: dict[str, Any] = {"sampled_steps": steps, "guidance": guidance}
    for mode in ("generate", "edit") if stage.edits else ("generate",):
        for group, name in zip(MODES[mode], ("seen", "held_out"), strict=True):
            found[f"{mode}_{name}"] = summary(score_group(models, group, count, steps, guidance, stage.paired > 0))
    return found


def score_group(models: Models, group: str, count: int, steps: int, guidance: float, paired: bool) -> Score:
    """What `dreamlite score` asks of a group, sampled in one batch."""
    asked = asked_of(group, count, SIDE)
    sources = [np.asarray(one.source) for one in asked if one.source is not None]
    pictures = sample(models, [one.words for one in asked], sources or None, steps, guidance, paired)
    return score([one.judge(picture) for one, picture in zip(asked, pictures, strict=True)])


def summary(found: Score) -> dict[str, float]:
    """Rounded for the log."""
    return {name: round(value, 1 if name == "kept_db" else 3) for name, value in score_json(found).items()}
