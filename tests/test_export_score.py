"""What an export keeps of the score: the embedded checkpoint's pictures before (torch) and after (XNNPACK), one by one.

Generation only: lowering for edits would take as long again. The demo scores both.

Weights that cannot draw have nothing to lose, so the score before is held as well: distilled weights (their
`training.json` says so) must draw; others must not yet, and then the pictures are what there is to compare.
"""

import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from checkpoint_files import UNET_FILE, change_tensors
from run_folder import made_once

from dreamlite_mobile.bundle import open_bundle
from dreamlite_mobile.bundle_schema import Mode
from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.cli.score import reference_of
from dreamlite_mobile.parity.metrics import psnr
from dreamlite_mobile.parity.scored import Scored
from dreamlite_mobile.parity.thresholds import floor
from dreamlite_mobile.runtime.session import Session
from dreamlite_mobile.tiny.embedded import PACKAGED, is_distilled, training_record
from dreamlite_mobile.tiny.evaluate import Evaluation, evaluate
from export.driver import ExportRequest, plan_export, run_export

SIDE = 128
MODES: tuple[Mode, ...] = ("generate",)
COUNT = 18
"""Pictures of each group, three of every kind; one of all 36 is a loss below the limit."""
LEAST = 0.3
"""Score before the export, from which on a loss can be seen."""
MOST_LOST = 0.03
DISTILLED = is_distilled(training_record())


@cache
def bundle(precision: str) -> Path:
    reuse = () if precision == "fp32" else (open_bundle(bundle("fp32")),)
    request = ExportRequest(
        open_checkpoint(PACKAGED), "embedded", "xnnpack", SIDE, SIDE, precision=precision, modes=MODES, reuse=reuse
    )
    return made_once(f"embedded-{precision}", lambda out: run_export(plan_export(request), out))


@cache
def before() -> Evaluation:
    return evaluate(reference_of(str(PACKAGED), SIDE), COUNT, modes=MODES)


def share(found: Evaluation) -> float:
    return float(np.mean([one.judged.right for made in found.made.values() for one in made]))


def test_the_checkpoint_draws_as_its_record_says() -> None:
    """Distilled weights draw well enough for a loss to be seen, others do not: this fails when the record is behind."""
    assert (share(before()) >= LEAST) == DISTILLED


@pytest.mark.parametrize("precision", ["fp32", "w8"])
def test_an_export_keeps_the_score(precision: str) -> None:
    with Session(open_bundle(bundle(precision))) as session:
        scored = Scored(before(), evaluate(session.pipeline(), COUNT, modes=MODES))
    assert scored.loss() <= MOST_LOST, scored.groups()
    assert scored.complaint([precision]) is None
    near = [
        psnr(np.asarray(one.picture), np.asarray(other.picture))
        for group, made in scored.after.made.items()
        for one, other in zip(made, scored.before.made[group], strict=True)
    ]
    # in integers, one picture of many may take another turn at its first step: that is the score's to judge
    assert float(np.quantile(near, 0.0 if precision == "fp32" else 0.5)) >= floor(precision, "xnnpack").picture_psnr_db


def test_a_lost_layer_is_seen(tmp_path: Path) -> None:
    """One weight of the U-Net with the other sign, as a faulty export might have it: the score or the pictures go."""
    from safetensors.torch import load_file

    damaged = Path(shutil.copytree(PACKAGED, tmp_path / "damaged"))
    name = "conv_out.weight"
    change_tensors(damaged / UNET_FILE, **{name: -load_file(damaged / UNET_FILE)[name]})
    scored = Scored(before(), evaluate(reference_of(str(damaged), SIDE), COUNT, modes=MODES))
    if DISTILLED:
        assert scored.loss() > MOST_LOST and scored.complaint(["fp32"]) is not None
    first = [evaluation.made["generate"][0].picture for evaluation in (scored.after, scored.before)]
    assert psnr(*map(np.asarray, first)) < floor("w8", "xnnpack").picture_psnr_db
