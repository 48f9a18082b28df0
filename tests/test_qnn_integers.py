"""HTP files with 8-bit weights and 16-bit activations: compiled, run on the emulator, held to torch."""

import json
from functools import cache
from pathlib import Path

import pytest
from qnn_runs import check_planned, compiled, parity, said

from dreamlite_mobile import bundle_files

pytestmark = [pytest.mark.qnn, pytest.mark.slow]
COMPONENTS = ("--components", "text_encoder,vae_decoder")
SHARDS = 2
FEWER = 8
"""Pictures of calibration."""


@cache
def integers() -> Path:
    """Two components in 8-bit weights and 16-bit activations, for one mode; one that can be cut in two shards."""
    return exported("w8a16", "w8a16", more=("--shards", str(SHARDS)))


@cache
def fewer() -> Path:
    """The same two with 4-bit weights, and with 8-bit activations, calibrated on fewer pictures."""
    return exported("w8a8mix", "w4a16", "w8a8mix", more=("--calibration-pictures", str(FEWER)))


def exported(precision: str, *precisions: str, more: tuple[str, ...] = ()) -> Path:
    asked = ("--emulator", "--precision", precision, "--modes", "generate", *COMPONENTS, *more)
    return compiled(f"qnn-{precision}", *asked, precisions=precisions)


def test_integers_reach_their_floors_on_the_emulator() -> None:
    """On a seeded sample that calibration did not see. The numbers watch knows the codes and what can be held."""
    check_planned(integers(), "text_encoder")
    done = parity(integers())
    assert done.code == 0, done.err
    numbers = done.data["bundles"][0]["numbers"]
    assert all(one["span"][0] <= 0 <= one["span"][1] and one["beyond_span"] is not None for one in numbers)
    narrow = [one for one in numbers if one["weights"] is not None]
    assert {one["component"] for one in narrow} == {"text_encoder", "vae_decoder"}
    assert all(one["scales"] <= one["weights_at_end"] < one["weights"] / 4 for one in narrow)
    assert any(one["kind"] == "Conv2d" and one["weights"] is None for one in numbers), "wide ones have 16 bits"
    rows = [row for row in done.data["bundles"][0]["parity"] if "qnn" in row["pair"]]
    assert {row["component"] for row in rows} == {"text_encoder", "vae_decoder"}
    assert {row["precision"] for row in rows} == {"w8a16"}


def test_fewer_bits_reach_their_floors_on_the_emulator() -> None:
    """And the plans say which layers have 4-bit weights, and which 8-bit activations."""
    done = parity(fewer())
    assert done.code == 0, done.err
    rows = [row for row in done.data["bundles"][0]["parity"] if "qnn" in row["pair"]]
    assert {(row["component"], row["precision"]) for row in rows} == {
        ("text_encoder", "w4a16"),
        ("vae_decoder", "w8a8mix"),
    }
    tower, decoder = (
        json.loads((fewer() / f"{name}.plan.json").read_text()) for name in ("text_encoder", "vae_decoder")
    )
    assert (tower["bits"], tower["wide_bits"], tower["short"]) == (4, 8, []) and tower["narrow"]
    assert tower["weights_db"] > 27
    assert decoder["bits"] == 8 and decoder["short"] and set(decoder["short"]) <= set(decoder["narrow"])
    whole, short = (bundle_files.read_manifest(bundle).files for bundle in (integers(), fewer()))
    assert short["text_encoder.pte"].bytes < sum(whole[f"text_encoder.{index}.pte"].bytes for index in (1, SHARDS))


def test_a_bundle_in_integers_tells_what_it_was_calibrated_on_and_which_weights_are_wide() -> None:
    manifest = bundle_files.read_manifest(integers())
    assert manifest.htp is not None and manifest.htp.calibration is not None
    assert (manifest.htp.calibration.steps, manifest.htp.calibration.pictures) == (4, 12)
    of_fewer = bundle_files.read_manifest(fewer()).htp
    assert of_fewer is not None and of_fewer.calibration is not None and of_fewer.calibration.pictures == FEWER
    assert set(manifest.documents) == {"text_encoder.plan.json", "vae_decoder.plan.json"}
    plans = {
        name: json.loads((integers() / f"{name}.plan.json").read_text()) for name in ("text_encoder", "vae_decoder")
    }
    assert plans["text_encoder"]["wide"] == []
    assert "layers.4.up" in plans["vae_decoder"]["wide"], "random weights do not bear 8 bits there"
    for plan in plans.values():
        assert plan["bits"] == 8 and plan["weights_db"] > 35
        assert {row["layer"] for row in plan["activations"]} >= {*plan["narrow"]}
        assert all(row["overflow"] == 0 and 0 <= row["peak"] < 65504 for row in plan["activations"])
    tower, decoder = (part.methods for part in manifest.components.values())
    assert tower["generate"].delegates and tower["generate"].delegates.count == SHARDS
    assert decoder["forward"].delegates and decoder["forward"].delegates.count == 1
    shards = plans["text_encoder"]["shards"]
    assert len(shards) == SHARDS and min(shards) == plans["text_encoder"]["weights_db"]
    handed = [tensor for tensor in tower["generate"].shards[0].outputs if tensor.name.startswith("part")]
    assert handed and {tensor.dtype for tensor in handed} == {"float16"}


SEAM = """
import json
from export.qnn_sdk import ready
ready()
import torch
from torch import nn
from qnn_norms import mended_and_traced

class Joined(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.GroupNorm(8, 96)

    def forward(self, x, y):
        joined = torch.cat([x, y], 1)
        return self.norm(joined) + joined

torch.manual_seed(0)
calls = [(torch.randn(1, 64, 8, 16), 2 * torch.randn(1, 32, 8, 16)) for _ in range(4)]
network = Joined().eval().requires_grad_(False)
print("SAID" + json.dumps(mended_and_traced(network, calls)))
"""


def test_a_group_norm_over_a_seam_is_right_in_integers_and_is_noise_where_nothing_keeps_it_whole() -> None:
    whole, cut = said(SEAM)
    assert whole > 40 and cut < 10
