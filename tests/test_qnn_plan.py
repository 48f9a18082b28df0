"""Which layers keep 16-bit weights. Oracle: the network before anything was rounded."""

import pytest
import torch
from torch import nn

from dreamlite_mobile.errors import ExportError
from export.qnn_plan import ENOUGH_DB, planned


class Encoder(nn.Module):
    """Named as the autoencoder's encoder: `layers.0` is on the picture's own path, `layers.1.up` is not."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        inner = nn.ModuleDict({"up": nn.ConvTranspose2d(6, 6, 2, stride=2)})
        self.layers = nn.ModuleList([nn.Conv2d(3, 6, 3, padding=1), inner])

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.layers[0](x)
        return y, self.layers[1]["up"](y)


def calls() -> dict[str, list[tuple[torch.Tensor]]]:
    source = torch.Generator().manual_seed(1)
    pictures = [torch.randn(1, 3, 8, 8, generator=source) for _ in range(3)]
    for picture in pictures:
        picture[:, 0] = 0
    return {"forward": [(picture,) for picture in pictures]}


def test_weights_that_bear_8_bits_all_get_them_and_lie_on_their_grid() -> None:
    encoder = Encoder().requires_grad_(False)
    before = [layer.weight.clone() for layer in (encoder.layers[0], encoder.layers[1]["up"])]
    plan = planned("vae_encoder", "w8a16", {"forward": encoder}, calls())
    assert plan.narrow == ("layers.0", "layers.1.up") and plan.wide == ()
    assert plan.weights_db is not None and plan.weights_db > ENOUGH_DB
    up = encoder.layers[1]["up"].weight
    codes = up / (up.abs().amax((0, 2, 3), keepdim=True) / 127)
    assert torch.allclose(codes, codes.round(), atol=1e-4)
    assert not torch.equal(encoder.layers[0].weight, before[0]) and not torch.equal(up, before[1])


def test_a_layer_on_the_pictures_path_that_8_bits_would_spoil_keeps_its_weights() -> None:
    """A large weight on a channel that is always blank leaves the others a few steps of the scale."""
    encoder = Encoder().requires_grad_(False)
    encoder.layers[0].weight[:, 0] = 20.0
    before = encoder.layers[0].weight.clone()
    plan = planned("vae_encoder", "w8a16", {"forward": encoder}, calls())
    assert plan.wide == ("layers.0",) and plan.narrow == ("layers.1.up",)
    assert torch.equal(encoder.layers[0].weight, before)
    assert plan.weights_db is not None and plan.weights_db > ENOUGH_DB


def test_a_precision_without_integers_is_refused() -> None:
    with pytest.raises(ExportError, match="w8 is no precision in integers; supported: w8a16"):
        planned("vae_encoder", "w8", {"forward": Encoder()}, calls())
