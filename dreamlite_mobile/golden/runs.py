"""Pictures made through a bundle by the Python runtime: what another runtime has to repeat."""

from pathlib import Path

import numpy as np
from PIL import Image

from dreamlite_mobile.bundle import open_bundle
from dreamlite_mobile.components import Size
from dreamlite_mobile.noise import initial_latents
from dreamlite_mobile.pipeline import Result, Run, finish
from dreamlite_mobile.runtime.session import Session

PROMPT = "a red circle left of a blue square"
INSTRUCTION = "make the circle yellow"
SEED = 2**63 + 11
STEPS = 4
SOURCE = (80, 56)
"""Of another size and shape than any bundle's pictures, so that it is resized."""


def run_files(path: Path, size: Size | None = None) -> dict[str, bytes]:
    """A generated and an edited picture with their latents, the source, and `run.properties` that says how.

    Args:
        size: one of the bundle's; None for its first.
    """
    bundle = open_bundle(path, verify="quick").at(size)
    files = {"run.properties": _properties(), "source.rgb": _source().tobytes()}
    with Session(bundle, threads=1) as session:
        pipeline = session.pipeline()
        noise = initial_latents(SEED, pipeline.latents_shape)
        files |= _made("generate", pipeline.generate(PROMPT, noise, STEPS))
        if "edit" in bundle.manifest.modes:
            files |= _made("edit", pipeline.edit(_source(), INSTRUCTION, noise, STEPS))
    return files


def _made(mode: str, run: Run) -> dict[str, bytes]:
    latents: list[bytes] = []
    result: Result = finish(run, lambda step: latents.append(step.latents.astype("<f4").tobytes()))
    return {f"{mode}.rgb": result.picture.tobytes(), f"{mode}.f32": b"".join(latents)}


def _properties() -> bytes:
    values = {
        "prompt": PROMPT, "instruction": INSTRUCTION, "seed": SEED, "steps": STEPS,
        "sourceWidth": SOURCE[0], "sourceHeight": SOURCE[1],
    }  # fmt: skip
    return "".join(f"{key}={value}\n" for key, value in values.items()).encode()


def _source() -> Image.Image:
    width, height = SOURCE
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 3, y * 4, 255 - x - y], axis=-1).astype(np.uint8)
    pixels[10:30, 20:50] = (230, 40, 30)
    return Image.fromarray(pixels)
