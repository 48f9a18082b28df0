"""Which layers keep 16-bit weights. Oracle: the network before anything was rounded."""

import json
from math import inf
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from dreamlite_mobile.errors import ExportError
from export.htp_shards import told, told_together
from export.precision import WIDTHS
from export.qnn_plan import WeightPlan, layers_of, nearest, planned
from export.qnn_short import Verdict, bearers, short_layers


class Tower(nn.Module):
    """Two linear layers that add to one output: `loud` by much, `soft` by a thousandth of it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.loud, self.soft = nn.Linear(16, 16, bias=False), nn.Linear(16, 16, bias=False)
        self.soft.weight.data /= 1000

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.loud(x) + self.soft(x)


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
    assert plan.weights_db is not None and plan.weights_db > WIDTHS["w8a16"].enough_db
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
    assert plan.weights_db is not None and plan.weights_db > WIDTHS["w8a16"].enough_db


def test_a_precision_without_integers_is_refused() -> None:
    with pytest.raises(ExportError, match="w8 is no precision in integers; supported: w8a16, w4a16, w8a8mix"):
        planned("vae_encoder", "w8", {"forward": Encoder()}, calls())


def rows() -> dict[str, list[tuple[torch.Tensor]]]:
    source = torch.Generator().manual_seed(2)
    return {"generate": [(torch.randn(1, 400, 16, generator=source).clamp(-3, 3),) for _ in range(12)]}


def test_of_4_bits_a_layer_that_loses_most_gets_8() -> None:
    tower = Tower().requires_grad_(False)
    plan = planned("text_encoder", "w4a16", {"generate": tower}, rows())
    assert (plan.bits, plan.wide_bits, plan.narrow, plan.wide) == (4, 8, ("soft",), ("loud",))
    assert plan.weights_db is not None and plan.weights_db > WIDTHS["w4a16"].enough_db
    for name, bits in (("loud", 8), ("soft", 4)):
        layer = layers_of({"generate": tower})[name]
        assert torch.allclose(layer.weight, nearest(layer, bits), atol=1e-7), "already on that grid"
    assert len(tower.soft.weight.unique()) <= 16 * 15


def test_the_most_gainful_layers_are_chosen_until_their_losses_are_spent() -> None:
    losses = {"a": 4.0, "b": 1.0, "c": 3.0, "d": 9.0}
    gains = {"a": 4.0, "b": 0.1, "c": 30.0, "d": 10.0}
    assert bearers(losses, gains, 17.0) == ["c", "d", "a", "b"]
    assert bearers(losses, gains, 8.0) == ["c", "a", "b"]
    assert bearers(losses, gains, 7.0) == ["c", "a"]
    assert bearers(losses, gains, 2.0) == ["b"] and bearers(losses, gains, 0.5) == []


def test_a_layer_whose_activations_8_bits_would_spoil_keeps_16() -> None:
    """`loud` takes a row with one large number, which leaves the others no steps; `soft` hardly counts."""
    tower, calls = Tower().requires_grad_(False), rows()
    for (x,) in calls["generate"]:
        x[0, 0, 0] = 3000.0
    tower.loud.weight[:, 0] /= 3000
    tower.soft.weight[:, 0] = 0
    found = short_layers({"generate": tower}, calls, 33.0, ["loud", "soft"])
    assert found.layers == ("soft",) and 33.0 < found.kept_db < 200.0 and found.score_loss is None
    modules = {"generate": Tower().requires_grad_(False)}
    easy = short_layers(modules, rows(), 33.0, ["loud", "soft"])
    assert easy.layers == ("loud", "soft") and 33.0 < easy.kept_db < 60.0
    assert short_layers(modules, rows(), 33.0, ["loud"]).layers == ("loud",)


def test_layers_get_16_bits_again_while_the_score_loses_too_much() -> None:
    """The judge sees the network as it would be, and is not asked of what keeps too little already."""
    tower, asked = Tower().requires_grad_(False), []
    wanted = tower(rows()["generate"][-1][0])

    def judge() -> Verdict:
        asked.append(not torch.equal(tower(rows()["generate"][-1][0]), wanted))
        return Verdict(0.1, False) if len(asked) == 1 else Verdict(0.03, True)

    found = short_layers({"generate": tower}, rows(), 33.0, ["loud", "soft"], judge)
    assert asked == [True, True] and len(found.layers) == 1 and found.score_loss == 0.03
    assert short_layers({"generate": tower}, rows(), 33.0, ["loud", "soft"], lambda: Verdict(0.1, False)).layers == ()
    assert short_layers({"generate": tower}, rows(), 200.0, ["loud", "soft"], judge).layers == () and len(asked) == 2


def test_a_plan_of_8_bit_activations_names_their_layers() -> None:
    plan = planned(
        "unet", "w8a8mix", {"generate": Tower().requires_grad_(False)}, rows(), judge=lambda: Verdict(0.02, True)
    )
    assert plan.short == ("loud", "soft") and plan.bits == 8 and plan.short_db is not None and plan.short_db > 33
    assert plan.score_loss == 0.02


def test_layers_get_more_bits_until_all_together_keep_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve equal layers in a row, each well within what is asked by itself; the sum of losses is made to lie."""

    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(1)
            self.links = nn.ModuleList([nn.Linear(16, 16, bias=False) for _ in range(12)])
            for link in self.links:
                nn.init.orthogonal_(link.weight)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for link in self.links:
                x = x + link(x) / 6
            return x

    monkeypatch.setattr("export.qnn_plan.bearers", lambda losses, _gains, _most: list(losses))
    plan = planned("text_encoder", "w4a16", {"generate": Chain().requires_grad_(False)}, rows())
    assert plan.weights_db is not None and plan.weights_db >= WIDTHS["w4a16"].enough_db
    assert 0 < len(plan.narrow) < 12 and len(plan.wide) + len(plan.narrow) == 12


@pytest.mark.parametrize(("kept", "worst"), [((40.0, inf, 43.5), 40.0), ((inf, inf), None)])
def test_shards_that_lose_nothing_have_no_say_in_what_all_keep(kept: tuple[float, ...], worst: float | None) -> None:
    """The published U-Net's last shard in w8a16 is one: all its layers are on the picture's own path. The plans of
    shards come out of a cache of JSON."""

    def plan(decibels: float) -> dict[str, Any]:
        made = WeightPlan("unet", "w8a16", 8, (), ("module.conv",), weights_db=decibels, short_db=inf)
        return told(SimpleNamespace(plan=made, activations=()))

    together = told_together(json.loads(json.dumps([plan(one) for one in kept], allow_nan=False)))
    assert together["weights_db"] == worst and together["short_db"] is None
    assert together["shards"] == [None if one == inf else one for one in kept]
    assert together["wide"] == ["conv"] * len(kept)
