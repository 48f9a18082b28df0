"""Full-size rows: sampled blocks and tables. Oracles: torch, a planted fault, the rows themselves."""

import pytest
from checkpoint_files import tiny_checkpoint
from torch import nn

from benchmarks import full_size_blocks
from benchmarks.full_size import (
    BEGIN,
    BEGIN_BLOCKS,
    DOCUMENT,
    END,
    END_BLOCKS,
    block_table,
    kept,
    replaced,
    table,
    worst_block,
)
from benchmarks.full_size_blocks import measured_blocks, sampled_names
from dreamlite_mobile.cli.export import planned
from dreamlite_mobile.config import MOBILE
from dreamlite_mobile.networks import build
from dreamlite_mobile.networks.form import REFERENCE, XNNPACK

BLOCKS = [
    {
        "component": "unet",
        "method": "generate",
        "backend": "xnnpack",
        "precision": "w8",
        "size": "256x256",
        "cpu_seconds": 3,
        "command": "c",
        "blocks": [
            {"name": "a", "kind": "Resnet", "shape": [1, 256, 8, 16], "snr_db": 41.26},
            {"name": "b", "kind": "Resnet", "shape": [1, 256, 8, 16], "snr_db": 40.0},
            {"name": "c", "kind": "Linear", "shape": [1, 128, 512], "snr_db": 44.0},
        ],
    }
]


def test_blocks_are_sampled_at_both_ends_of_what_is_alike() -> None:
    assert sampled_names(build("text_encoder", MOBILE, REFERENCE)) == ["layers.0", "layers.27"]
    names = sampled_names(build("unet", MOBILE, REFERENCE))
    levels = [f"down_blocks.{level}.attentions.0.transformer_blocks.0" for level in range(3)]
    assert set(levels) < set(names)
    assert "up_blocks.0.attentions.2.transformer_blocks.3" in names
    assert "mid_block.attentions.0.transformer_blocks.1" not in names


def test_sampled_blocks_are_torch_s_and_a_planted_fault_shows_in_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(str(tiny_checkpoint()), "xnnpack", None, ("64",), ("vae_decoder",), ("generate",))
    real, planted = full_size_blocks.network_of, "layers.2"

    def spoilt(*arguments: object) -> nn.Module:
        network = real(*arguments)
        if arguments[-1] is XNNPACK:
            network.get_submodule(f"{planted}.conv.2").weight.data.neg_()
        return network

    monkeypatch.setattr(full_size_blocks, "network_of", spoilt)
    found = {block["name"]: block["snr_db"] for block in measured_blocks(plan, "vae_decoder")}
    assert found.pop(planted) < 10
    assert len(found) > 3 and min(found.values()) > 120


def test_a_component_s_worst_block_is_of_its_own_backend_and_precision() -> None:
    assert worst_block(BLOCKS, "unet", "xnnpack", "w8") == "40.0 (3)"
    assert worst_block(BLOCKS, "unet", "xnnpack", "fp32") == worst_block(BLOCKS, "unet", "qnn", "w8") == "-"


def test_blocks_are_told_by_kind_and_width() -> None:
    assert "| Resnet 256 40.0, Linear 512 44.0 |" in block_table(BLOCKS)[2]


def test_the_document_holds_the_rows_that_are_kept() -> None:
    text, found = DOCUMENT.read_text(), kept()
    assert replaced(text, BEGIN, END, table(found["rows"], found["blocks"])) == text
    assert replaced(text, BEGIN_BLOCKS, END_BLOCKS, block_table(found["blocks"])) == text
