"""The tiny autoencoder (`AutoencoderTiny`, diffusers 0.42, TAESD family). Pictures are in [-1, 1]."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from dreamlite_mobile.config import VaeConfig
from dreamlite_mobile.networks.form import Form
from dreamlite_mobile.networks.resample import UpsampleConv

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": F.relu,
    "silu": F.silu,
    "gelu": F.gelu,
    "mish": F.mish,
}


class Block(nn.Module):
    """`AutoencoderTinyBlock` with equal widths."""

    def __init__(self, channels: int, act: str) -> None:
        super().__init__()
        self.conv = nn.ModuleDict({index: nn.Conv2d(channels, channels, 3, padding=1) for index in ("0", "2", "4")})
        self.act = ACTIVATIONS[act]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.act(self.conv["0"](x))
        y = self.act(self.conv["2"](y))
        return F.relu(self.conv["4"](y) + x)


class VaeEncoder(nn.Module):
    """`EncoderTiny`."""

    def __init__(self, cfg: VaeConfig) -> None:
        super().__init__()
        width = cfg.encoder_channels
        layers: list[nn.Module] = []
        for stage, blocks in enumerate(cfg.num_encoder_blocks):
            if stage == 0:
                layers.append(nn.Conv2d(cfg.in_channels, width, 3, padding=1))
            else:
                layers.append(nn.Conv2d(width, width, 3, padding=1, stride=2, bias=False))
            layers += [Block(width, cfg.act_fn) for _ in range(blocks)]
        layers.append(nn.Conv2d(width, cfg.latent_channels, 3, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """image [1, 3, H, W] in [-1, 1] -> latents [1, 4, H/8, W/8]."""
        return self.layers((image + 1.0) * 0.5)


class VaeDecoder(nn.Module):
    """`DecoderTiny`."""

    def __init__(self, cfg: VaeConfig, form: Form) -> None:
        super().__init__()
        width = cfg.decoder_channels
        layers: dict[str, nn.Module] = {"0": nn.Conv2d(cfg.latent_channels, width, 3, padding=1)}
        index = 2
        for stage, blocks in enumerate(cfg.num_decoder_blocks):
            for _ in range(blocks):
                layers[str(index)] = Block(width, cfg.act_fn)
                index += 1
            if stage < len(cfg.num_decoder_blocks) - 1:
                layers[str(index + 1)] = UpsampleConv(width, form, bias=False)
                index += 2
            else:
                layers[str(index)] = nn.Conv2d(width, cfg.out_channels, 3, padding=1)
        self.layers = nn.ModuleDict(layers)
        self.act = ACTIVATIONS[cfg.act_fn]

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """latents [1, 4, h, w] -> image [1, 3, 8h, 8w], about [-1, 1], not clamped."""
        first, *rest = self.layers.values()
        x = self.act(first(torch.tanh(latents * (1.0 / 3.0)) * 3.0))
        for layer in rest:
            x = layer(x)
        return x * 2.0 - 1.0
