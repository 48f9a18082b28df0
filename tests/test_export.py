"""What an export takes over from an earlier bundle, and what it makes anew."""

from pathlib import Path

import pytest
from bundles import SIZE, exported
from checkpoint_files import tiny_checkpoint

from dreamlite_mobile.bundle import Bundle, BundleWriter, open_bundle
from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.components import ComponentSpec
from dreamlite_mobile.synthetic import make_checkpoint
from export import driver
from export.driver import ExportRequest, Plan, Written, plan_export, reusable, run_export

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

    def lowered(plan: Plan, spec: ComponentSpec, writer: BundleWriter) -> Written:
        raise AssertionError(spec.name)

    monkeypatch.setattr(driver, "export_component", lowered)
    bundle = run_export(plan_export(request(modes=("generate",), components=DECODER)), tmp_path / "bundle").bundle
    assert bundle.manifest.components == {"vae_decoder": donor.manifest.components["vae_decoder"]}
    assert bundle.manifest.files["vae_decoder.pte"] == donor.manifest.files["vae_decoder.pte"]
    assert isinstance(open_bundle(tmp_path / "bundle"), Bundle)


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
