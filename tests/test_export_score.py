"""What an export keeps of the score: pictures of the embedded checkpoint before (torch) and after (XNNPACK, Core ML).

Generation only: lowering for edits would take as long again. The demo scores both.

Weights that cannot draw have nothing to lose, so the score before is held as well.
"""

import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from bundles import TRAINED_SIZE, trained
from checkpoint_files import UNET_FILE, change_tensors

from dreamlite_mobile.bundle import open_bundle
from dreamlite_mobile.bundle_fields import Mode
from dreamlite_mobile.cli.score import reference_of
from dreamlite_mobile.parity.metrics import psnr
from dreamlite_mobile.parity.scored import Scored
from dreamlite_mobile.parity.thresholds import floor
from dreamlite_mobile.runtime.session import Session
from dreamlite_mobile.tiny.embedded import PACKAGED
from dreamlite_mobile.tiny.evaluate import Evaluation, evaluate

MODES: tuple[Mode, ...] = ("generate",)
COUNT = 18
"""Pictures of each group, three of every kind; one of all 36 is a loss below the limit."""
LEAST = 0.2
"""Score before the export, from which on a loss can be seen."""
MOST_LOST = 0.03


@cache
def before() -> Evaluation:
    return evaluate(reference_of(str(PACKAGED), TRAINED_SIZE), COUNT, modes=MODES)


def share(found: Evaluation) -> float:
    return float(np.mean([one.judged.right for made in found.made.values() for one in made]))


def test_the_checkpoint_draws_well_enough_for_a_loss_to_be_seen() -> None:
    assert share(before()) >= LEAST


@pytest.mark.parametrize(
    ("backend", "precision", "most"),
    [
        ("xnnpack", "fp32", MOST_LOST),
        ("xnnpack", "w8", MOST_LOST),
        pytest.param("coreml", "p6", 2 * MOST_LOST, marks=pytest.mark.coreml),
    ],
)
def test_an_export_keeps_the_score(backend: str, precision: str, most: float) -> None:
    """Palettes of 64 weights may tip two pictures of 36 over: a bundle's own limit is for more of them."""
    with Session(open_bundle(trained(precision, backend))) as session:
        scored = Scored(before(), evaluate(session.pipeline(), COUNT, modes=MODES))
    assert scored.loss() <= most, scored.groups()
    assert most > MOST_LOST or scored.complaint([precision]) is None
    near = [
        psnr(np.asarray(one.picture), np.asarray(other.picture))
        for group, made in scored.after.made.items()
        for one, other in zip(made, scored.before.made[group], strict=True)
    ]
    # in integers, one picture of many may take another turn at its first step: that is the score's to judge
    assert float(np.quantile(near, 0.0 if precision == "fp32" else 0.5)) >= floor(precision, backend).picture_psnr_db


def test_a_lost_layer_is_seen(tmp_path: Path) -> None:
    """One weight of the U-Net with the other sign, as a faulty export might have it: the score and the pictures go."""
    from safetensors.torch import load_file

    damaged = Path(shutil.copytree(PACKAGED, tmp_path / "damaged"))
    name = "conv_out.weight"
    change_tensors(damaged / UNET_FILE, **{name: -load_file(damaged / UNET_FILE)[name]})
    scored = Scored(before(), evaluate(reference_of(str(damaged), TRAINED_SIZE), COUNT, modes=MODES))
    assert scored.loss() > MOST_LOST and scored.complaint(["fp32"]) is not None
    first = [evaluation.made["generate"][0].picture for evaluation in (scored.after, scored.before)]
    assert psnr(*map(np.asarray, first)) < floor("w8", "xnnpack").picture_psnr_db
