"""What `dreamlite parity` and the demo do: a bundle, the torch reference and the ONNX referee side by side."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from torch import nn

from dreamlite_mobile.assembly import component_methods
from dreamlite_mobile.bundle import Bundle
from dreamlite_mobile.bundle_checks import geometry as bundle_geometry
from dreamlite_mobile.checkpoint import Checkpoint, open_checkpoint, resolve_checkpoint
from dreamlite_mobile.cli.pictures import open_checked
from dreamlite_mobile.cli.referee import export_referee, referee_for, referee_key
from dreamlite_mobile.cli.scoring import Scorer, check_scorable, whole_modes
from dreamlite_mobile.cli.shared import INSTRUCTION, PROMPT, chosen_size, labels, notice, quiet_libraries, stderr
from dreamlite_mobile.cli.watching import watch_of
from dreamlite_mobile.components import Geometry, component_specs
from dreamlite_mobile.errors import CheckpointError
from dreamlite_mobile.networks.form import REFERENCE, Form, form_of
from dreamlite_mobile.noise import initial_latents
from dreamlite_mobile.parity.bisect import Bench, Bisection, bisect
from dreamlite_mobile.parity.numbers import Layer, Watch, complaints
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
from dreamlite_mobile.parity.scored import GroupScores, Scored
from dreamlite_mobile.parity.thresholds import coarsest
from dreamlite_mobile.parity.tokens import TOKENS, token_precision, token_rows
from dreamlite_mobile.pipeline import Pipeline
from dreamlite_mobile.progress import task
from dreamlite_mobile.runtime.load import load_embeddings
from dreamlite_mobile.runtime.qnn import check_qnn
from dreamlite_mobile.runtime.rounding import Rounding
from dreamlite_mobile.runtime.session import Session, prompt_encoder

if TYPE_CHECKING:
    from dreamlite_mobile.runtime import Component

SHORT_ACTIVATIONS = ("coreml", "qnn")
"""Backends that compute in fp16 whatever their weights are stored in."""
SEED = 7


@dataclass(frozen=True, slots=True)
class JudgeRequest:
    """What to judge. `checkpoint` None: the one the manifest names. `referee` None: one exported for the occasion."""

    bundle: Path
    checkpoint: str | None = None
    published: bool = False
    threads: int | None = None
    referee: Path | None = None
    prompt: str = PROMPT
    instruction: str = INSTRUCTION
    seed: int = SEED
    rounding: Rounding = "fp16"
    blocks: tuple[str, ...] = ()
    """Components that are also walked block by block, in each of their methods."""
    score: int | None = None
    """Pictures of each group of prompts to score before and after the export."""


@dataclass(slots=True)
class Judgement:
    """Everything compared, the pictures of every side, the numbers of every layer, block by block where asked for.

    `label` names the bundle in reports. `sources`: what each edit (by mode and size) was to change.
    """

    bundle: Bundle
    request: JudgeRequest
    label: str
    rows: list[Row] = field(default_factory=list)
    drawn: list[Drawn] = field(default_factory=list)
    sources: dict[str, Image.Image] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    bisections: list[Bisection] = field(default_factory=list)
    scored: Scored | None = None

    @property
    def score_groups(self) -> list[GroupScores]:
        """The score before and after, empty where none was asked for."""
        return [] if self.scored is None else self.scored.groups()

    @property
    def score_problem(self) -> str | None:
        """What the export lost too much of."""
        precisions = [entry.precision for entry in self.bundle.manifest.components.values()]
        return None if self.scored is None else self.scored.complaint(precisions)

    @property
    def number_problems(self) -> list[str]:
        """Layers whose numbers do not fit the bundle's precisions."""
        manifest = self.bundle.manifest
        short = manifest.backend in SHORT_ACTIVATIONS
        return complaints(
            self.layers, {name for name, part in manifest.components.items() if short or part.precision == "fp16"}
        )


def judge(request: JudgeRequest) -> Judgement:
    """Compare a bundle with its checkpoint; nothing is raised for a low parity (see `thresholds.check`).

    Raises:
        BundleError, CheckpointError: what cannot be used; a checkpoint that is not the one the bundle was made from.
    """
    (judgement,) = judge_all([request])
    return judgement


def opened(request: JudgeRequest) -> Bundle:
    """The bundle, every file of it checked, one that can run here, and the components to walk through among its own."""
    bundle = open_checked(request.bundle)
    if bundle.manifest.backend == "qnn":
        check_qnn(bundle)
    for name in request.blocks:
        bundle.component(name)
    if request.score is not None:
        check_scorable(chosen_size(bundle, None, "scored"))
    return bundle


def judged(bundle: Bundle, checkpoint: Checkpoint, request: JudgeRequest, label: str) -> Judgement:
    """Compare one opened bundle with its checkpoint."""
    judgement = Judgement(bundle, request, label)
    geometry, modes = bundle_geometry(bundle.manifest), list(bundle.manifest.modes)
    specs = component_specs(geometry, modes, bundle.manifest.components)
    whole = whole_modes(bundle)
    if len(whole) < len(modes):
        notice(
            f"the bundle holds only {', '.join(specs)}; whole pictures are compared for: {', '.join(whole) or 'none'}"
        )
    cases = sample_cases(specs)
    with task(stderr, "parity") as _:
        watch = watch_of(bundle, checkpoint)
        with bench(bundle, checkpoint, request, watch) as sides:
            for size in bundle.sizes:
                judge_pictures(judgement, bundle.at(size), checkpoint, sides, whole, cases)
            judgement.rows += token_rows(bundle, checkpoint)
            watch.active = True
            for rows in compare_components(sides[0], sides[1:], cases, notify=lambda _: None):
                judgement.rows.extend(rows)
        judgement.layers = [layer for layer in watch.found() if layer.component in specs]
        for name in request.blocks:
            judgement.bisections += [walked(bundle, checkpoint, case) for case in last_cases(cases, name)]
    return judgement


def judge_all(requests: Sequence[JudgeRequest]) -> list[Judgement]:
    """Judge several bundles; those of one checkpoint, size, set of modes and of components share one exported referee.

    All of them, and their checkpoints, are looked at before anything is computed.

    Raises:
        BundleError, CheckpointError: as `judge`.
    """
    quiet_libraries()
    bundles = [opened(request) for request in requests]
    checkpoints = [
        matching_checkpoint(bundle, request.checkpoint) for bundle, request in zip(bundles, requests, strict=True)
    ]
    for bundle, request in zip(bundles, requests, strict=True):
        if request.referee is not None and bundle.manifest.backend != "onnx":
            referee_for(bundle, request.referee)
    judgements = []
    scorer = Scorer()
    with ExitStack() as stack:
        referees: dict[tuple[object, ...], Path] = {}
        everything = zip(bundles, checkpoints, requests, labels([bundle.path for bundle in bundles]), strict=True)
        for bundle, checkpoint, request, label in everything:
            shared, key = request.referee, referee_key(bundle)
            if shared is None and bundle.manifest.backend != "onnx":
                if key not in referees:
                    referees[key] = export_referee(bundle, checkpoint, stack)
                shared = referees[key]
            judgements.append(judged(bundle, checkpoint, replace(request, referee=shared), label))
            if request.score is not None:
                judgements[-1].scored = scorer.scored(
                    bundle, checkpoint, request.score, request.threads, request.rounding
                )
    return judgements


def last_cases(cases: list[Case], component: str) -> list[Case]:
    """The last input of each method of a component: of a real run where there was one."""
    return list({case.method: case for case in cases if case.component == component}.values())


def walked(bundle: Bundle, checkpoint: Checkpoint, case: Case) -> Bisection:
    """One method block by block."""
    with tempfile.TemporaryDirectory(prefix="dreamlite-blocks-") as work:
        return bisect(bisect_bench(bundle, checkpoint, case, Path(work)))


def bisect_bench(
    bundle: Bundle, checkpoint: Checkpoint, case: Case, work: Path, notify: Callable[[str], None] = lambda _: None
) -> Bench:
    """What a bisection of a bundle's component works on."""
    geometry, modes = bundle_geometry(bundle.manifest), list(bundle.manifest.modes)
    form = form_of(bundle.manifest.backend, bundle.component(case.component).precision)

    def network(form: Form) -> nn.Module:
        return component_methods(checkpoint, case.component, form, geometry, modes)[case.method]

    spec = component_specs(geometry, modes, [case.component])[case.component]
    return Bench(bundle, spec, case, network(REFERENCE), lambda: network(form), work, notify)


@contextmanager
def bench(bundle: Bundle, checkpoint: Checkpoint, request: JudgeRequest, watch: Watch) -> Iterator[list[Side]]:
    """The sides: torch (the reference, watched), the ONNX referee (unless the bundle itself is ONNX), the bundle."""
    modes = list(bundle.manifest.modes)
    with ExitStack() as stack:
        watched = reference_components(checkpoint, bundle_geometry(bundle.manifest), modes, watch)
        sides = [Side("torch", watched)]
        if bundle.manifest.backend != "onnx":
            folder = request.referee or export_referee(bundle, checkpoint, stack)
            referee = referee_for(bundle, folder)
            sides.append(side_of(referee, checkpoint, stack, request, list(bundle.manifest.components)))
        yield [*sides, side_of(bundle, checkpoint, stack, request, list(bundle.manifest.components))]


def side_of(bundle: Bundle, checkpoint: Checkpoint, stack: ExitStack, request: JudgeRequest, names: list[str]) -> Side:
    """A bundle's components, unloaded when the stack closes."""
    session = stack.enter_context(Session(bundle, request.threads, emulator=True, rounding=request.rounding))
    precisions = {TOKENS: token_precision(bundle, checkpoint)} | {
        name: bundle.component(name).precision for name in names
    }
    components = {name: session.component(name) for name in names}
    table = None if bundle.manifest.embeddings is None else load_embeddings(bundle)
    return Side(bundle.manifest.backend, components, precisions, table)


def trajectory(bundle: Bundle, checkpoint: Checkpoint, request: JudgeRequest, modes: Sequence[str]) -> list[Case]:
    """Everything that the reference gives each component while it draws the scene in these modes and the bundle's
    size."""
    reference = Side("torch", reference_components(checkpoint, bundle_geometry(bundle.manifest), modes))
    cases: list[Case] = []
    judge_pictures(Judgement(bundle, request, bundle.path.name), bundle, checkpoint, [reference], modes, cases)
    return cases


def judge_pictures(
    judgement: Judgement,
    bundle: Bundle,
    checkpoint: Checkpoint,
    sides: list[Side],
    modes: Sequence[str],
    cases: list[Case],
) -> None:
    """Draw the scene on every side in the bundle's size; what the reference was given on the way becomes cases."""
    request, suffix = judgement.request, bundle.suffix
    geometry = bundle_geometry(bundle.manifest, bundle.size.sides)
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
            pipeline = pipeline_over(bundle, checkpoint, geometry, components)
            if side.embeddings is not None:
                pipeline = replace(pipeline, embeddings=side.embeddings)
            drawn.append(replace(draw(side.name, pipeline, mode, scene), mode=mode + suffix))
        needed = [TOKENS, *component_specs(geometry, [mode])]
        precisions = [coarsest([side.precision(name) for name in needed]) for side in sides]
        judgement.rows += [
            row
            for index, found in enumerate(drawn)
            for before, expected in enumerate(drawn[:index])
            for row in picture_rows(found, expected, coarsest([precisions[index], precisions[before]]), scene)
        ]
        if published is not None:
            oracle = replace(draw_published(published, mode, scene), mode=mode + suffix)
            judgement.rows += picture_rows(drawn[0], oracle, "fp32", scene)
            drawn.append(oracle)
        judgement.drawn += drawn
        if mode == "generate":
            scene = Scene(request.prompt, request.instruction, drawn[0].picture, noise)
            judgement.sources["edit" + suffix] = drawn[0].picture


def pipeline_over(
    bundle: Bundle, checkpoint: Checkpoint, geometry: Geometry, components: "dict[str, Component]"
) -> Pipeline:
    """One pipeline for every side: only components and the token table differ, so a difference is theirs."""
    return reference_pipeline(checkpoint, geometry, prompt_encoder(bundle), components, bundle.suffix)


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
    with task(stderr, "checking every weight", checkpoint.total_bytes) as advance:
        checkpoint.check(advance)
    if checkpoint.identity != entry.sha256:
        raise CheckpointError(
            f"{checkpoint.path}: has identity {checkpoint.identity[:12]}..., but {bundle.path} was made from "
            f"{entry.sha256[:12]}.... Name the checkpoint it was made from, or export it again."
        )
    return checkpoint
