"""How the weights of a synthetic checkpoint are scaled: mean and spread by what a tensor does in its network."""

import re
from dataclasses import dataclass
from math import prod, sqrt

from dreamlite_mobile.config import DreamLiteConfig


@dataclass(frozen=True, slots=True)
class Recipe:
    """Normally distributed weights."""

    std: float
    mean: float = 0.0


NORM = re.compile(r"(norm\d?|layernorm|norm_out|norm_[qk]|[qk]_norm|encoder_hid_proj\.1)\.weight$")
SHARP = re.compile(r"(norm_[qk]|[qk]_norm)\.weight$")
"""Norms of queries and keys: larger weights keep attention from averaging a prompt away."""

GAINS: dict[str, tuple[tuple[str, float], ...]] = {
    "unet": (
        (r"conv[12]\.depthwise", 1.7),
        (r"conv2\.pointwise", 0.7),
        (r"time_emb_proj|embedding\.linear_", 1.5),
        (r"conv_out", 1.7),
    ),
    "vae": ((r"conv\.[02]\.", 1.4), (r"conv\.4\.", 0.5)),
    "text_encoder": (),
}
"""Pattern -> weights' spread as a multiple of 1/sqrt(fan-in), first match; 1 where none matches."""

TO_LATENTS, TO_PICTURE = 3.0, 0.4
"""Gains of the autoencoder's last layers: latents of about unit spread, pictures that stay inside their range."""


def recipe(subfolder: str, name: str, shape: tuple[int, ...], config: DreamLiteConfig) -> Recipe:
    """How to draw the tensor `name` of a checkpoint's subfolder."""
    if len(shape) == 1:
        if subfolder == "vae" and shape == (config.vae.out_channels,):
            return Recipe(0.02, 0.5)  # the decoder's pictures are in [0, 1] here: mid-grey
        if SHARP.search(name):
            return Recipe(0.1, 1.5)
        return Recipe(0.1, 1.0) if NORM.search(name) else Recipe(0.02)
    if name.endswith("embed_tokens.weight"):
        return Recipe(0.5)
    if name.endswith("pos_embed.weight"):
        return Recipe(0.3)
    return Recipe(_gain(subfolder, name, shape, config) / sqrt(prod(shape[1:])))


def _gain(subfolder: str, name: str, shape: tuple[int, ...], config: DreamLiteConfig) -> float:
    if name.endswith(("o_proj.weight", "down_proj.weight")):
        return 1 / sqrt(2 * config.text.num_layers)
    if re.search(r"blocks\.\d+\.(attn\.proj|mlp\.linear_fc2)\.weight$", name):
        return 1 / sqrt(2 * config.vision.depth)
    if subfolder == "vae" and re.search(r"layers\.\d+\.weight$", name):
        if shape[0] == config.vae.out_channels:
            return TO_PICTURE
        if name.startswith("encoder") and shape[0] == config.vae.latent_channels:
            return TO_LATENTS
    return next((gain for pattern, gain in GAINS[subfolder] if re.search(pattern, name)), 1.0)
