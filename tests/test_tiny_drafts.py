"""What the U-Net's features are asked for while it learns: the layout is the scene's, and answers teach it."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from stages import stage_of

from dreamlite_mobile.tiny.drafts import Drafts, features_of
from dreamlite_mobile.tiny.examples import SCENE_KINDS, example
from dreamlite_mobile.tiny.facts import layout
from dreamlite_mobile.tiny.losses import flow_losses
from dreamlite_mobile.tiny.models import Words, create, velocity
from dreamlite_mobile.tiny.pools import make_pool
from dreamlite_mobile.tiny.recipe import Options
from dreamlite_mobile.tiny.shapes import SHAPES
from dreamlite_mobile.tiny.train import start, train
from dreamlite_mobile.tiny.world import BACKGROUNDS, COLOURS, SIDE, Sampler

GRID = 16
CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", SCENE_KINDS)
def test_the_layout_is_the_scenes(kind: str) -> None:
    for seed in range(20):
        scene = example(Sampler(np.random.default_rng(seed)), kind).scene
        shapes, colours, backgrounds = layout(scene, GRID)
        assert (backgrounds == list(BACKGROUNDS).index(scene.background)).all()
        for thing in scene.things:
            place = int(thing.y * GRID), int(thing.x * GRID)
            assert SHAPES[shapes[place]] == thing.shape
            assert list(COLOURS)[colours[place]] == thing.colour
        covered = sum((2 * thing.half) ** 2 for thing in scene.things)
        assert (shapes < len(SHAPES)).mean() == pytest.approx(covered, abs=0.12)
        assert ((shapes == len(SHAPES)) == (colours == len(COLOURS))).all()


def test_features_that_know_the_layout_are_right_and_others_are_not() -> None:
    """Maps that read the classes off one-hot features answer with certainty; the right part of wide ones is ignored."""
    classes = [len(SHAPES) + 1, len(COLOURS) + 1, len(BACKGROUNDS) + 1]
    drafts = Drafts((8, sum(classes)))
    wanted = torch.stack([torch.randint(count, (2, 4, 4)) for count in classes], 1)
    known = torch.cat([F.one_hot(wanted[:, i], count).permute(0, 3, 1, 2) for i, count in enumerate(classes)], 1)
    with torch.no_grad():
        drafts.maps[0].weight.copy_(30 * torch.eye(sum(classes))[..., None, None])
        drafts.maps[0].bias.zero_()
    wide = torch.cat([known.float(), torch.randn_like(known.float())], 3)
    assert drafts([wide], wanted) < 1e-3
    assert drafts([wide.flip(3)], wanted) > 1


def test_features_are_watched_only_inside(tmp_path: Path) -> None:
    models = create(tmp_path / "checkpoint", 0, CPU)
    words = Words(torch.randn(1, 5, models.config.unet.encoder_hid_dim), torch.ones(1, 5).long())
    latents, level = torch.randn(1, 4, GRID, GRID), torch.tensor([0.5])
    with features_of(models.unet, models.drafts) as features:
        velocity(models.unet, latents, None, level, words, SIDE)
    channels = models.config.unet.block_out_channels
    assert [tuple(one.shape) for one in features] == [(1, channels[2], 8, 8), (1, channels[1], GRID, GRID)]
    velocity(models.unet, latents, None, level, words, SIDE)
    assert len(features) == 2


def test_drafts_reach_the_unet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few steps on a handful of scenes lower the sum of both losses, and the layout's part moves the U-Net alone."""
    monkeypatch.setattr("dreamlite_mobile.tiny.pools.CHUNK", 6)
    models = create(tmp_path / "checkpoint", 0, CPU)
    pool = make_pool(models, False, 6, 0, tmp_path / "scenes.pool")
    stage = stage_of("text")
    run = start(models, stage, Options(tmp_path, scale=25 / stage.steps))
    train(run, Options(tmp_path), flow_losses(run, {False: pool}, 0), lambda _: {})
    assert np.mean(run.losses[-5:]) < 0.8 * np.mean(run.losses[:5])
    models.unet.requires_grad_(True)
    latents, level = torch.randn(1, 4, GRID, GRID), torch.tensor([0.5])
    words = Words(torch.randn(1, 5, models.config.unet.encoder_hid_dim), torch.ones(1, 5).long())
    with features_of(models.unet, models.drafts) as features:
        velocity(models.unet, latents, None, level, words, SIDE)
    models.drafts(features, pool.layouts[:1]).backward()
    assert models.unet.conv_in.weight.grad.abs().max() > 0
