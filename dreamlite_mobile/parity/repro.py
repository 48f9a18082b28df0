"""A folder that repeats one block of a bisection: its inputs, what torch makes of them, its weights, its program.

`dreamlite repro FOLDER` runs the saved program; with `--again` the block is built from its weights and exported anew.
"""

import shutil
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from dreamlite_mobile.bundle import Bundle
from dreamlite_mobile.bundle_fields import RelativePath, Sha256
from dreamlite_mobile.bundle_files import read_manifest, write_manifest
from dreamlite_mobile.bundle_programs import ComponentEntry
from dreamlite_mobile.components import FORWARD, ComponentSpec, MethodSpec, TensorSpec
from dreamlite_mobile.errors import BundleError, unknown_name
from dreamlite_mobile.files import sha256_file, staged_folder
from dreamlite_mobile.networks import build, fold
from dreamlite_mobile.networks.form import FORMS, form_of
from dreamlite_mobile.networks.text import Rotary
from dreamlite_mobile.parity.bisect import Bench, Bisection, Found
from dreamlite_mobile.parity.block_bundle import export_module, over, run_module
from dreamlite_mobile.parity.blocks import BLOCK, TOWER, Alone, Call, named_blocks
from dreamlite_mobile.parity.metrics import Metrics, compare
from dreamlite_mobile.parity.versions import versions
from dreamlite_mobile.runtime import Array
from dreamlite_mobile.strict import Strict

VERSION = 2
DESCRIPTION, INPUTS, WEIGHTS = "repro.json", "inputs.npz", "weights.safetensors"
EXPECTED = "expected"


class Description(Strict):
    """The whole of `repro.json`. `given`: which of the block's arguments are inputs; the others are tables among its
    weights. `entry`: its program as a manifest would state it; null when it could not be exported. `files`: sha256 of
    every other file of the folder but the manifest's, which has its own."""

    version: int
    component: str
    method: str
    block: str
    kind: str
    form: str
    given: tuple[bool, ...]
    origin: str
    input_digest: str
    floor_db: float
    snr_db: float | None
    problem: str | None
    differences: tuple[str, ...]
    entry: ComponentEntry | None
    files: dict[RelativePath, Sha256]
    command: str
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Repro:
    """An opened folder."""

    folder: Path
    description: Description
    bundle: Bundle


def write_repro(bench: Bench, found: Bisection, block: Found, folder: Path) -> Path:
    """Save one block of a bisection; the folder must not exist. OutputError when it cannot be written."""
    call = next(call for call in bench.calls if call.name == block.name)
    program = bench.programs.get(block.name)
    measured = block.by_itself
    with staged_folder(folder) as staging:
        write_files(bench, call, program, staging)
        description = Description(
            version=VERSION,
            component=found.component,
            method=found.method,
            block=block.name,
            kind=block.kind,
            form=form_of(found.backend, found.precision).name,
            given=tuple(isinstance(argument, torch.Tensor) for argument in call.arguments),
            origin=found.origin,
            input_digest=found.input_digest,
            floor_db=found.floor_db,
            snr_db=None if measured is None or not np.isfinite(measured.snr_db) else measured.snr_db,
            problem=block.problem,
            differences=block.differences,
            entry=None if program is None else program.component(BLOCK),
            files={str(path.relative_to(staging)): sha256_file(path) for path in staging.rglob("*") if path.is_file()},
            command=f"dreamlite repro {folder.name}",
            versions=versions(),
        )
        (staging / DESCRIPTION).write_text(description.model_dump_json(indent=2) + "\n")
        write_manifest(staging, bench.bundle.manifest)
    return folder


def write_files(bench: Bench, call: Call, program: Bundle | None, folder: Path) -> None:
    """A block's inputs, what torch makes of them, its weights, its program."""
    arrays: dict[str, Any] = {EXPECTED: call.output.numpy(), **call.inputs}
    np.savez(folder / INPUTS, **arrays)
    weights = Alone(call.name, bench.block(call.name), call.arguments).state_dict()
    save_file({name: tensor.clone().contiguous() for name, tensor in weights.items()}, folder / WEIGHTS)
    if program is None:
        return
    for file in program.component(BLOCK).files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(program.path / file, folder / file)


def open_repro(folder: Path) -> Repro:
    """Read a folder that `write_repro` made.

    Raises:
        BundleError: a folder that is none, or is damaged.
    """
    try:
        description = Description.model_validate_json((folder / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise BundleError(
            f"{folder}: is not a repro: {error}. Name a folder that `dreamlite bisect --save` made."
        ) from error
    if description.version != VERSION:
        raise BundleError(f"{folder}: is a repro of version {description.version}; supported: {VERSION}")
    for file, digest in description.files.items():
        check_file(folder / file, digest)
    return Repro(folder, description, Bundle(folder, read_manifest(folder)))


def check_file(path: Path, digest: str) -> None:
    """BundleError for a file that is missing or is not the one that was saved."""
    try:
        found = sha256_file(path)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}. Save the repro again.") from error
    if found != digest:
        raise BundleError(f"{path}: is damaged: its sha256 is not the one that was saved. Save the repro again.")


def run_repro(repro: Repro, again: Path | None = None) -> Metrics:
    """The block against torch: its saved program, or with `again` (an empty place) its weights exported anew.

    Raises:
        BundleError: no program was saved, or something is missing. ExportError: the block cannot be exported.
    """
    inputs, expected = saved_arrays(repro.folder / INPUTS)
    said = repro.description
    for name, known in (("form", FORMS), ("component", repro.bundle.manifest.components)):
        if getattr(said, name) not in known:
            raise BundleError(f"{repro.folder / DESCRIPTION}: {unknown_name(name, getattr(said, name), known)}")
    entry = said.entry
    if again is not None:
        bundle = exported_again(repro, inputs, expected, again)
    elif entry is None:
        raise BundleError(f"{repro.folder}: holds no program ({said.problem}); take --again")
    else:
        bundle = saved_program(repro, entry)
    found = run_module(bundle, BLOCK, inputs)["output"]
    if found.shape != expected.shape:
        raise BundleError(
            f"{repro.folder / INPUTS}: {EXPECTED} has shape {list(expected.shape)}, the block gives {list(found.shape)}"
        )
    return compare(found, expected)


def saved_program(repro: Repro, entry: ComponentEntry) -> Bundle:
    """The block's program as a bundle; BundleError when its files are not all there."""
    missing = [file for file in entry.files if file not in repro.description.files]
    if missing:
        raise BundleError(f"{repro.folder}: lacks {', '.join(missing)} of the block's program. Save the repro again.")
    return over(repro.bundle, repro.folder, BLOCK, entry)


def saved_arrays(path: Path) -> tuple[dict[str, Array], Array]:
    """The inputs by name, and what torch makes of them."""
    try:
        with np.load(path, allow_pickle=False) as saved:
            arrays = {name: saved[name] for name in saved.files}
        return arrays, arrays.pop(EXPECTED)
    except (OSError, ValueError, LookupError, EOFError, BadZipFile, zlib.error, struct.error) as error:
        raise BundleError(f"{path}: cannot be read: {error}. Save the repro again.") from error


def exported_again(repro: Repro, inputs: Mapping[str, Array], expected: Array, folder: Path) -> Bundle:
    """The block built from the configuration and the saved weights, exported by the bundle's backend."""
    said = repro.description
    spec = ComponentSpec(
        BLOCK,
        {
            FORWARD: MethodSpec(
                tuple(TensorSpec(name, array.shape) for name, array in inputs.items()),
                (TensorSpec("output", expected.shape),),
            )
        },
    )
    module = rebuilt(repro)
    precision = repro.bundle.manifest.components[said.component].precision
    return export_module(repro.bundle, spec, module, precision, folder / "again")


def rebuilt(repro: Repro) -> Alone:
    """The block in its form with the saved weights."""
    said = repro.description
    network = build(said.component, repro.bundle.manifest.checkpoint.dreamlite_config, FORMS[said.form])
    name = said.block.removeprefix(TOWER)
    known = [each for each, _ in named_blocks(network)]
    if name not in known:
        raise BundleError(f"{repro.folder / DESCRIPTION}: {unknown_name('block', name, known)}")
    nothing = torch.empty(0)
    try:
        weights = load_file(repro.folder / WEIGHTS)
        arguments = tuple(
            nothing if given else Rotary(weights[f"cos_{index}"], weights[f"sin_{index}"])
            for index, given in enumerate(said.given)
        )
        module = Alone(said.block, fold(network.get_submodule(name)), arguments)
        module.load_state_dict(weights, assign=True)
    except (OSError, SafetensorError, RuntimeError, KeyError) as error:
        raise BundleError(f"{repro.folder}: its weights are not those of {said.block}: {error}") from error
    return module.eval().requires_grad_(False)
