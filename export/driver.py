"""One export: a checkpoint, a backend, a size -> a bundle. Knows no backend's insides."""

import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from dreamlite_mobile.assembly import component_methods, step_embeddings
from dreamlite_mobile.bundle import Bundle, BundleWriter, open_bundle
from dreamlite_mobile.bundle_schema import (
    Backend,
    ComponentEntry,
    EmbeddingsEntry,
    MethodEntry,
    Mode,
    Precision,
    TensorSpec,
)
from dreamlite_mobile.checkpoint import Checkpoint
from dreamlite_mobile.components import ComponentSpec, Geometry, MethodSpec, component_specs
from dreamlite_mobile.config import DreamLiteConfig
from dreamlite_mobile.errors import ConfigError
from dreamlite_mobile.images import check_size
from dreamlite_mobile.measure import Cost, measured
from dreamlite_mobile.prompt import PromptConfig, PromptEncoder
from export.backends import Exporter, Written, exporter, plan_file
from export.manifest import EMBEDDINGS, STEP_EMBEDDINGS, TOKENIZER, build_manifest, checkpoint_identity, tool_versions
from export.precision import component_precisions

Notify = Callable[[str], None]
"""Told what is done next."""


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to make. `precision` is a preset or `component=precision` pairs (see `export.precision`).

    `soc`: the Snapdragon that `qnn` files are for, by default the Xiaomi 14's; with `emulator` they run on the host.
    `package_mb`: most megabytes of weights in one Core ML package.
    `reuse`: bundles from which a component is copied, instead of lowered again, where it would come out the same.
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
    soc: str | None = None
    emulator: bool = False
    package_mb: int | None = None


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
    """The finished bundle and the cost of each component, assembling and lowering included."""

    bundle: Bundle
    costs: dict[str, Cost]
    seconds: float


def geometry_of(config: DreamLiteConfig, encoder: PromptEncoder, width: int, height: int) -> Geometry:
    """What fixes every shape for this picture size."""
    generate, edit = encoder.generate_shape, encoder.edit_shape
    return Geometry(
        config=config,
        width=width,
        height=height,
        drop_generate=generate.drop,
        drop_edit=edit.drop,
        states_generate=generate.states,
        states_edit=edit.states,
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
    check_size(request.width, request.height, checkpoint.config.size_multiple)
    chosen = exporter(request.backend, request.soc, request.emulator, request.package_mb)
    encoder = prompt_encoder(checkpoint)
    configured = checkpoint.config.text.image_token_id
    if encoder.image_token_id != configured:
        raise ConfigError(
            f"{checkpoint.path}: text_encoder/config.json has image_token_id {configured}, but "
            f"{checkpoint.tokenizer.name} gives <|image_pad|> the id {encoder.image_token_id}; supported: equal. "
            "Take both files from the same checkpoint."
        )
    geometry = geometry_of(checkpoint.config, encoder, request.width, request.height)
    specs = component_specs(geometry, request.modes, request.components)
    precisions = component_precisions(request.precision, specs, chosen.precisions)
    return Plan(request, geometry, encoder, chosen, specs, precisions)


def run_export(plan: Plan, out: Path, *, replace: bool = False, notify: Notify = lambda _: None) -> Exported:
    """Lower every component and write the bundle; a failure or an interrupt leaves nothing at `out`.

    Raises:
        CheckpointError: weights that are not finite. ExportError: a component that cannot be lowered.
        OutputError: a place that cannot be written.
    """
    begin = time.perf_counter()
    costs: dict[str, Cost] = {}
    notify("checking every weight")
    plan.request.checkpoint.check()
    calibrate(plan, notify)
    with BundleWriter(out, replace=replace) as writer:
        entries: dict[str, ComponentEntry] = {}
        documents: list[str] = []
        for name, spec in plan.specs.items():
            donor = reusable(plan, name)
            notify(f"{name} ({plan.precisions[name]}{f', from {donor.path.name}' if donor else ''})")
            if donor is not None:
                entries[name] = copy_component(donor, name, writer)
                documents += copy_documents(donor, name, writer)
                continue
            with measured() as cost:
                written = export_component(plan, spec, writer)
            costs[name] = cost
            documents += written.documents
            entries[name] = component_entry(spec, plan.precisions[name], written, cost)
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
            components=entries,
            embeddings=embeddings,
            source=identity,
            documents=documents,
            files=writer.files,
        )
        writer.finish(manifest)
    return Exported(open_bundle(out, verify="quick"), costs, time.perf_counter() - begin)


def calibrate(plan: Plan, notify: Notify) -> None:
    """Let the backend see what a real run gives the components, if one of them needs it.

    Raises:
        CheckpointError: weights that cannot be read.
    """
    if set(plan.exporter.calibrated).isdisjoint(plan.precisions.values()):
        return
    from export.calibration import trajectories

    notify("calibration")
    request = plan.request
    plan.exporter.calibration = trajectories(request.checkpoint, plan.geometry, plan.encoder, request.modes, plan.specs)


def reusable(plan: Plan, name: str) -> Bundle | None:
    """A bundle whose component is what this plan would make: same weights, tools, backend, precision and shapes."""
    request = plan.request
    wanted = {method: tensors(spec) for method, spec in plan.specs[name].methods.items()}
    for bundle in request.reuse:
        manifest = bundle.manifest
        entry = manifest.components.get(name)
        if entry is None or entry.precision != plan.precisions[name]:
            continue
        same_source = (
            manifest.checkpoint.sha256,
            manifest.backend,
            manifest.tools,
            manifest.htp,
            manifest.coreml,
        ) == (
            request.checkpoint.identity,
            request.backend,
            tool_versions(),
            plan.exporter.htp,
            plan.exporter.coreml,
        )
        shapes = {method: {"inputs": its.inputs, "outputs": its.outputs} for method, its in entry.methods.items()}
        if same_source and shapes == wanted:
            return bundle
    return None


def copy_component(donor: Bundle, name: str, writer: BundleWriter) -> ComponentEntry:
    """Copy a component's files and its entry, times included."""
    entry = donor.manifest.components[name]
    for file in entry.files:
        shutil.copyfile(donor.path / file, writer.path(file))
        writer.add_written(file)
    return entry


def copy_documents(donor: Bundle, name: str, writer: BundleWriter) -> list[str]:
    """Copy what a component's export left for people to read."""
    found = [file for file in donor.manifest.documents if file == plan_file(name)]
    for file in found:
        writer.add_file(file, donor.path / file)
    return found


def export_component(plan: Plan, spec: ComponentSpec, writer: BundleWriter) -> Written:
    """Assemble one component in the backend's form, lower it and register its files."""
    modules: dict[str, nn.Module] = component_methods(
        plan.request.checkpoint, spec.name, plan.exporter.form, plan.geometry, list(plan.request.modes)
    )
    written = plan.exporter.write(spec, modules, plan.precisions[spec.name], writer.folder)
    for file in (*written.files, *written.documents):
        writer.add_written(file)
    return written


def write_tables(plan: Plan, writer: BundleWriter) -> EmbeddingsEntry | None:
    """Tokenizer, token embeddings and step embeddings, as far as the chosen components need them."""
    checkpoint = plan.request.checkpoint
    writer.add_file(TOKENIZER, checkpoint.tokenizer)
    if "unet" in plan.specs:
        table = step_embeddings(checkpoint, plan.geometry.width, plan.geometry.height)
        writer.add_bytes(STEP_EMBEDDINGS, table.numpy().astype("<f4").tobytes())
    if "text_encoder" not in plan.specs:
        return None
    rows = checkpoint.embedding_rows()
    write_chunks(writer.path(EMBEDDINGS), rows.chunks())
    writer.add_written(EMBEDDINGS)
    return EmbeddingsEntry(file=EMBEDDINGS, rows=rows.shape[0], columns=rows.shape[1], dtype=rows.dtype)


def write_chunks(path: Path, chunks: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)


def component_entry(spec: ComponentSpec, precision: Precision, written: Written, cost: Cost) -> ComponentEntry:
    """The manifest's entry of an exported component."""
    return ComponentEntry(
        files=written.files,
        precision=precision,
        methods={
            name: MethodEntry(
                file=written.method_files[name],
                then=written.then.get(name, ()),
                **tensors(method),
                delegates=written.delegates.get(name),
                traffic=written.traffic.get(name),
            )
            for name, method in spec.methods.items()
        },
        lowering_seconds=round(cost.seconds, 2),
        peak_memory_bytes=cost.peak_bytes,
    )


def tensors(method: MethodSpec) -> dict[str, tuple[TensorSpec, ...]]:
    return {
        "inputs": tuple(TensorSpec(name=spec.name, shape=spec.shape) for spec in method.inputs),
        "outputs": tuple(TensorSpec(name=spec.name, shape=spec.shape) for spec in method.outputs),
    }
