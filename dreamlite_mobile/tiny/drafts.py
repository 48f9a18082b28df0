"""What the U-Net is about to draw, asked of its features while it learns.

The velocity's squared error says little of names: a star in a diamond's place costs a few latents. So linear maps of
the features after each of the upper attention levels must say, at every latent, which shape of which colour stands
there and on what background. It is REPA's idea (Yu et al. 2024: features aligned with what is on the picture), with the
world's own ground truth in place of another network's features. The maps are thrown away after training.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn

from dreamlite_mobile.networks.hooks import hooked
from dreamlite_mobile.tiny.facts import ATTRIBUTES, LAYOUT

CLASSES = [len(ATTRIBUTES[name]) + 1 for name in LAYOUT]


class Drafts(nn.Module):
    """Logits of `facts.LAYOUT` from the outputs of the U-Net's upper blocks that have attention."""

    def __init__(self, channels: Sequence[int]) -> None:
        """`channels`: the U-Net's, from high to low resolution; its last upper block has no attention."""
        super().__init__()
        self.maps = nn.ModuleList(nn.Conv2d(count, sum(CLASSES), 1) for count in reversed(channels[1:]))

    def forward(self, features: Sequence[torch.Tensor], layouts: torch.Tensor) -> torch.Tensor:
        """Cross-entropy summed over the layout's parts, mean over latents and levels.

        features: [B, C, h, w] of each level; layouts: classes [B, 3, H, W], H >= h; of wider features the left part.
        """
        losses = []
        for one, found in zip(self.maps, features, strict=True):
            share = layouts.shape[2] // found.shape[2]
            logits = one(found[..., : layouts.shape[3] // share])
            wide = F.interpolate(logits.float(), size=layouts.shape[2:], mode="nearest")
            parts = zip(torch.split(wide, CLASSES, dim=1), layouts.long().unbind(1), strict=True)
            losses.append(torch.stack([F.cross_entropy(given, wanted) for given, wanted in parts]).sum())
        return torch.stack(losses).mean()


@contextmanager
def features_of(unet: nn.Module, drafts: Drafts) -> Iterator[list[torch.Tensor]]:
    """The outputs of the blocks that drafts look at, filled in while the U-Net runs."""
    kept: list[torch.Tensor] = []
    blocks = list(unet.get_submodule("up_blocks").children())[: len(drafts.maps)]
    with hooked(blocks, lambda _module, _inputs, output: kept.append(output)):
        yield kept
