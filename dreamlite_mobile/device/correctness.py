"""Whether the phone drew the right picture: the host's for the same seed, and the floor of the bundle's precision."""

import math

import numpy as np
from PIL import Image, ImageDraw

from dreamlite_mobile.bundle import Bundle
from dreamlite_mobile.bundle_schema import Manifest
from dreamlite_mobile.device.report import Correctness
from dreamlite_mobile.parity.metrics import compare
from dreamlite_mobile.parity.thresholds import coarsest, floor


def precision_of(manifest: Manifest) -> str:
    """The precision that decides for the whole picture."""
    return coarsest(entry.precision for entry in manifest.components.values())


def judge_picture(found: Image.Image, expected: Image.Image, manifest: Manifest, reference: str) -> Correctness:
    """Compare two pictures of one seed; `reference` says what drew the expected one.

    A picture of another size, or of one colour, fails whatever its distance.
    """
    least = floor(precision_of(manifest), manifest.backend).picture_psnr_db
    if found.size != expected.size:
        return Correctness(psnr_db=0.0, floor_db=least, exact=False, reference=reference, passed=False)
    metrics = compare(np.asarray(found), np.asarray(expected), picture=True)
    decibels = metrics.psnr_db
    assert decibels is not None
    return Correctness(
        psnr_db=decibels if math.isfinite(decibels) else None,
        floor_db=least,
        exact=decibels == math.inf,
        reference=reference,
        passed=decibels >= least and not metrics.defects,
    )


def default_source(width: int, height: int) -> Image.Image:
    """The picture that edits change when none is named: a disc on a gradient, the same everywhere."""
    across, down = np.meshgrid(np.linspace(0, 200, width), np.linspace(30, 220, height))
    picture = Image.fromarray(np.stack([across, down, 230 - across], axis=-1).astype(np.uint8))
    box = [width // 4, height // 4, 3 * width // 4, 3 * height // 4]
    ImageDraw.Draw(picture).ellipse(box, fill=(210, 40, 40))
    return picture


def source_for(bundle: Bundle, source: Image.Image | None) -> Image.Image:
    """The picture to edit: the one given, or the drawn one in the size that is drawn."""
    size = bundle.size
    return source or default_source(size.width, size.height)
