"""What `dreamlite parity` and the demo do: a bundle, the torch reference and the ONNX referee side by side."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from dreamlite_mobile.bundle import Bundle, open_bundle
from dreamlite_mobile.bundle_checks import geometry as bundle_geometry
from dreamlite_mobile.checkpoint import Checkpoint, open_checkpoint, resolve_checkpoint
from dreamlite_mobile.cli.pictures import checked
from dreamlite_mobile.cli.shared import notice, quiet_libraries, stderr
from dreamlite_mobile.components import ComponentSpec, Geometry, component_specs
from dreamlite_mobile.errors import CheckpointError
from dreamlite_mobile.noise import initial_latents
from dreamlite_mobile.parity.published import PublishedPipeline
from dreamlite_mobile.parity.reference import reference_components, reference_pipeline
from dreamlite_mobile.parity.rows import Row
from dreamlite_mobile.parity.run import (
    Case,
    Drawn,
    Recorder,
    Scene,
    Side,
    compare_components,
    draw,
    picture_rows,
    sample_cases,
)
from dreamlite_mobile.parity.thresholds import coarsest
from dreamlite_mobile.pipeline import Pipeline
from dreamlite_mobile.progress import task
from dreamlite_mobile.runtime.session import Session, prompt_encoder

if TYPE_CHECKING:
    from dreamlite_mobile.runtime import Component

PROMPT = "a red circle left of a blue square on a green background"
INSTRUCTION = "the circle in yellow"
SEED = 7


@dataclass(frozen=True, slots=True)
class JudgeRequest:
    """What to judge. `checkpoint` None means the one the manifest names."""

    bundle: Path
    checkpoint: str | None = None
    published: bool = False
    threads: int | None = None
    prompt: str = PROMPT
    instruction: str = INSTRUCTION
    seed: int = SEED


@dataclass(slots=True)
class Judgement:
    """Everything compared, and the pictures of every side."""

    bundle: Bundle
    request: JudgeRequest
    rows: list[Row] = field(default_factory=list)
    drawn: list[Drawn] = field(default_factory=list)
    source: Image.Image | None = None


def judge(request: JudgeRequest) -> Judgement:
    """Compare a bundle with its checkpoint; nothing is raised for a low parity (see `thresholds.check`).

    Raises:
        BundleError, CheckpointError: what cannot be used; a checkpoint that is not the one the bundle was made from.
    """
    quiet_libraries()
    bundle = checked(request.bundle, lambda progress: open_bundle(request.bundle, progress=progress))
    checkpoint = matching_checkpoint(bundle, request.checkpoint)
    judgement = Judgement(bundle, request)
    geometry, modes = bundle_geometry(bundle.manifest), list(bundle.manifest.modes)
    specs = component_specs(geometry, modes, bundle.manifest.components)
    whole = [mode for mode in modes if all(name in specs for name in component_specs(geometry, [mode]))]
    if len(whole) < len(modes):
        notice(
            f"the bundle holds only {', '.join(specs)}; whole pictures are compared for: {', '.join(whole) or 'none'}"
        )
    with bench(bundle, checkpoint, specs, geometry, request.threads) as sides, task(stderr, "parity") as _:
        cases = sample_cases(specs)
        judge_pictures(judgement, checkpoint, sides, whole, cases)
        for rows in compare_components(sides[0], sides[1:], cases, notify=lambda _: None):
            judgement.rows.extend(rows)
    return judgement


@contextmanager
def bench(
    bundle: Bundle,
    checkpoint: Checkpoint,
    specs: dict[str, ComponentSpec],
    geometry: Geometry,
    threads: int | None,
) -> Iterator[list[Side]]:
    """The sides: torch (the reference), the ONNX referee (unless the bundle itself is ONNX), and the bundle."""
    modes = list(bundle.manifest.modes)
    with tempfile.TemporaryDirectory(prefix="dreamlite-referee-") as folder, Session(bundle, threads) as session:
        precisions = {name: entry.precision for name, entry in bundle.manifest.components.items()}
        sides = [Side("torch", reference_components(checkpoint, geometry, modes))]
        if bundle.manifest.backend != "onnx":
            sides.append(Side("onnx", referee(checkpoint, specs, geometry, Path(folder), threads)))
        subject = {name: session.component(name) for name in specs}
        yield [*sides, Side(bundle.manifest.backend, subject, precisions)]


def referee(
    checkpoint: Checkpoint, specs: dict[str, ComponentSpec], geometry: Geometry, folder: Path, threads: int | None
) -> "dict[str, Component]":
    """Every component in ONNX, exported into the folder."""
    from export.referee import referee_component

    with task(stderr, "exporting the ONNX referee", len(specs)) as advance:
        found: dict[str, Component] = {}
        for name, spec in specs.items():
            found[name] = referee_component(checkpoint, spec, geometry, folder, threads)
            advance(1)
        return found


def judge_pictures(
    judgement: Judgement, checkpoint: Checkpoint, sides: list[Side], modes: Sequence[str], cases: list[Case]
) -> None:
    """Draw the scene on every side; what the reference was given on the way becomes cases."""
    bundle, request = judgement.bundle, judgement.request
    geometry = bundle_geometry(bundle.manifest)
    noise = initial_latents(request.seed, geometry.latents)
    blank = Image.new("RGB", (geometry.width, geometry.height))
    scene = Scene(request.prompt, request.instruction, blank, noise)
    published = PublishedPipeline(checkpoint.path) if request.published and modes else None
    for mode in modes:
        drawn: list[Drawn] = []
        for side in sides:
            components = dict(side.components)
            if side is sides[0]:
                components = {name: Recorder(name, part, cases) for name, part in components.items()}
            drawn.append(draw(side.name, pipeline_over(bundle, checkpoint, geometry, components), mode, scene))
        needed = component_specs(geometry, [mode])
        precisions = [coarsest([side.precision(name) for name in needed]) for side in sides]
        judgement.rows += [
            row
            for index, found in enumerate(drawn)
            for before, expected in enumerate(drawn[:index])
            for row in picture_rows(found, expected, coarsest([precisions[index], precisions[before]]), scene)
        ]
        if published is not None:
            oracle = draw_published(published, mode, scene)
            judgement.rows += picture_rows(drawn[0], oracle, "fp32", scene)
            drawn.append(oracle)
        judgement.drawn += drawn
        if mode == "generate":
            scene = Scene(request.prompt, request.instruction, drawn[0].picture, noise)
            judgement.source = drawn[0].picture


def pipeline_over(
    bundle: Bundle, checkpoint: Checkpoint, geometry: Geometry, components: "dict[str, Component]"
) -> Pipeline:
    """One pipeline for every side: only the components differ, so a difference is theirs."""
    return reference_pipeline(checkpoint, geometry, prompt_encoder(bundle), components)


def draw_published(published: PublishedPipeline, mode: str, scene: Scene) -> Drawn:
    """The scene by the published classes."""
    if mode == "generate":
        made = published.generate(scene.prompt, scene.latents, scene.steps)
    else:
        made = published.edit(scene.picture, scene.instruction, scene.latents, scene.steps)
    return Drawn("published", mode, made.picture, made.latents, {})


def matching_checkpoint(bundle: Bundle, named: str | None) -> Checkpoint:
    """The checkpoint the bundle was made from; CheckpointError for another one."""
    entry = bundle.manifest.checkpoint
    if named is None and "/" not in entry.source:
        raise CheckpointError(
            f"{bundle.path}: was made from a local folder named {entry.source!r}. Say where it is with --checkpoint."
        )
    checkpoint = open_checkpoint(resolve_checkpoint(named or entry.source, None if named else entry.revision))
    if checkpoint.identity != entry.sha256:
        raise CheckpointError(
            f"{checkpoint.path}: has identity {checkpoint.identity[:12]}..., but {bundle.path} was made from "
            f"{entry.sha256[:12]}.... Name the checkpoint it was made from, or export it again."
        )
    return checkpoint
