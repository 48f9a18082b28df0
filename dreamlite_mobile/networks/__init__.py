"""The networks of DreamLite, each built from (config, form) on the meta device and filled by a checkpoint.

No diffusers, no transformers. Parameter names equal the published ones below the prefix in `SOURCES`.
"""

from dataclasses import dataclass

import torch
from torch import nn

from dreamlite_mobile.config import DreamLiteConfig
from dreamlite_mobile.errors import ConfigError, unknown_name
from dreamlite_mobile.networks.form import REFERENCE, Form, fold
from dreamlite_mobile.networks.step import StepEmbedder
from dreamlite_mobile.networks.text import TextEncoder, TextLayout, TextTower
from dreamlite_mobile.networks.unet import UNet
from dreamlite_mobile.networks.vae import VaeDecoder, VaeEncoder
from dreamlite_mobile.networks.vision import VisionEncoder

__all__ = ["SOURCES", "Form", "TextEncoder", "TextLayout", "build", "expected_tensors", "fold"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a network's weights stand in a checkpoint: the subfolder and the prefix of their names."""

    folder: str
    prefix: str


SOURCES = {
    "text_encoder": Source("text_encoder", "model.language_model."),
    "vision_encoder": Source("text_encoder", "model.visual."),
    "unet": Source("unet", ""),
    "step_embedder": Source("unet", ""),
    "vae_encoder": Source("vae", "encoder."),
    "vae_decoder": Source("vae", "decoder."),
}


def build(name: str, config: DreamLiteConfig, form: Form) -> nn.Module:
    """The named network with its parameters on the meta device; fill it, then `fold` it.

    Raises:
        ConfigError: no network has that name.
    """
    if name not in SOURCES:
        raise ConfigError(unknown_name("network", name, SOURCES))
    with torch.device("meta"):
        match name:
            case "text_encoder":
                return TextTower(config.text, form)
            case "vision_encoder":
                return VisionEncoder(config.vision, form)
            case "unet":
                return UNet(config.unet, form)
            case "step_embedder":
                return StepEmbedder(config.unet)
            case "vae_encoder":
                return VaeEncoder(config.vae)
            case _:
                return VaeDecoder(config.vae, form)


def expected_tensors(config: DreamLiteConfig) -> dict[str, dict[str, tuple[int, ...]]]:
    """Checkpoint subfolder -> full tensor name -> shape, for everything a checkpoint must hold."""
    expected: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, source in SOURCES.items():
        folder = expected.setdefault(source.folder, {})
        for key, tensor in build(name, config, REFERENCE).state_dict().items():
            folder[source.prefix + key] = tuple(tensor.shape)
    prefix, text = SOURCES["text_encoder"].prefix, config.text
    expected["text_encoder"][prefix + "embed_tokens.weight"] = (text.vocab_size, text.hidden_size)
    expected["text_encoder"][prefix + "norm.weight"] = (text.hidden_size,)
    return expected
