"""A bundle whose text encoder is cut into shards as those of HTP bundles are, but of XNNPACK programs, which every
machine runs; with the pictures that the Python runtime makes of it. Shared: do not change."""

import hashlib
import shutil
from functools import cache
from math import inf
from pathlib import Path

import torch
from bundles import SIZE, exported
from checkpoint_files import tiny_checkpoint
from run_folder import made_once

from dreamlite_mobile.assembly import component_methods
from dreamlite_mobile.bundle_files import read_manifest, write_manifest
from dreamlite_mobile.bundle_programs import HandedSpec, ShardEntry
from dreamlite_mobile.bundle_schema import FileEntry
from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.components import MODES, MethodSpec, TensorSpec, component_specs
from dreamlite_mobile.golden.runs import run_files
from dreamlite_mobile.golden.write import DIGESTS
from dreamlite_mobile.networks.form import XNNPACK
from export.backends import Written
from export.driver import geometry_of, prompt_encoder
from export.parts import component_entry
from export.shards import Shard, cut_component
from export.xnnpack import lower

COMPONENT = "text_encoder"
SHARDS = 2


@cache
def sharded_folder() -> Path:
    """`bundle`, and `runs` with the digests of its files, as in a folder of golden vectors."""
    return made_once("sharded", _write)


def _write(out: Path) -> None:
    bundle = out / "bundle"
    shutil.copytree(exported("fp32"), bundle)
    checkpoint = open_checkpoint(tiny_checkpoint())
    geometry = geometry_of(checkpoint.config, prompt_encoder(checkpoint), SIZE, SIZE)
    spec = component_specs(geometry, MODES)[COMPONENT]
    modules = component_methods(checkpoint, COMPONENT, XNNPACK, geometry, list(spec.methods))
    shards = cut_component(spec, modules, SHARDS, inf, lambda _name, weight: float(weight.numel()))
    files = [f"{COMPONENT}.{index}.pte" for index in range(1, SHARDS + 1)]
    for shard, file in zip(shards, files, strict=True):
        methods = {name: (part.module, _inputs(part.method)) for name, part in shard.parts.items()}
        with (bundle / file).open("wb") as stream:
            lower(methods, "fp32").write(stream)
    entry = component_entry(spec, "fp32", _written(list(spec.methods), shards, files))
    manifest = read_manifest(bundle)
    whole = f"{COMPONENT}.pte"
    (bundle / whole).unlink()
    listed = {name: kept for name, kept in manifest.files.items() if name != whole}
    listed |= {file: _entry(bundle / file) for file in files}
    changes = {"components": {**manifest.components, COMPONENT: entry}, "files": listed}
    write_manifest(bundle, manifest.model_copy(update=changes))
    write_runs(out, run_files(bundle))


def _inputs(method: MethodSpec) -> tuple[torch.Tensor, ...]:
    return tuple(torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in method.inputs)


def _written(methods: list[str], shards: list[Shard], files: list[str]) -> Written:
    described = {
        method: tuple(
            ShardEntry(inputs=_handed(part.inputs), outputs=_handed(part.outputs))
            for part in (shard.parts[method].method for shard in shards)
        )
        for method in methods
    }
    then = dict.fromkeys(methods, tuple(files[1:]))
    return Written(tuple(files), dict.fromkeys(methods, files[0]), then=then, shards=described)


def _handed(specs: tuple[TensorSpec, ...]) -> tuple[HandedSpec, ...]:
    return tuple(HandedSpec.model_validate({"name": s.name, "shape": s.shape, "dtype": s.dtype}) for s in specs)


def _entry(path: Path) -> FileEntry:
    data = path.read_bytes()
    return FileEntry(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def write_runs(out: Path, files: dict[str, bytes]) -> None:
    """`runs` in a folder, with the digests of its files beside it."""
    (out / "runs").mkdir()
    lines = []
    for name, data in sorted(files.items()):
        (out / "runs" / name).write_bytes(data)
        lines.append(f"{hashlib.sha256(data).hexdigest()}  runs/{name}\n")
    (out / DIGESTS).write_text("".join(lines))
