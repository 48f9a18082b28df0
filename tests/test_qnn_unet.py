"""The U-Net with 8-bit weights and 16-bit activations on the emulator, and the norms in it that go wrong unmended."""

import pytest
from checkpoint_files import tiny_checkpoint
from qnn_runs import SIZE, said

pytestmark = [pytest.mark.qnn, pytest.mark.slow]
FLOOR_DB = 35.0

LEVEL = """
import json
from export.qnn_sdk import ready
ready()
from qnn_norms import mended_and_traced, level

print("SAID" + json.dumps(mended_and_traced(*level())), flush=True)
"""

WHOLE = """
import json, sys
from pathlib import Path
from export.qnn_sdk import ready
ready()
from executorch.runtime import Runtime
from dreamlite_mobile.assembly import component_methods
from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.components import component_specs, sample_inputs
from dreamlite_mobile.networks.form import REFERENCE, form_of
from dreamlite_mobile.parity.metrics import compare
from export import qnn
from export.calibration import in_order, trajectories
from export.driver import geometry_of, prompt_encoder
from export.qnn_plan import planned
from export.targets import target

folder, mode, size = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
checkpoint = open_checkpoint(folder)
encoder = prompt_encoder(checkpoint)
geometry = geometry_of(checkpoint.config, encoder, size, size)
spec = component_specs(geometry, (mode,), ("unet",))["unet"]
forms = (form_of("qnn", "w8a16"), REFERENCE)
written, reference = (component_methods(checkpoint, "unet", form, geometry, (mode,))[mode] for form in forms)
calls = trajectories(checkpoint, geometry, encoder, (mode,), {"unet": spec}).calls_of(spec)
plan = planned("unet", "w8a16", {mode: written}, calls)
compiled = qnn.lower({mode: (written, calls[mode][0])}, target("SM8650"), False, qnn.Quantisation(plan, calls))
method = Runtime.get().load_program(compiled.program.buffer).load_method(mode)
unseen = in_order(spec.methods[mode], sample_inputs(spec.methods[mode], 4242))
found = [compare(method.execute(one)[0].numpy(), reference(*one).numpy()).snr_db for one in (unseen, *calls[mode][:2])]
print("SAID" + json.dumps(found), flush=True)
"""


def test_norms_of_one_channel_and_few_pixels_are_right_in_integers_and_noise_as_traced() -> None:
    """At the start of a level, behind its downsampler. Oracle: the network in torch fp32."""
    mended, traced = said(LEVEL)
    assert mended > 50 and traced < 40


@pytest.mark.parametrize("mode", ["generate", "edit"])
def test_the_whole_network_reaches_its_floor_on_the_emulator(mode: str) -> None:
    """Random weights, as the exporter calibrates and plans them: a sample that calibration did not see, and the first
    two steps of a picture that it did. Oracle: the network in torch fp32."""
    found = said(WHOLE, tiny_checkpoint(), mode, SIZE)
    assert min(found) >= FLOOR_DB, found
