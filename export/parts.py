"""What one component puts into a bundle: lowered now, or copied from where it was finished before."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from dreamlite_mobile.assembly import component_methods
from dreamlite_mobile.bundle import Bundle, BundleWriter
from dreamlite_mobile.bundle_config import config_to_json
from dreamlite_mobile.bundle_fields import Precision
from dreamlite_mobile.bundle_programs import ComponentEntry, MethodEntry, TensorSpec
from dreamlite_mobile.bundle_schema import FileEntry
from dreamlite_mobile.components import MODES, ComponentSpec, MethodSpec
from dreamlite_mobile.files import sha256_file
from dreamlite_mobile.measure import Cost, measured
from dreamlite_mobile.networks.form import form_of
from dreamlite_mobile.progress import Tell
from export.backends import Streaming, Written
from export.estimate import lowering_bytes, weight_bytes
from export.htp import plan_file
from export.manifest import tool_versions
from export.pieces import Pieces, Record, piece_key, write_record
from export.shards import form_to_cut
from export.workers import Job, run_told

if TYPE_CHECKING:
    from export.driver import Plan

MEND = "take a smaller --size, or --components one at a time"


@dataclass(frozen=True, slots=True)
class Part:
    """A component in a bundle: its entry, its files for people, and what lowering it cost if that was done now."""

    entry: ComponentEntry
    documents: tuple[str, ...]
    cost: Cost | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """All of it."""
        return (*self.entry.files, *self.documents)


def make_parts(plan: "Plan", writer: BundleWriter, notify: Tell) -> dict[str, Part]:
    """Put every component of the plan into the bundle.

    Raises:
        CheckpointError: weights that cannot be read. ExportError: a component that cannot be lowered.
        OutputError: a place that cannot be written.
    """
    parts, missing = dict[str, Part](), list[str]()
    for name in plan.specs:
        part = finished_before(plan, name, writer, notify)
        if part is None:
            missing.append(name)
        else:
            parts[name] = part
    for name, written, cost in lowered(plan, missing, writer.folder, notify):
        parts[name] = added(plan, name, written, cost, writer)
    return {name: parts[name] for name in plan.specs}


def finished_before(plan: "Plan", name: str, writer: BundleWriter, notify: Tell) -> Part | None:
    """A component copied from an earlier bundle or from the cache, if it is there."""
    precision = plan.precisions[name]
    donor = reusable(plan, name)
    if donor is not None:
        notify(f"{name} ({precision}, from {donor.path.name})")
        entry = donor.manifest.components[name]
        documents = tuple(file for file in donor.manifest.documents if file == plan_file(name))
        return copied(donor.path, entry, documents, writer)
    if plan.request.cache is None:
        return None
    piece = Pieces(plan.request.cache).find(key_of(plan, name), Record)
    if piece is None:
        return None
    notify(f"{name} ({precision}, finished before)")
    return copied(piece.folder, piece.record.entry, piece.record.documents, writer)


def lowered(plan: "Plan", names: Sequence[str], folder: Path, notify: Tell) -> Iterator[tuple[str, Written, Cost]]:
    """Lower components into a folder: one by one here, or in workers where the request limits them."""
    limits = None if plan.request.cutting is None else plan.request.cutting.limits
    if limits is None or plan.exporter.has_workers:
        for name in names:
            notify(f"{name} ({plan.precisions[name]})")
            with measured() as cost:
                written = lower(plan, name, folder)
            yield name, written, cost
        return
    jobs = [
        Job(name, weight_bytes(plan, name), partial(lower, plan, name, folder), lowering_bytes(plan, name), MEND)
        for name in names
    ]
    for done in run_told(jobs, limits, plan.exporter.tell):
        notify(f"{done.name} ({plan.precisions[done.name]})")
        yield done.name, done.result, done.cost


def lower(plan: "Plan", name: str, folder: Path) -> Written:
    """Assemble a component in the form of its backend and precision, and write its files."""
    request, chosen, precision = plan.request, plan.exporter, plan.precisions[name]
    prepare = chosen.preparing(name, precision) if isinstance(chosen, Streaming) else None
    shards = None if request.cutting is None else request.cutting.shards
    form = form_to_cut(name, form_of(request.backend, precision), weight_bytes(plan, name) / 2, shards)
    modules: dict[str, nn.Module] = component_methods(
        request.checkpoint, name, form, plan.geometry, list(request.modes), prepare
    )
    return chosen.write(plan.specs[name], modules, precision, folder)


def make_piece(plan: "Plan", name: str) -> bool:
    """Lower a component straight into the cache, unless it is there; whether that was to be done."""
    assert plan.request.cache is not None
    pieces, key = Pieces(plan.request.cache), key_of(plan, name)
    if pieces.find(key, Record) is not None:
        return False
    with pieces.staged(key) as folder:
        written = lower(plan, name, folder)
        paths = {file: folder / file for file in (*written.files, *written.documents)}
        files = {file: FileEntry(bytes=path.stat().st_size, sha256=sha256_file(path)) for file, path in paths.items()}
        entry = component_entry(plan.specs[name], plan.precisions[name], written)
        write_record(folder, Record(entry=entry, documents=written.documents, files=files))
    return True


def added(plan: "Plan", name: str, written: Written, cost: Cost, writer: BundleWriter) -> Part:
    """Register a component's files, and keep them if there is a cache."""
    names = (*written.files, *written.documents)
    files = {file: writer.add_written(file) for file in names}
    entry = component_entry(plan.specs[name], plan.precisions[name], written)
    if plan.request.cache is not None:
        record = Record(entry=entry, documents=written.documents, files=files)
        Pieces(plan.request.cache).add(key_of(plan, name), writer.folder, record)
    return Part(entry, written.documents, cost)


def copied(folder: Path, entry: ComponentEntry, documents: Iterable[str], writer: BundleWriter) -> Part:
    """Copy a finished component's files."""
    documents = tuple(documents)
    for file in (*entry.files, *documents):
        shutil.copyfile(folder / file, writer.path(file))
        writer.add_written(file)
    return Part(entry, documents)


def reusable(plan: "Plan", name: str) -> Bundle | None:
    """A bundle whose component is what this plan would make: same weights, tools, backend, precision and shapes."""
    request = plan.request
    wanted = shapes(plan.specs[name])
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
        found = {method: {"inputs": its.inputs, "outputs": its.outputs} for method, its in entry.methods.items()}
        shards = None if request.cutting is None else request.cutting.shards
        as_cut = shards is None or all(1 + len(method.then) == shards for method in entry.methods.values())
        if same_source and as_cut and found == wanted:
            return bundle
    return None


def key_of(plan: "Plan", name: str) -> str:
    """The key of a component: of all that its bytes depend on."""
    request, chosen, geometry = plan.request, plan.exporter, plan.geometry
    shards = None if request.cutting is None else request.cutting.shards
    methods = {
        method: {side: [tensor.model_dump(mode="json") for tensor in found] for side, found in sides.items()}
        for method, sides in shapes(plan.specs[name]).items()
    }
    return piece_key(
        {
            "weights": weights_of(plan, name),
            "config": config_to_json(request.checkpoint.config),
            "backend": request.backend,
            "target": chosen.target,
            "htp": None if chosen.htp is None else chosen.htp.model_dump(mode="json"),
            "coreml": None if chosen.coreml is None else chosen.coreml.model_dump(mode="json"),
            "tools": tool_versions().model_dump(mode="json"),
            "component": name,
            "precision": plan.precisions[name],
            "shards": shards,
            "memory": request.cutting.max_memory
            if request.cutting and request.backend == "qnn" and not shards
            else None,
            "methods": methods,
            "drop": [geometry.drop_generate, geometry.drop_edit],
            "states": [geometry.states_generate, geometry.states_edit],
            "prefix": [geometry.prefix(mode) for mode in MODES],
        }
    )


def weights_of(plan: "Plan", name: str) -> str:
    """What names the weights that a component comes from: its own, and for a text tower that was asked prompts the
    tokenizer; or where ranges were calibrated, the whole checkpoint."""
    checkpoint, chosen = plan.request.checkpoint, plan.exporter
    if plan.precisions[name] in chosen.calibrated:
        return checkpoint.identity
    own = checkpoint.weights_digest(name)
    return f"{own} {sha256_file(checkpoint.tokenizer)}" if chosen.reads_first and name == "text_encoder" else own


def component_entry(spec: ComponentSpec, precision: Precision, written: Written) -> ComponentEntry:
    """The manifest's entry of an exported component."""
    return ComponentEntry(
        files=written.files,
        precision=precision,
        methods={
            name: MethodEntry(
                file=written.method_files[name],
                then=written.then.get(name, ()),
                shards=written.shards.get(name, ()),
                **tensors(method),
                delegates=written.delegates.get(name),
                traffic=written.traffic.get(name),
            )
            for name, method in spec.methods.items()
        },
    )


def shapes(spec: ComponentSpec) -> dict[str, dict[str, tuple[TensorSpec, ...]]]:
    """By method what goes in and what comes out."""
    return {name: tensors(method) for name, method in spec.methods.items()}


def tensors(method: MethodSpec) -> dict[str, tuple[TensorSpec, ...]]:
    return {
        "inputs": tuple(TensorSpec(name=spec.name, shape=spec.shape) for spec in method.inputs),
        "outputs": tuple(TensorSpec(name=spec.name, shape=spec.shape) for spec in method.outputs),
    }
