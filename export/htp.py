"""HTP components: planned, cut into shards, compiled (several at a time, or found in a cache), described."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.fx import GraphModule

from dreamlite_mobile.bundle_programs import Delegates, HandedSpec, ShardEntry, Traffic
from dreamlite_mobile.bundle_schema import CalibrationEntry, FileEntry, HtpEntry, Needs, ToolVersions
from dreamlite_mobile.components import COMPONENTS, ComponentSpec, TensorSpec
from dreamlite_mobile.errors import ConfigError, ExportError
from dreamlite_mobile.files import sha256_file
from dreamlite_mobile.networks.form import FORMS
from export.backends import Cutting, Tell, Written, example_inputs, silent
from export.manifest import tool_versions
from export.pieces import Kept, Pieces, piece_key
from export.precision import WIDTHS
from export.shards import Shard, cut_component, shard_digest, shard_memory, shard_room
from export.targets import DEFAULT_SOC, TARGETS, target
from export.workers import Job, Limits, apart, run_told

if TYPE_CHECKING:
    from export.calibration import Calibration
    from export.qnn import Quantisation
    from export.qnn_score import ScoreJudge

FP16_BYTES = 2.0


class ShardRecord(Kept):
    """What a compiled shard leaves beside its program: how each method was cut, what it moves."""

    delegates: dict[str, Delegates]
    traffic: dict[str, Traffic]


class QnnExporter:
    """ExecuTorch .pte for the HTP of one Snapdragon: one file per shard, its methods sharing their weights.

    With `emulator`, each method has its own, since the HTP emulator of the host loads no shared ones.
    """

    form = FORMS["htp"]
    coreml = None
    has_workers = True
    calibrated: tuple[str, ...] = tuple(WIDTHS)
    reads_first = True
    precisions: Mapping[str, tuple[str, ...]] = {
        name: ("fp16", "w8a16", "w4a16" if name == "text_encoder" else "w8a8mix") for name in COMPONENTS
    }

    def __init__(self, soc: str | None, emulator: bool, cutting: Cutting) -> None:
        from export.qnn_sdk import find_sdk

        self.soc = target(soc or DEFAULT_SOC)
        if not self.soc.fp16:
            raise ConfigError(
                f"--soc {self.soc.soc}: its HTP (V{self.soc.htp}) computes in integers only, and so far "
                "qnn files are fp16; supported: " + ", ".join(row.soc for row in TARGETS.values() if row.fp16)
            )
        if cutting.shards is not None and cutting.shards < 1:
            raise ConfigError(f"--shards {cutting.shards}: expected 1 or more, or auto")
        self.cutting = cutting
        self.tell: Tell = silent
        self.sdk = find_sdk()
        self.target = self.soc.soc
        self.calibration: Calibration | None = None
        self.judge: ScoreJudge | None = None
        self.made_for = HtpEntry(
            soc=self.soc.soc,
            chipset=self.soc.chipset,
            architecture=f"V{self.soc.htp}",
            vtcm_mb=self.soc.vtcm_mb,
            qnn_build=self.sdk.build,
            shared_weights=not emulator,
        )

    @property
    def htp(self) -> HtpEntry:
        """The chip, and what ranges of integers were calibrated on."""
        known = self.calibration
        if known is None or not known.steps:
            return self.made_for
        entry = CalibrationEntry(pictures=known.pictures, steps=known.steps, sha256=known.sha256)
        return self.made_for.model_copy(update={"calibration": entry})

    def needs(self, tools: ToolVersions) -> Needs:
        return Needs(executorch=tools.executorch, qnn=self.sdk.version)

    def write(self, spec: ComponentSpec, modules: Mapping[str, nn.Module], precision: str, folder: Path) -> Written:
        """Compile all methods together into `<component>.pte`, or into one file per shard (`<component>.1.pte`).

        Integers come with their plan in `<component>.plan.json`, an fp16 text tower with what it was divided by.
        """
        integers = precision != "fp16"
        documents = () if integers else self.write_range(spec, modules, folder)
        limit = self.soc.context_limit_kb * 1024.0
        shards = cut_component(
            spec,
            modules,
            self.cutting.shards,
            limit,
            lambda _, weight: weight.numel() * (1.0 if integers else FP16_BYTES),
            inf if self.cutting.max_memory is None else shard_room(self.cutting.max_memory),
        )
        if len(shards) > 1:
            if integers:
                raise ExportError(
                    f"{spec.name}: {precision} in {len(shards)} shards is not supported yet; take one shard "
                    f"(--shards 1) or {spec.name}=fp16"
                )
            return replace(self.write_shards(spec, shards, folder), documents=documents)
        whole = partial(self.write_whole, spec, modules, precision, folder)
        written = whole() if self.cutting.limits is None else apart(spec.name, whole, self.cutting.limits)
        return replace(written, documents=(*documents, *written.documents))

    def write_range(self, spec: ComponentSpec, modules: Mapping[str, nn.Module], folder: Path) -> tuple[str, ...]:
        """Divide what fp16 could not hold of the text tower's numbers, in place, and write down what was done."""
        if spec.name != "text_encoder" or self.calibration is None:
            return ()
        from export.fp16_range import keep_in_range

        calls = {name: self.calibration.calls[spec.name, name] for name in spec.methods}
        found = keep_in_range(modules, calls)
        told = {"component": spec.name, "precision": "fp16"} | asdict(found) | {"divisors": found.divisors}
        return (write_plan(folder, spec.name, told),)

    def write_whole(
        self, spec: ComponentSpec, modules: Mapping[str, nn.Module], precision: str, folder: Path
    ) -> Written:
        """One program with all methods."""
        from export.qnn import lower

        file = f"{spec.name}.pte"
        integers = None if precision == "fp16" else self.quantisation(spec, modules, precision)
        documents: tuple[str, ...] = ()
        if integers is not None:
            told = asdict(integers.plan) | {"activations": [asdict(one) for one in integers.activations]}
            documents = (write_plan(folder, spec.name, told),)
        methods = {name: (modules[name], example_inputs(method)) for name, method in spec.methods.items()}
        compiled = lower(methods, self.soc, self.htp.shared_weights, integers)
        with (folder / file).open("wb") as stream:
            compiled.write(stream)
        delegates = {name: Delegates(count=report.delegates) for name, report in compiled.reports.items()}
        return Written((file,), dict.fromkeys(spec.methods, file), delegates, compiled.traffic, documents=documents)

    def write_shards(self, spec: ComponentSpec, shards: list[Shard], folder: Path) -> Written:
        """One program per shard, each compiled by a worker or found in the cache."""
        files = [f"{spec.name}.{index}.pte" for index in range(1, len(shards) + 1)]
        with TemporaryDirectory(prefix="dreamlite-shards-") as scratch:
            pieces = Pieces(self.cutting.cache or Path(scratch))
            keys = [self.shard_key(shard, file) for shard, file in zip(shards, files, strict=True)]
            names = [shard_name(spec.name, index, shards) for index in range(len(shards))]
            missing = []
            for name, key, shard, file in zip(names, keys, shards, files, strict=True):
                if pieces.find(key, ShardRecord) is None:
                    memory = shard_memory(shard.volume)
                    missing.append(Job(name, operators(shard), CompileShard(self, shard, file, pieces, key), memory))
                else:
                    self.tell(f"{name}: finished before")
            self.compile_missing(missing)
            records = []
            for name, key, file in zip(names, keys, files, strict=True):
                piece = pieces.find(key, ShardRecord)
                if piece is None:
                    raise ExportError(f"{name}: was compiled and is gone from {pieces.folder}; export again")
                shutil.copyfile(piece.folder / file, folder / file)
                records.append(piece.record)
        return described(spec, shards, files, records)

    def compile_missing(self, jobs: list[Job]) -> None:
        """Run the compilers, saying what is done and what is left."""
        if not jobs:
            return
        from export import qnn  # noqa: F401 - imported once, before the workers are forked

        for _ in run_told(jobs, self.cutting.limits or Limits.of_machine(), self.tell):
            pass

    def shard_key(self, shard: Shard, file: str) -> str:
        """Of all that a shard's bytes depend on."""
        return piece_key(
            {
                "shard": shard_digest(shard),
                "file": file,
                "htp": self.made_for.model_dump(mode="json"),
                "tools": tool_versions().model_dump(mode="json"),
                "precision": "fp16",
            }
        )

    def quantisation(self, spec: ComponentSpec, modules: Mapping[str, nn.Module], precision: str) -> "Quantisation":
        """The plan of a component and its calibration calls; its weights are rounded in place.

        Raises:
            ExportError: no calibration, as where one block of a bundle is exported alone.
        """
        from export.outliers import activations
        from export.qnn import Quantisation
        from export.qnn_plan import planned

        if self.calibration is None:
            raise ExportError(
                f"{spec.name}: {precision} needs ranges from the calibration of a whole export, which a part has not; "
                "look for the block in an fp16 bundle of the same checkpoint"
            )
        calls = {name: self.calibration.calls[spec.name, name] for name in spec.methods}
        seen = activations(modules, calls)
        judge = None if self.judge is None else partial(self.judge.verdict, spec.name, precision, modules)
        return Quantisation(planned(spec.name, precision, modules, calls, judge), calls, seen)


class CompileShard:
    """A worker's job: compile one shard and put it into the cache."""

    def __init__(self, exporter: QnnExporter, shard: Shard, file: str, pieces: Pieces, key: str) -> None:
        self.exporter, self.shard, self.file, self.pieces, self.key = exporter, shard, file, pieces, key

    def __call__(self) -> None:
        from export.qnn import lower

        exporter, file = self.exporter, self.file
        methods = {name: (part.module.eval(), seeded(part.method.inputs)) for name, part in self.shard.parts.items()}
        compiled = lower(methods, exporter.soc, exporter.made_for.shared_weights)
        with TemporaryDirectory(prefix="dreamlite-shard-") as scratch:
            path = Path(scratch) / file
            with path.open("wb") as stream:
                compiled.write(stream)
            record = ShardRecord(
                delegates={name: Delegates(count=report.delegates) for name, report in compiled.reports.items()},
                traffic=compiled.traffic,
                files={file: FileEntry(bytes=path.stat().st_size, sha256=sha256_file(path))},
            )
            self.pieces.add(self.key, path.parent, record)


def plan_file(component: str) -> str:
    """Where a bundle keeps which bits a component's weights have."""
    return f"{component}.plan.json"


def write_plan(folder: Path, component: str, told: Mapping[str, Any]) -> str:
    """Write a component's plan; gives the file's name."""
    (folder / plan_file(component)).write_text(json.dumps(told, indent=1) + "\n")
    return plan_file(component)


def shard_name(component: str, index: int, shards: list[Shard]) -> str:
    """How messages call a shard."""
    begins = shards[index].begins
    return f"{component} shard {index + 1} of {len(shards)}" + (f" (from {begins})" if begins else "")


def operators(shard: Shard) -> float:
    """Operators of a shard's methods, which is what compiling takes time for."""
    modules = [module for part in shard.parts.values() for module in part.module.modules()]
    return float(sum(len(module.graph.nodes) for module in modules if isinstance(module, GraphModule)))


def seeded(inputs: tuple[TensorSpec, ...]) -> tuple[torch.Tensor, ...]:
    """Inputs of the right shape and dtype; fp16 compilation looks at nothing else."""
    source = torch.Generator().manual_seed(0)
    return tuple(torch.randn(spec.shape, generator=source).to(getattr(torch, spec.dtype)) for spec in inputs)


def described(spec: ComponentSpec, shards: list[Shard], files: list[str], records: list[ShardRecord]) -> Written:
    """What the manifest says of a component in shards."""
    entries = {
        method: tuple(
            ShardEntry(
                inputs=handed(shard.parts[method].method.inputs),
                outputs=handed(shard.parts[method].method.outputs),
                traffic=record.traffic[method],
            )
            for shard, record in zip(shards, records, strict=True)
        )
        for method in spec.methods
    }
    return Written(
        tuple(files),
        dict.fromkeys(spec.methods, files[0]),
        {name: Delegates(count=sum(record.delegates[name].count for record in records)) for name in spec.methods},
        {name: total([record.traffic[name] for record in records]) for name in spec.methods},
        dict.fromkeys(spec.methods, tuple(files[1:])),
        entries,
    )


def handed(specs: tuple[TensorSpec, ...]) -> tuple[HandedSpec, ...]:
    return tuple(HandedSpec.model_validate({"name": s.name, "shape": s.shape, "dtype": s.dtype}) for s in specs)


def total(parts: list[Traffic]) -> Traffic:
    """The traffic of all of them."""
    return Traffic(
        read_bytes=sum(part.read_bytes for part in parts),
        written_bytes=sum(part.written_bytes for part in parts),
        spilled_bytes=sum(part.spilled_bytes for part in parts),
        filled_bytes=sum(part.filled_bytes for part in parts),
    )
