"""One export: a checkpoint, a backend, a size -> a bundle. Knows no backend's insides."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dreamlite_mobile.assembly import step_embeddings
from dreamlite_mobile.bundle import Bundle, BundleWriter, open_bundle
from dreamlite_mobile.bundle_fields import Backend, Mode, Precision
from dreamlite_mobile.bundle_schema import MOST_SIZES, EmbeddingsEntry
from dreamlite_mobile.checkpoint import Checkpoint
from dreamlite_mobile.components import ComponentSpec, Geometry, Size, component_specs, size_text
from dreamlite_mobile.config import DreamLiteConfig
from dreamlite_mobile.errors import ConfigError
from dreamlite_mobile.images import check_size
from dreamlite_mobile.measure import Cost
from dreamlite_mobile.progress import Tell, silent
from dreamlite_mobile.prompt import PromptConfig, PromptEncoder
from export.backends import Cutting, Exporter, Judging, exporter
from export.embeddings import Storage, write_rows
from export.manifest import EMBEDDINGS, TOKENIZER, build_manifest, checkpoint_identity, step_table_file
from export.parts import make_parts
from export.precision import WIDTHS, component_precisions
from export.workers import apart

PREFIX_BACKENDS: tuple[Backend, ...] = ("xnnpack", "onnx")
"""Whose programs may hold what the constant prefix leaves behind: those that parity was measured of."""


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to make. `precision` is a preset or `component=precision` pairs (see `export.precision`).

    `soc`: the Snapdragon that `qnn` files are for, by default the Xiaomi 14's; with `emulator` they run on the host.
    `cutting`: how HTP components are cut into shards; how many workers lower, within how much memory.
    `package_mb`: most megabytes of weights in one Core ML package.
    `reuse`: bundles from which a component is copied, instead of lowered again, where it would come out the same.
    `cache`: a folder where every finished component is kept, and found again by a later export of the same.
    `embeddings`: how the token table is stored (see `export.embeddings`).
    `precompute_prefix`: the text tower holds keys and values of the constant prefix and runs only what follows.
    `further`: picture sizes beside the first, over the same weights.
    `calibration_pictures`: drawn in each mode to see what integers have to hold, instead of `calibration.PICTURES`.
    """

    checkpoint: Checkpoint
    source: str
    backend: Backend
    width: int
    height: int
    revision: str | None = None
    precision: str | None = None
    modes: tuple[Mode, ...] = ("generate", "edit")
    components: tuple[str, ...] | None = None
    reuse: tuple[Bundle, ...] = ()
    cache: Path | None = None
    soc: str | None = None
    emulator: bool = False
    package_mb: int | None = None
    cutting: Cutting | None = None
    embeddings: Storage = "stored"
    precompute_prefix: bool = False
    further: tuple[Size, ...] = ()
    calibration_pictures: int | None = None

    @property
    def sizes(self) -> tuple[Size, ...]:
        """Every picture size, the default first."""
        return ((self.width, self.height), *self.further)


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked request: what each component will be; nothing has been read but headers and the tokenizer."""

    request: ExportRequest
    geometry: Geometry
    encoder: PromptEncoder
    exporter: Exporter
    specs: dict[str, ComponentSpec]
    precisions: dict[str, Precision]


@dataclass(frozen=True, slots=True)
class Exported:
    """The finished bundle and the cost of each component that was not copied, assembling and lowering included."""

    bundle: Bundle
    costs: dict[str, Cost]
    seconds: float


def geometry_of(
    config: DreamLiteConfig,
    encoder: PromptEncoder,
    width: int,
    height: int,
    precompute_prefix: bool = False,
    further: tuple[Size, ...] = (),
) -> Geometry:
    """What fixes every shape for this picture size and those beside it."""
    generate, edit = encoder.generate_shape, encoder.edit_shape
    return Geometry(
        config=config,
        width=width,
        height=height,
        drop_generate=generate.drop,
        drop_edit=edit.drop,
        states_generate=generate.states,
        states_edit=edit.states,
        prefix_generate=encoder.generate_prefix if precompute_prefix else (),
        prefix_edit=encoder.edit_prefix if precompute_prefix else (),
        further=further,
    )


def prompt_encoder(checkpoint: Checkpoint) -> PromptEncoder:
    """The checkpoint's tokenizer with the published templates and as many image tokens as its vision tower makes."""
    return PromptEncoder(checkpoint.tokenizer, PromptConfig(image_tokens=checkpoint.config.vision.num_tokens))


def plan_export(request: ExportRequest) -> Plan:
    """Check a request against the checkpoint and the backend.

    Raises:
        ConfigError: a size, mode, component, backend or precision that is not supported.
        PromptError: a tokenizer that cannot be used.
    """
    checkpoint = request.checkpoint
    check_sizes(request)
    chosen = exporter(request.backend, request.soc, request.emulator, request.package_mb, request.cutting)
    encoder = prompt_encoder(checkpoint)
    configured = checkpoint.config.text.image_token_id
    if encoder.image_token_id != configured:
        raise ConfigError(
            f"{checkpoint.path}: text_encoder/config.json has image_token_id {configured}, but "
            f"{checkpoint.tokenizer.name} gives <|image_pad|> the id {encoder.image_token_id}; supported: equal. "
            "Take both files from the same checkpoint."
        )
    if request.precompute_prefix and request.backend not in PREFIX_BACKENDS:
        raise ConfigError(
            f"--precompute-prefix: {request.backend} programs with a precomputed prefix are not proven; supported: "
            f"{', '.join(PREFIX_BACKENDS)}. Leave it out."
        )
    geometry = geometry_of(
        checkpoint.config, encoder, request.width, request.height, request.precompute_prefix, request.further
    )
    specs = component_specs(geometry, request.modes, request.components)
    precisions = component_precisions(request.precision, specs, chosen.precisions)
    check_calibration(request.calibration_pictures, chosen, precisions)
    return Plan(request, geometry, encoder, chosen, specs, precisions)


def check_calibration(pictures: int | None, chosen: Exporter, precisions: Mapping[str, Precision]) -> None:
    """Refuse (ConfigError) a number of pictures that is none, or that nothing of this export would look at."""
    if pictures is None:
        return
    if pictures < 1:
        raise ConfigError(f"--calibration-pictures {pictures}: expected 1 or more")
    if set(chosen.calibrated).isdisjoint(precisions.values()):
        found = ", ".join(dict.fromkeys(precisions.values()))
        raise ConfigError(
            f"--calibration-pictures {pictures}: {found} needs no calibration; supported: --backend qnn with "
            f"{', '.join(WIDTHS)}. Leave it out."
        )


def check_sizes(request: ExportRequest) -> None:
    """Refuse (ConfigError) a size that the networks cannot draw, one named twice, too many."""
    for size in request.sizes:
        check_size(*size, request.checkpoint.config.size_multiple)
    for index, size in enumerate(request.sizes):
        if size in request.sizes[:index]:
            raise ConfigError(f"--size {size_text(size)} is named twice; name every size once, the default first.")
    if len(request.sizes) > MOST_SIZES:
        raise ConfigError(f"--size: {len(request.sizes)} sizes; one bundle holds at most {MOST_SIZES}. Make two.")


def run_export(
    plan: Plan,
    out: Path,
    *,
    replace: bool = False,
    notify: Tell = silent,
    tell: Tell = silent,
    finished: Callable[[Path], None] = lambda _: None,
) -> Exported:
    """Lower every component and write the bundle; a failure or an interrupt leaves nothing at `out`.

    Args:
        notify: told of each of the plan's components and of three more stages.
        tell: told of what is done within a component.
        finished: called with the folder that holds the whole bundle before it is renamed to `out`.

    Raises:
        CheckpointError: weights that are not finite. ExportError: a component that cannot be lowered.
        OutputError: a place that cannot be written.
    """
    begin = time.perf_counter()
    plan.exporter.tell = tell
    notify("checking every weight")
    plan.request.checkpoint.check()
    calibrate(plan, notify)
    with BundleWriter(out, replace=replace) as writer:
        parts = make_parts(plan, writer, notify)
        # in the order of the plan, whichever worker was first
        of_parts = {file: writer.files[file] for part in parts.values() for file in part.files}
        notify("tables")
        embeddings = write_tables(plan, writer)
        notify("manifest")
        request = plan.request
        checkpoint = request.checkpoint
        identity = checkpoint_identity(request.source, request.revision, checkpoint.identity, checkpoint.config)
        manifest = build_manifest(
            backend=request.backend,
            exporter=plan.exporter,
            geometry=plan.geometry,
            modes=list(request.modes),
            encoder=plan.encoder,
            components={name: part.entry for name, part in parts.items()},
            embeddings=embeddings,
            source=identity,
            documents=[file for part in parts.values() for file in part.documents],
            files=of_parts | writer.files,
        )
        writer.finish(manifest)
        finished(writer.folder)
    costs = {name: part.cost for name, part in parts.items() if part.cost is not None}
    return Exported(open_bundle(out, verify="quick"), costs, time.perf_counter() - begin)


def calibrate(plan: Plan, notify: Tell) -> None:
    """Let the backend see what a real run gives the components, if one of them needs it.

    Raises:
        CheckpointError: weights that cannot be read.
    """
    is_drawn = not set(plan.exporter.calibrated).isdisjoint(plan.precisions.values())
    if not is_drawn and not (plan.exporter.reads_first and "text_encoder" in plan.specs):
        return
    from export.calibration import PICTURES, readings, trajectories

    request = plan.request
    limits = None if request.cutting is None else request.cutting.limits
    # a forked worker cannot print beside the progress that is shown here
    drawn = partial(
        trajectories,
        pictures=request.calibration_pictures or PICTURES,
        tell=plan.exporter.tell if limits is None else silent,
    )
    run = drawn if is_drawn else readings
    notify("calibration")
    draw = partial(run, request.checkpoint, plan.geometry, plan.encoder, request.modes, plan.specs)
    found = draw() if limits is None else apart("calibration", draw, limits)
    plan.exporter.calibration = found
    if found.right and isinstance(plan.exporter, Judging):
        from export.qnn_score import ScoreJudge

        plan.exporter.judge = ScoreJudge(request.checkpoint, plan.geometry, plan.encoder, request.modes)


def write_tables(plan: Plan, writer: BundleWriter) -> EmbeddingsEntry | None:
    """Tokenizer, token embeddings and step embeddings, as far as the chosen components need them."""
    checkpoint = plan.request.checkpoint
    writer.add_file(TOKENIZER, checkpoint.tokenizer)
    for size in plan.geometry.sizes if "unet" in plan.specs else ():
        table = step_embeddings(checkpoint, *size)
        writer.add_bytes(step_table_file(plan.geometry, size), table.numpy().astype("<f4").tobytes())
    if "text_encoder" not in plan.specs:
        return None
    rows = checkpoint.embedding_rows()
    dtype = write_rows(rows, plan.request.embeddings, writer.path(EMBEDDINGS))
    writer.add_written(EMBEDDINGS)
    return EmbeddingsEntry(file=EMBEDDINGS, rows=rows.shape[0], columns=rows.shape[1], dtype=dtype)
