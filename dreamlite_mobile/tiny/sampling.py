"""Pictures from the networks in training, many at a time, with guidance where it is asked for."""

from itertools import pairwise

import numpy as np
import torch
from torch import nn

from dreamlite_mobile.noise import initial_latents
from dreamlite_mobile.scheduler import sigma_table
from dreamlite_mobile.tiny.models import Models, Words, decode, encode, read_words, velocity
from dreamlite_mobile.tiny.recipe import BLANK
from dreamlite_mobile.tiny.world import SIDE


@torch.no_grad()
def sample(
    models: Models,
    texts: list[str],
    sources: list[np.ndarray] | None,
    steps: int,
    guidance: float,
    paired: bool = True,
) -> np.ndarray:
    """Pictures uint8 [B, H, W, 3] by Euler steps from the noise of seeds 0, 1, ..., as `dreamlite score` draws them.

    Guidance 1 leaves the unguided prediction out; unpaired, the U-Net sees the target's half alone.
    """
    vae = models.config.vae
    shape = (1, vae.latent_channels, SIDE // vae.scale, SIDE // vae.scale)
    noise = np.concatenate([initial_latents(seed, shape) for seed in range(len(texts))])
    latents = torch.from_numpy(noise).to(models.device)
    condition = encode(models.vae, np.stack(sources)) if sources else torch.zeros_like(latents) if paired else None
    words = read_words(models, texts, sources)
    blank = read_words(models, [BLANK] * len(texts), sources) if guidance != 1 else None
    sigmas = sigma_table(steps, SIDE, SIDE, models.config.vae.scale, models.config.scheduler)
    for now, then in pairwise(sigmas):
        latents = latents + float(then - now) * guided(
            models.unet, latents, condition, float(now), words, blank, guidance
        )
    return decode(models, latents)


def guided(
    unet: nn.Module,
    latents: torch.Tensor,
    condition: torch.Tensor | None,
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


def shift_of(models: Models) -> float:
    """How the schedule shifts noise levels for pictures of this size: its middle step's odds, which unshifted are 1."""
    half = float(sigma_table(2, SIDE, SIDE, models.config.vae.scale, models.config.scheduler)[1])
    return half / (1 - half)
