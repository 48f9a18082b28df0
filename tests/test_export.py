"""What an export takes over from an earlier bundle, and what it makes anew."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bundles import SIZE, exported
from checkpoint_files import UNET_FILE, change_tensors, copy_of_tiny, tiny_checkpoint

from dreamlite_mobile.bundle import Bundle, open_bundle
from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.errors import CheckpointError, ConfigError
from dreamlite_mobile.synthetic import make_checkpoint
from export import parts
from export.backends import Written
from export.driver import ExportRequest, Plan, plan_export, run_export
from export.parts import reusable

DECODER = ("vae_decoder",)


def request(**changes: object) -> ExportRequest:
    asked = {
        "checkpoint": open_checkpoint(tiny_checkpoint()),
        "source": "tiny",
        "backend": "xnnpack",
        "width": SIZE,
        "height": SIZE,
        "reuse": (open_bundle(exported("fp32")),),
    }
    return ExportRequest(**(asked | changes))


def test_equal_components_are_copied_and_not_lowered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    donor = open_bundle(exported("fp32"))

    def lower(plan: Plan, name: str, folder: Path) -> Written:
        raise AssertionError(name)

    monkeypatch.setattr(parts, "lower", lower)
    bundle = run_export(plan_export(request(modes=("generate",), components=DECODER)), tmp_path / "bundle").bundle
    assert bundle.manifest.components == {"vae_decoder": donor.manifest.components["vae_decoder"]}
    assert bundle.manifest.files["vae_decoder.pte"] == donor.manifest.files["vae_decoder.pte"]
    assert isinstance(open_bundle(tmp_path / "bundle"), Bundle)


def test_an_image_token_that_the_tokenizer_does_not_know_is_refused(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(tiny_checkpoint())
    config = replace(checkpoint.config, text=replace(checkpoint.config.text, image_token_id=5))
    with pytest.raises(ConfigError, match="image_token_id 5, but .* the id 1020"):
        plan_export(request(checkpoint=replace(checkpoint, config=config), reuse=()))


def test_weights_that_are_not_finite_are_named_before_anything_is_lowered(tmp_path: Path) -> None:
    folder = copy_of_tiny(tmp_path)
    change_tensors(folder / UNET_FILE, **{"conv_out.bias": torch.full((4,), float("nan"))})
    plan = plan_export(request(checkpoint=open_checkpoint(folder), components=DECODER, reuse=()))
    with pytest.raises(CheckpointError, match=r"unet/conv_out.bias"):
        run_export(plan, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_component_that_would_come_out_otherwise_is_not_reused(tmp_path: Path) -> None:
    other = open_checkpoint(make_checkpoint("tiny", 1, tmp_path / "other"))
    assert reusable(plan_export(request()), "unet") is not None
    for changes in (
        {"checkpoint": other},
        {"width": SIZE + 32},
        {"precision": "w8"},
        {"modes": ("edit",)},
        {"backend": "onnx"},
    ):
        assert reusable(plan_export(request(**changes)), "unet") is None, changes
    assert reusable(plan_export(request(precision="w8")), "vae_decoder") is not None
