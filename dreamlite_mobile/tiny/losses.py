"""What each part of the recipe is trained on, as an endless row of losses."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from dreamlite_mobile.tiny.drafts import features_of
from dreamlite_mobile.tiny.examples import examples
from dreamlite_mobile.tiny.models import Models, Words, read_words, to_unit, velocity
from dreamlite_mobile.tiny.pools import Pool
from dreamlite_mobile.tiny.recipe import BLANK, Losses, Run
from dreamlite_mobile.tiny.sampling import shift_of
from dreamlite_mobile.tiny.world import SIDE, Sampler, Scene, render

DROPPED = 0.1
LEVEL_SPREAD = 1.2
DRAFTED = 0.1
"""Weight of the layout's cross-entropy beside the velocity's squared error."""
HIDDEN = 0.5
"""The least noise over what is to be copied: under less of it, a picture needs no other to be seen by."""
CROPPED = 2_000
"""Scenes that one run of the autoencoder's stage takes its crops from; rendering them costs as much as the steps."""
CROP = 64
"""Side of what the autoencoder is trained on, in pixels: it is a convolution, and a whole picture costs four times."""


def autoencoder_losses(run: Run, seed: int) -> Losses:
    """Errors of pixels and of their differences, under noisy latents of about unit size.

    The stage `decoder` leaves the encoder as it is, and with it everything that was encoded.
    """
    vae, device = run.models.vae, run.models.device
    sampler = Sampler(np.random.default_rng((seed, 1, run.step, run.steps)))
    scenes = [one.scene for one in examples(sampler, CROPPED)]
    pictures = [render(scene) for scene in scenes]
    while True:
        picked = sampler.random.integers(CROPPED, size=run.stage.batch)
        images = to_unit(np.stack([crop(scenes[index], pictures[index], sampler.random) for index in picked]), device)
        with torch.set_grad_enabled(run.stage.name == "autoencoder"):
            latents = vae.encode(images).latents
        spread, mean = latents.std((0, 2, 3)), latents.mean((0, 2, 3))
        sized = ((spread - 1) ** 2).mean() + (mean**2).mean()
        found = vae.decode(latents + 0.05 * torch.randn_like(latents)).sample
        error = (found - images) * contrast_weight(images)
        edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        yield error.abs().mean() + error.square().mean() + 0.5 * edges + 0.01 * sized


def contrast_weight(images: torch.Tensor) -> torch.Tensor:
    """More for pale pictures [B, 1, 1, 1]: their errors are small in numbers, but as much of what there is to see."""
    return 0.35 / images.std((1, 2, 3), keepdim=True).clamp(0.1, 0.7)


def crop(scene: Scene, picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A piece of a scene's picture around one of its things."""
    thing = scene.things[int(random.integers(len(scene.things)))]
    shift = random.integers(-CROP // 3, CROP // 3 + 1, 2)
    top, left = np.clip(np.array((thing.y, thing.x)) * SIDE - CROP / 2 + shift, 0, SIDE - CROP).astype(int)
    return picture[top : top + CROP, left : left + CROP]


def flow_losses(run: Run, pools: dict[bool, Pool], seed: int) -> Losses:
    """Flow matching: the velocity from picture to noise, at noise levels of the sampler's schedule."""
    models = run.models
    random = np.random.default_rng((seed, run.step))
    shift = shift_of(models)
    while True:
        drawn = random.random()
        if drawn < run.stage.copies:
            yield copy_loss(run, pools[False], random)
            continue
        is_edit = drawn < run.stage.copies + run.stage.edits
        pool, is_paired = pools[is_edit], is_edit or random.random() < run.stage.paired
        rows = random.integers(len(pool), size=run.stage.batch)
        clean, condition, words = repeated(batch_of(models, pool, rows, random, DROPPED), run.stage.draws)
        layouts = pool.layouts[rows].to(models.device).repeat(run.stage.draws, 1, 1, 1)
        level = drawn_levels(len(clean), shift, models.device)
        yield flow_loss(models, clean, condition if is_paired else None, words, level, layouts)


def flow_loss(
    models: Models,
    clean: torch.Tensor,
    condition: torch.Tensor | None,
    words: Words,
    level: torch.Tensor,
    layouts: torch.Tensor,
) -> torch.Tensor:
    """Squared error of the velocity at noise levels [B], and what the features say of the layout."""
    noise, wide = torch.randn_like(clean), level.view(-1, 1, 1, 1)
    with features_of(models.unet, models.drafts) as features:
        found = velocity(models.unet, (1 - wide) * clean + wide * noise, condition, level, words, SIDE)
    return F.mse_loss(found.float(), noise - clean) + DRAFTED * models.drafts(features, layouts)


def copy_loss(run: Run, pool: Pool, random: np.random.Generator) -> torch.Tensor:
    """The picture beside itself, much noise over one of the two, and words that tell nothing.

    Edits alone never taught the U-Net to take what stays from the condition's half: the text tower has seen the source
    as well, and its states say roughly what stands where, which is less right and sooner learnt. Here they say nothing.
    """
    models, count = run.models, run.stage.batch * run.stage.draws
    rows = random.integers(len(pool), size=count)
    clean = pool.latents[rows].to(models.device).float()
    level = HIDDEN + (1 - HIDDEN) * torch.rand(count, device=models.device)
    words = words_of(models, pool, [(0, True)] * count)
    return flow_loss(models, clean, clean, words, level, pool.layouts[rows].to(models.device))


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
    """Clean latents, condition latents and words of some examples, a share of the words replaced by `BLANK`."""
    clean = pool.latents[rows].to(models.device).float()
    stored = pool.conditions
    condition = torch.zeros_like(clean) if stored is None else stored[rows].to(models.device).float()
    return clean, condition, words_of(models, pool, [(int(row), random.random() < dropped) for row in rows])


def words_of(models: Models, pool: Pool, wanted: Sequence[tuple[int, bool]]) -> Words:
    """What the text tower says of rows of a pool, (row, blank): blank rows have `BLANK` for their text.

    It no longer learns, so it is asked once for each.
    """
    missing = [key for key in dict.fromkeys(wanted) if key not in pool.words]
    if missing:
        with torch.no_grad():
            found = read_rows(models, pool, missing)
        for key, states, mask in zip(missing, found.states, found.mask, strict=True):
            pool.words[key] = states[: int(mask.sum())].half().cpu()
    read = [pool.words[key].to(models.device).float() for key in wanted]
    counts = torch.tensor([len(one) for one in read], device=models.device)
    mask = torch.arange(int(counts.max()), device=models.device) < counts[:, None]
    return Words(pad_sequence(read, batch_first=True), mask.long())


def read_rows(models: Models, pool: Pool, wanted: Sequence[tuple[int, bool]]) -> Words:
    """The tower's states for rows of a pool."""
    texts = [BLANK if blank else pool.texts[row] for row, blank in wanted]
    return read_words(models, texts, None if pool.sources is None else [pool.sources[row] for row, _ in wanted])
