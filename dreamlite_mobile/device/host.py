"""What this machine draws for the same prompt, picture and seed: what the phone's pictures are judged by."""

from collections.abc import Callable

from PIL import Image

from dreamlite_mobile.bundle import Bundle
from dreamlite_mobile.bundle_checks import geometry
from dreamlite_mobile.bundle_fields import Mode
from dreamlite_mobile.checkpoint import Checkpoint
from dreamlite_mobile.device.bench import Reference
from dreamlite_mobile.device.correctness import source_for
from dreamlite_mobile.device.report import Method
from dreamlite_mobile.noise import initial_latents
from dreamlite_mobile.parity.reference import reference_components, reference_pipeline
from dreamlite_mobile.pipeline import Pipeline, finish
from dreamlite_mobile.runtime.session import Session, prompt_encoder


def bundle_reference(method: Method, source: Image.Image | None) -> Reference:
    """Draws through the bundle's own files, here."""

    def draw(bundle: Bundle, mode: Mode) -> tuple[Image.Image, str]:
        with Session(bundle, method.threads) as session:
            picture = drawn(session.pipeline(), mode, method, source_for(bundle, source))
        return picture, f"the same {bundle.manifest.backend} files on this machine"

    return draw


def checkpoint_reference(
    open_for: Callable[[Bundle], Checkpoint], method: Method, source: Image.Image | None
) -> Reference:
    """Draws in torch, fp32, from the checkpoint that `open_for` finds for a bundle."""

    def draw(bundle: Bundle, mode: Mode) -> tuple[Image.Image, str]:
        checkpoint, shape = open_for(bundle), geometry(bundle.manifest, bundle.size.sides)
        components = reference_components(checkpoint, shape, [mode])
        pipeline = reference_pipeline(checkpoint, shape, prompt_encoder(bundle), components)
        return drawn(pipeline, mode, method, source_for(bundle, source)), "torch fp32 on this machine"

    return draw


def drawn(pipeline: Pipeline, mode: Mode, method: Method, source: Image.Image) -> Image.Image:
    """One picture."""
    latents = initial_latents(method.seed, pipeline.latents_shape)
    if mode == "generate":
        run = pipeline.generate(method.prompt, latents, method.steps)
    else:
        run = pipeline.edit(source, method.instruction, latents, method.steps)
    return finish(run).picture
