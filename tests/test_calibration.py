"""What quantisers are shown. Oracle: what components are given while whole pictures are drawn."""

import pytest
import torch
from checkpoint_files import tiny_checkpoint

from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.components import MODES, component_specs
from dreamlite_mobile.tiny.evaluate import Asked
from export.calibration import Calibration, trajectories
from export.driver import geometry_of, prompt_encoder

PICTURES = 2


def calibrated(*components: str) -> Calibration:
    checkpoint = open_checkpoint(tiny_checkpoint())
    encoder = prompt_encoder(checkpoint)
    geometry = geometry_of(checkpoint.config, encoder, 64, 64)
    specs = component_specs(geometry, MODES, components)
    return trajectories(checkpoint, geometry, encoder, MODES, specs, PICTURES)


def test_towers_alone_are_asked_the_same_and_no_picture_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """At full size a picture takes an hour of a processor, a prompt seconds."""
    drawn = calibrated("text_encoder", "vision_encoder", "vae_decoder").calls
    monkeypatch.setattr(Asked, "draw", lambda *_: pytest.fail("a picture is drawn"))
    read = calibrated("text_encoder", "vision_encoder").calls
    assert set(drawn) - set(read) == {("vae_decoder", "forward")}
    for key, calls in read.items():
        assert len(calls) == len(drawn[key]) == PICTURES + 1
        for inputs, same in zip(calls, drawn[key], strict=True):
            assert all(torch.equal(one, other) for one, other in zip(inputs, same, strict=True)), key
    with pytest.raises(pytest.fail.Exception, match="a picture is drawn"):
        calibrated("text_encoder", "vae_decoder")
