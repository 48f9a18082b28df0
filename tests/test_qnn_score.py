"""The score as judge of a plan. Oracle: what is drawn by the network itself, and by one that is known to be useless."""

from functools import cache

import torch
from torch import nn

from dreamlite_mobile.assembly import component_methods
from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.components import FORWARD
from dreamlite_mobile.networks.form import HTP
from dreamlite_mobile.tiny.embedded import PACKAGED
from dreamlite_mobile.tiny.evaluate import asked_of
from export import calibration
from export.driver import geometry_of, prompt_encoder
from export.qnn_score import SEED, ScoreJudge

SIDE, PICTURES = 128, 6
MODES = ("generate",)


class Blank(nn.Module):
    """A decoder that paints everything grey."""

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return torch.zeros(1, 3, 8 * latents.shape[2], 8 * latents.shape[3])


@cache
def judge() -> ScoreJudge:
    checkpoint = open_checkpoint(PACKAGED)
    encoder = prompt_encoder(checkpoint)
    return ScoreJudge(checkpoint, geometry_of(checkpoint.config, encoder, SIDE, SIDE), encoder, MODES, PICTURES)


def test_a_component_that_is_as_it_was_loses_nothing_and_a_useless_one_all_that_was_right() -> None:
    known = judge()
    same = component_methods(known.checkpoint, "vae_decoder", HTP, known.geometry, MODES)
    verdict = known.verdict("vae_decoder", "w8a8mix", same)
    assert verdict.loss == 0 and verdict.enough
    assert known.before is not None
    right = sum(one.judged.right for one in known.before.made["generate"])
    assert right >= 2, "or the next line could not tell"
    verdict = known.verdict("vae_decoder", "w8a8mix", {FORWARD: Blank()})
    assert verdict.loss == right / PICTURES and not verdict.enough


def test_the_judge_asks_other_things_than_calibration_and_the_score() -> None:
    sets = [{one.words for one in asked_of("generate", 24, SIDE, *seed)} for seed in ((), (SEED,), (calibration.SEED,))]
    assert len(set.union(*sets)) > 0.8 * sum(map(len, sets))
