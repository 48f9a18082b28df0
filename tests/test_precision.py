"""Which precision each component gets."""

import pytest

from dreamlite_mobile.components import COMPONENTS
from dreamlite_mobile.errors import ConfigError
from export.backends import OnnxExporter, XnnpackExporter
from export.precision import component_precisions

SUPPORTED = XnnpackExporter.precisions


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("fp32", {}),
        ("w8", {"text_encoder": "w8", "vision_encoder": "w8", "unet": "w8"}),
        ("w4", {"text_encoder": "w4", "vision_encoder": "w8", "unet": "w8"}),
        ("w4,unet=fp32", {"text_encoder": "w4", "vision_encoder": "w8"}),
        ("text_encoder=w4", {"text_encoder": "w4"}),
    ],
)
def test_presets_and_pairs(wanted: str, expected: dict[str, str]) -> None:
    found = component_precisions(wanted, COMPONENTS, SUPPORTED)
    assert found == {name: expected.get(name, "fp32") for name in COMPONENTS}


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("w9", "unknown preset 'w9'; known: fp16, fp32, p4, p6, w4, w4a16, w8, w8a16, w8a8mix"),
        ("w8,unnet=fp32", "unknown component 'unnet'"),
        ("unet=w4", "unet cannot be 'w4'.*supported: fp32, w8"),
        ("w8,fp32", "expected component=precision"),
        ("vae_decoder=w8", "vae_decoder cannot be 'w8'.*supported: fp32"),
    ],
)
def test_what_cannot_be_is_refused(wanted: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        component_precisions(wanted, COMPONENTS, SUPPORTED)


def test_a_component_that_is_not_exported_cannot_be_named() -> None:
    with pytest.raises(ConfigError, match="not among the components exported"):
        component_precisions("w8,unet=fp32", ["vae_decoder"], SUPPORTED)


def test_onnx_is_fp32_only() -> None:
    with pytest.raises(ConfigError, match="cannot be 'w8'"):
        component_precisions("w8", COMPONENTS, OnnxExporter.precisions)
