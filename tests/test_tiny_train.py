"""The recipe end to end with a handful of steps: every stage runs, a killed run goes on, a checkpoint comes out."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from stages import stage_of

from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.cli.score import reference_of
from dreamlite_mobile.errors import CheckpointError
from dreamlite_mobile.images import vision_patches
from dreamlite_mobile.synthetic import make_checkpoint
from dreamlite_mobile.tiny import losses, paths, pools, sampling, train
from dreamlite_mobile.tiny.evaluate import asked_of, evaluate
from dreamlite_mobile.tiny.models import create, load, read_words, save, velocity, vision_inputs
from dreamlite_mobile.tiny.recipe import BLANK
from dreamlite_mobile.tiny.world import SIDE

CPU = torch.device("cpu")
DIFFERENT_RESIZING = 0.02
"""Largest share by which a bicubic filter and LANCZOS differ on the world's pictures, relative RMS."""


def log_of(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def shorten(patch: pytest.MonkeyPatch) -> None:
    """Two steps of sampling and of each stage, so that the whole recipe takes seconds."""
    patch.setattr(train, "TEACHER_STEPS", 4)
    patch.setattr(train, "PARTS", 1)
    patch.setattr(paths, "SUBSTEPS", 1)
    patch.setattr(losses, "CROPPED", 6)
    patch.setattr(pools, "CHUNK", 6)
    short = tuple(replace(stage, steps=2, batch=2) for stage in train.STAGES)
    patch.setattr(train, "STAGES", short)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the whole recipe has run."""
    out = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        train.run_all(train.Options(out, pool=2, scored=1))
    return out


def test_the_recipe_runs_to_a_checkpoint(trained: Path) -> None:
    assert [line["stage"] for line in log_of(trained)] == [stage.name for stage in train.STAGES]
    assert all(np.isfinite(float(str(line["loss"]))) for line in log_of(trained))
    open_checkpoint(trained / "checkpoint").check()


def test_a_checkpoint_is_trained_further(trained: Path, tmp_path: Path, quick: None) -> None:
    """From its weights, from the stage that is named; the record says where they come from."""
    folder = trained / "checkpoint"
    models = create(tmp_path / "checkpoint", 1, CPU)
    load(models, folder)
    kept = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(value.half(), kept[name]) for name, value in models.unet.state_dict().items())
    more = train.Options(tmp_path, seed=1, pool=2, scored=1, warm=folder, first="distil", until="distil")
    assert torch.equal(train.run_all(more).vae.decoder.layers[0].weight, models.vae.decoder.layers[0].weight)
    assert [line["stage"] for line in log_of(tmp_path)] == ["distil"]
    record = json.loads((tmp_path / "checkpoint" / "training.json").read_text())
    assert record["before"]["seed"] == 0
    assert [stage["stage"] for stage in record["stages"]] == ["distil"]


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path: Path) -> None:
    models = create(tmp_path / "checkpoint", 0, CPU)
    other = make_checkpoint("tiny", 0, tmp_path / "tiny")
    with pytest.raises(CheckpointError, match="not of the embedded configuration"):
        load(models, other)


def test_a_killed_run_goes_on_where_it_stood(tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException): ...

    def dies(run: train.Run, *_: object) -> None:
        train_keep(run, options)
        if run.step == 1:
            raise Killed

    train_keep = train.keep
    options = train.Options(tmp_path, scored=1, until="autoencoder", report_every=0.0)
    monkeypatch.setattr(train, "keep", dies)
    with pytest.raises(Killed):
        train.run_all(options)
    monkeypatch.setattr(train, "keep", train_keep)
    resumed = torch.load(tmp_path / "autoencoder.state")
    assert resumed["step"] == 1
    train.run_all(options)
    assert [line["step"] for line in log_of(tmp_path)][-1] == 2
    assert torch.load(tmp_path / "autoencoder.state")["seconds"] > resumed["seconds"]


def test_copies_have_the_picture_beside_itself_and_words_that_tell_nothing(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def watched(unet: Any, latents: Any, condition: Any, sigma: Any, words: Any, side: int) -> Any:
        seen.append((condition, sigma, words))
        return velocity(unet, latents, condition, sigma, words, side)

    models = create(tmp_path / "checkpoint", 0, CPU)
    pool = pools.make_pool(models, False, 6, 0, tmp_path / "scenes.pool")
    stage = replace(stage_of("joint"), copies=1.0)
    run = train.start(models, stage, train.Options(tmp_path))
    monkeypatch.setattr(losses, "velocity", watched)
    next(losses.flow_losses(run, {False: pool}, 0)).backward()
    (condition, sigma, words) = seen[0]
    known = {tuple(one.flatten().tolist()) for one in pool.latents.float()}
    assert {tuple(one.flatten().tolist()) for one in condition} <= known and sigma.min() >= losses.HIDDEN
    blank = read_words(models, [BLANK]).states[0].half().float()
    assert all(torch.equal(one, blank) for one in words.states)
    assert any(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in run.parameters())


@pytest.mark.parametrize(("mode", "floor"), [("generate", 45.0), ("edit", 30.0)])
def test_training_sees_the_model_that_is_shipped(tmp_path: Path, mode: str, floor: float) -> None:
    """The same pictures by the training code and by the product's own pipeline, from the saved checkpoint."""
    models = create(tmp_path / "checkpoint", 0, CPU)
    save(models)
    own = evaluate(reference_of(str(tmp_path / "checkpoint"), SIDE), 1, modes=[mode]).made[mode][0]
    asked = asked_of(mode, 1, SIDE)[0]
    sources = None if asked.source is None else [np.asarray(asked.source)]
    trained = sampling.sample(models, [asked.words], sources, steps=4, guidance=1.0)[0]
    error = np.square(trained.astype(float) - np.asarray(own.picture)).mean()
    assert trained.std() > 5
    assert 10 * np.log10(255**2 / max(error, 1e-9)) > floor


def test_training_and_product_cut_the_same_patches(tmp_path: Path) -> None:
    models = create(tmp_path / "checkpoint", 0, CPU)
    source = asked_of("edit", 1, SIDE)[0].source
    assert source is not None
    found = vision_inputs(models, [np.asarray(source)])["pixel_values"]
    expected = torch.from_numpy(vision_patches(source, models.config.vision))
    frames = found.view(len(expected), 3, models.config.vision.temporal_patch_size, -1)
    assert torch.equal(frames[:, :, 0], frames[:, :, 1])
    error = (frames[:, :, 0].flatten(1) - expected).square().mean() / expected.square().mean()
    assert error.sqrt() < DIFFERENT_RESIZING
