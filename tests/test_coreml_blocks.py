"""One block of every kind at the published widths. Oracle: the same modules in torch fp32."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from oracle import WIDE
from test_coreml_export import worst
from test_networks import only_level
from torch import nn

from dreamlite_mobile.components import MethodSpec, TensorSpec
from dreamlite_mobile.config import MOBILE
from dreamlite_mobile.networks.form import COREML, fold
from dreamlite_mobile.networks.text import DecoderLayer, Rotary
from dreamlite_mobile.networks.transformer import Transformer2D
from dreamlite_mobile.networks.unet import Downsample, Resnet, UNet, Upsample
from dreamlite_mobile.networks.vae import VaeDecoder, VaeEncoder
from dreamlite_mobile.networks.vision import PatchMerger, VisionBlock
from dreamlite_mobile.parity.metrics import compare
from dreamlite_mobile.parity.thresholds import floor
from dreamlite_mobile.runtime.coreml import CoreMLComponent
from export.coreml import compressed, converted, quiet, save, unverified
from export.cutting import Part

pytestmark = pytest.mark.coreml


class Causal(nn.Module):
    """A text layer with the constants that its tower gives it."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.layer = DecoderLayer(WIDE.text, COREML)
        angles = torch.randn(length, WIDE.text.head_dim)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())
        self.register_buffer("causal", torch.full((1, length, length), -1e4).triu(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x, Rotary(self.cos, self.sin), self.causal)


class Sighted(nn.Module):
    """A vision block with its rotary table."""

    def __init__(self, patches: int) -> None:
        super().__init__()
        self.block = VisionBlock(WIDE.vision, COREML)
        angles = torch.randn(patches, WIDE.vision.hidden_size // WIDE.vision.num_heads)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(x, Rotary(self.cos, self.sin))


def seeded(module: nn.Module) -> nn.Module:
    """Normally distributed weights, norms around one, finished."""
    torch.manual_seed(0)
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            parameter.data = torch.randn(parameter.shape) * parameter[0].numel() ** -0.5
        else:
            parameter.data = torch.randn(parameter.shape) * 0.1 + ("norm" in name and name.endswith("weight"))
    return fold(module)


def prompt_projection() -> nn.Module:
    """As the U-Net holds it."""
    with torch.device("meta"):
        projection = UNet(MOBILE.unet, COREML).encoder_hid_proj
    return projection.to_empty(device="cpu")


SAMPLERS = {"downsampling": Downsample, "upsampling": Upsample}


def level_block(level: int, kind: str) -> tuple[nn.Module, tuple[tuple[int, ...], ...]]:
    cfg = only_level(MOBILE.unet, level)
    channels, height, width = cfg.block_out_channels[0], 4, 8
    if kind == "resnet":
        return Resnet(cfg, channels, channels, COREML), ((1, channels, height, width), (1, cfg.time_embed_dim))
    if kind in SAMPLERS:
        return SAMPLERS[kind](channels, COREML), ((1, channels, height, width),)
    block = Transformer2D(cfg, channels, cfg.num_heads[0], 1, cfg.down_kinds[0], COREML)
    return block, ((1, channels, height, width), (1, 24, cfg.cross_attention_dim), (1, 1, 24))


def blocks() -> Iterator[tuple[str, str]]:
    for level in range(3):
        yield f"resnet {level}", "w8"
        yield f"transformer {level}", "w8"
    yield from (("downsampling 1", "fp16"), ("upsampling 1", "fp16"), ("resnet with shortcut", "fp16"))
    yield from (("prompt projection", "fp16"), ("patch merger", "w8"))
    yield from (("text layer", "fp16"), ("vision block", "w8"), ("vae encoder", "fp16"), ("vae decoder", "fp16"))


def wide_block(name: str) -> Part:
    kind, _, level = name.partition(" ")
    step = MOBILE.unet.time_embed_dim
    if level.isdigit():
        module, shapes = level_block(int(level), kind)
    else:
        module, shapes = {
            "text layer": lambda: (Causal(24), ((1, 24, WIDE.text.hidden_size),)),
            "vision block": lambda: (Sighted(64), ((1, 64, WIDE.vision.hidden_size),)),
            "patch merger": lambda: (PatchMerger(WIDE.vision, COREML, True), ((1, 64, WIDE.vision.hidden_size),)),
            "prompt projection": lambda: (prompt_projection(), ((1, 24, MOBILE.unet.encoder_hid_dim),)),
            "resnet with shortcut": lambda: (Resnet(MOBILE.unet, 768, 256, COREML), ((1, 768, 4, 8), (1, step))),
            "vae encoder": lambda: (VaeEncoder(MOBILE.vae), ((1, 3, 32, 32),)),
            "vae decoder": lambda: (VaeDecoder(MOBILE.vae, COREML), ((1, 4, 4, 4),)),
        }[name]()
    finished = seeded(module)
    example = tuple(torch.zeros(shape) for shape in shapes)
    names = [node.name for node in torch.export.export(finished, example).graph.nodes if node.op == "placeholder"]
    inputs = tuple(TensorSpec(each, shape) for each, shape in zip(names[-len(shapes) :], shapes, strict=True))
    with torch.no_grad():
        result = finished(*example)
    return Part(finished, MethodSpec(inputs, (TensorSpec("y", tuple(result.shape)),)))


@pytest.mark.parametrize(("name", "coarse"), list(blocks()))
def test_full_width_blocks_reach_their_floors(tmp_path: Path, name: str, coarse: str) -> None:
    """One of every kind at the published widths; in 8 bits too where that is quick."""
    piece = wide_block(name)
    with quiet(), unverified():
        made = converted(name, piece)
        for precision in dict.fromkeys(("fp16", coarse)):
            save(compressed(made, precision), tmp_path / f"{precision}.mlpackage")
    for precision in dict.fromkeys(("fp16", coarse)):
        least = floor(precision, "coreml").component_snr_db
        assert worst(tmp_path / f"{precision}.mlpackage", piece) >= least, precision


def test_a_row_of_large_values_does_not_overflow_in_fp16(tmp_path: Path) -> None:
    """The text tower's residual reaches thousands, whose squares fp16 cannot hold; a row of zeros must stay zero."""
    from dreamlite_mobile.networks.layers import RMSNorm

    norm = seeded(RMSNorm(64, 1e-6, COREML))
    method = MethodSpec((TensorSpec("x", (1, 3, 64)),), (TensorSpec("y", (1, 3, 64)),))
    with quiet(), unverified():
        save(converted("norm", Part(norm, method)), tmp_path / "a.mlpackage")
    x = np.random.default_rng(0).standard_normal((1, 3, 64)).astype(np.float32) * np.array([[[9e3], [1e-2], [0]]], "f")
    component = CoreMLComponent(
        {"forward": [tmp_path / "a.mlpackage/Data/com.apple.CoreML/model.mlmodel"]},
        {"forward": method},
        name="norm",
        native=False,
    )
    found = component.run("forward", {"x": x})["y"]
    expected = torch.nn.functional.rms_norm(torch.from_numpy(x), (64,), norm.weight, 1e-6).numpy()
    assert compare(found[:, :2], expected[:, :2]).snr_db > 60 and not found[:, 2].any()
