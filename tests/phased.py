"""The tiny checkpoint's U-Net in the phases that the published one is cut into."""

from dataclasses import replace
from functools import cache
from unittest import mock

import torch
from checkpoint_files import tiny_checkpoint

from dreamlite_mobile.assembly import component_methods
from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.components import MODES, ComponentSpec, component_specs
from dreamlite_mobile.networks.form import HTP, HTP_PHASES, Form
from export import shards
from export.driver import geometry_of, prompt_encoder

SIZE = 64
UNLIMITED = float("inf")
BANDED = replace(
    HTP_PHASES,
    row_tiles=((32, 32), (64, 16), (128, 16)),
    bands=((32, 64, 2), (32, 96, 1)),
    up_parts=((64, 4), (128, 2)),
    sigmoid_gates=(32, 64),
)
"""The form of the published widths, for those of the tiny checkpoint."""
BANDED_WIDTHS = {channels for channels, _ in BANDED.row_tiles}


def two_bytes(_name: str, weight: torch.Tensor) -> float:
    return 2.0 * weight.numel()


Modes = tuple[str, ...]
GENERATE: Modes = ("generate",)


@cache
def subject(name: str, form: Form = HTP, modes: Modes = GENERATE) -> tuple[ComponentSpec, dict[str, torch.nn.Module]]:
    """A component and its methods: the U-Net's of some modes, a tower's of both."""
    checkpoint = open_checkpoint(tiny_checkpoint())
    geometry = geometry_of(checkpoint.config, prompt_encoder(checkpoint), SIZE, SIZE)
    spec = component_specs(geometry, modes if name == "unet" else MODES)[name]
    return spec, component_methods(checkpoint, name, form, geometry, list(spec.methods))


@cache
def phases(modes: Modes = GENERATE) -> list[shards.Shard]:
    """As `auto` would cut it, if it were large."""
    with mock.patch.object(shards, "WHOLE_BYTES", 0):
        return shards.cut_component(*subject("unet", BANDED, modes), None, UNLIMITED, two_bytes)
