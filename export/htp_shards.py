"""HTP components in several shards: compiled by workers or found in a cache, and what the manifest says of them."""

import shutil
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.fx import GraphModule

from dreamlite_mobile.bundle_programs import Delegates, HandedSpec, ShardEntry, Traffic
from dreamlite_mobile.bundle_schema import FileEntry, HtpEntry
from dreamlite_mobile.components import ComponentSpec, MethodSpec, TensorSpec
from dreamlite_mobile.errors import ExportError
from dreamlite_mobile.files import sha256_file
from dreamlite_mobile.progress import Tell
from export.alike import alike, plainly_named
from export.backends import Cutting, Written
from export.calibration import Calls, Inputs
from export.handed import Results, ShardCalls, record_handed
from export.manifest import tool_versions
from export.pieces import Kept, Pieces, piece_key
from export.put_back import put_back
from export.shards import Code, Shard, marks, shard_digest, shard_memory
from export.targets import Target
from export.workers import Job, Limits, run_told

if TYPE_CHECKING:
    from export.qnn import Compiled, Quantisation

IN_SHARD = "module."
"""What the names of a shard's layers begin with."""
SAME_SCALE = 1e-4
"""Two shards' scales of one value may differ by so much of themselves: fp32 rounds in another order."""

COMPILING = 0.65
"""Of a shard's time, what the chip's compiler takes: all that shards take which compute the same as one before them
(0.63 and 0.69 measured, benchmarks/htp.md)."""


class ShardRecord(Kept):
    """What a compiled shard leaves beside its program: how each method was cut, what it moves.

    Of integers `plan` tells as a component's plan does, and `codes` what those stand for that are handed on, by method
    and value; fp16 has neither.
    """

    delegates: dict[str, Delegates]
    traffic: dict[str, Traffic]
    plan: dict[str, Any]
    codes: dict[str, dict[str, Code]]


@dataclass(frozen=True, slots=True)
class ShardWriter:
    """Compiles a component's shards for one chip.

    Integers need `calls`, the component's calibration calls by method, `sha256`, which names them, and the names of
    the `layers` that have bits of their own.
    """

    spec: ComponentSpec
    shards: Sequence[Shard]
    soc: Target
    made_for: HtpEntry
    cutting: Cutting
    precision: str
    tell: Tell
    calls: Calls | None = None
    sha256: str = ""
    layers: Collection[str] = ()

    def write(self, folder: Path) -> tuple[Written, list[dict[str, Any]]]:
        """One program per shard (`<component>.1.pte`), each compiled by a worker or found in the cache; their plans.

        Raises:
            ExportError: a shard that cannot be compiled, or shards that disagree on what a code stands for.
            OutputError: no room for what calibration hands on.
        """
        files = [f"{self.spec.name}.{index}.pte" for index in range(1, len(self.shards) + 1)]
        with TemporaryDirectory(prefix="dreamlite-shards-") as scratch:
            pieces = Pieces(self.cutting.cache or Path(scratch, "pieces"))
            keys = [self.key(shard, file) for shard, file in zip(self.shards, files, strict=True)]
            missing = []
            for index, key in enumerate(keys):
                if pieces.find(key, ShardRecord) is None:
                    missing.append(index)
                else:
                    self.tell(f"{self.name(index)}: finished before")
            if missing:
                self.compile_missing(missing, keys, files, pieces, Path(scratch, "handed"))
            records = []
            for index, (key, file) in enumerate(zip(keys, files, strict=True)):
                piece = pieces.find(key, ShardRecord)
                if piece is None:
                    raise ExportError(
                        f"{self.name(index)}: was compiled and is gone from {pieces.folder}; export again"
                    )
                shutil.copyfile(piece.folder / file, folder / file)
                records.append(piece.record)
        check_codes(self.spec.name, records)
        return described(self.spec, self.shards, files, records), [record.plan for record in records]

    def compile_missing(
        self, missing: Sequence[int], keys: Sequence[str], files: Sequence[str], pieces: Pieces, handed: Path
    ) -> None:
        """Run the compilers, saying what is done and what is left. What calibration hands on goes through `handed`."""
        from export import qnn  # noqa: F401 - imported once, before the workers are forked

        if self.calls is not None:
            self.tell(f"{self.spec.name}: what its {len(self.shards)} shards hand on in calibration")
            record_handed(self.shards[: missing[-1] + 1], self.spec, self.calls, handed)
            put_back(self.shards, self.layers)
        groups = alike(self.shards, missing) if self.calls is None else [[index] for index in missing]
        jobs = [
            Job(
                self.names(group),
                work_of([self.shards[index] for index in group]),
                CompileShards(self, group, files, pieces, keys, handed),
                shard_memory(max(self.shards[index].volume for index in group), integers=self.calls is not None),
            )
            for group in groups
        ]
        self.tell(f"{self.spec.name}: {len(missing)} shards to compile, {len(jobs)} graphs to trace")
        jobs.sort(key=lambda job: -job.size)  # the longest first, so that no worker is left with one at the end
        for _ in run_told(jobs, self.cutting.limits or Limits.of_machine(), self.tell):
            pass

    def key(self, shard: Shard, file: str) -> str:
        """Of all that a shard's bytes depend on."""
        return piece_key(
            {
                "shard": shard_digest(shard),
                "file": file,
                "htp": self.made_for.model_dump(mode="json"),
                "tools": tool_versions().model_dump(mode="json"),
                "precision": self.precision,
                "parts": 1 if self.calls is None else len(self.shards),
                "calibration": self.sha256,
            }
        )

    def names(self, group: Sequence[int]) -> str:
        """How messages call shards that are compiled together."""
        if len(group) == 1:
            return self.name(group[0])
        numbers = ", ".join(str(index + 1) for index in group)
        return f"{self.spec.name} shards {numbers} of {len(self.shards)}"

    def name(self, index: int) -> str:
        """How messages call a shard."""
        begins = self.shards[index].begins
        return f"{self.spec.name} shard {index + 1} of {len(self.shards)}" + (f" (from {begins})" if begins else "")


@dataclass(frozen=True, slots=True)
class CompileShards:
    """A worker's job: compile shards that compute the same (in integers: one) and put each into the cache."""

    writer: ShardWriter
    group: Sequence[int]
    files: Sequence[str]
    pieces: Pieces
    keys: Sequence[str]
    handed: Path

    def __call__(self) -> None:
        from export.qnn import lower, lower_alike

        writer = self.writer
        soc, share = writer.soc, writer.made_for.shared_weights
        if writer.calls is not None:
            (index,) = self.group
            integers = self.quantisation(index, writer.calls)
            methods = {
                name: (part.module.eval(), integers.calls[name][0]) for name, part in writer.shards[index].parts.items()
            }
            self.keep(index, lower(methods, soc, share, integers), told(integers))
            return
        missing = [index for index in self.group if self.pieces.find(self.keys[index], ShardRecord) is None]
        several = [methods_of(plainly_named(writer.shards[index])) for index in missing]
        programs = lower_alike(several, soc, share) if len(several) > 1 else (lower(one, soc, share) for one in several)
        for index, compiled in zip(missing, programs, strict=True):
            self.keep(index, compiled, {})

    def keep(self, index: int, compiled: "Compiled", plan: dict[str, Any]) -> None:
        """Put a compiled shard into the cache."""
        parts, file = self.writer.shards[index].parts, self.files[index]
        with TemporaryDirectory(prefix="dreamlite-shard-") as scratch:
            path = Path(scratch) / file
            with path.open("wb") as stream:
                compiled.write(stream)
            record = ShardRecord(
                delegates={name: Delegates(count=report.delegates) for name, report in compiled.reports.items()},
                traffic=compiled.traffic,
                plan=plan,
                codes={name: named(parts[name].method, *codes) for name, codes in compiled.codes.items()},
                files={file: FileEntry(bytes=path.stat().st_size, sha256=sha256_file(path))},
            )
            self.pieces.add(self.keys[index], path.parent, record)

    def quantisation(self, index: int, calls: Calls) -> "Quantisation":
        """The shard's own plan, and what it was given in calibration; its weights are rounded in place."""
        from export.outliers import activations
        from export.qnn import Quantisation
        from export.qnn_plan import planned

        spec, parts = self.writer.spec, self.writer.shards[index].parts
        given = {
            name: ShardCalls(self.handed, name, spec.methods[name], calls[name], part.method)
            for name, part in parts.items()
        }
        modules = {name: part.module for name, part in parts.items()}
        seen = activations(modules, given)
        plan = planned(
            spec.name, self.writer.precision, modules, given, parts=len(self.writer.shards), given=Results(given)
        )
        met = {name: (marks(part.method.inputs), marks(part.method.outputs)) for name, part in parts.items()}
        spans = {
            name: [span if is_met else None for span, is_met in zip(given[name].spans(), met[name][1], strict=True)]
            for name in parts
        }
        return Quantisation(plan, given, seen, met, spans)


def told(integers: "Quantisation") -> dict[str, Any]:
    """Which bits a component or a shard has, and its layers' largest numbers, for its plan file.

    What loses nothing at all, as where every layer kept its own weights, keeps None dB: JSON has no infinity.
    """

    def own(name: str) -> str:
        return name.removeprefix(IN_SHARD)

    plan = integers.plan
    plan = replace(plan, narrow=tuple(map(own, plan.narrow)), wide=tuple(map(own, plan.wide)))
    kept = {key: None if value == inf else value for key, value in asdict(plan).items()}
    return kept | {"activations": [asdict(replace(one, layer=own(one.layer))) for one in integers.activations]}


def told_together(plans: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The plan of a component of its shards' plans; `weights_db` is that of the worst shard that loses anything,
    `shards` has each one's."""
    together = {key: [one for plan in plans for one in plan[key]] for key in ("narrow", "wide", "short", "activations")}
    kept = [plan["weights_db"] for plan in plans]
    worst = min((decibels for decibels in kept if decibels is not None), default=None)
    return {**plans[0], **together, "weights_db": worst, "shards": kept}


def methods_of(shard: Shard) -> dict[str, tuple[nn.Module, Inputs]]:
    """What is compiled in fp16, with inputs to trace it by."""
    return {name: (part.module.eval(), seeded(part.method.inputs)) for name, part in shard.parts.items()}


def work_of(group: Sequence[Shard]) -> float:
    """How long compiling takes that traces one for all, in operators of a shard that is traced."""
    return operators(group[0]) * (1 + COMPILING * (len(group) - 1))


def operators(shard: Shard) -> float:
    """Operators of a shard's methods, which is what compiling takes time for."""
    modules = [module for part in shard.parts.values() for module in part.module.modules()]
    return float(sum(len(module.graph.nodes) for module in modules if isinstance(module, GraphModule)))


def seeded(inputs: tuple[TensorSpec, ...]) -> tuple[torch.Tensor, ...]:
    """Inputs of the right shape and dtype; fp16 compilation looks at nothing else."""
    source = torch.Generator().manual_seed(0)
    return tuple(torch.randn(spec.shape, generator=source).to(getattr(torch, spec.dtype)) for spec in inputs)


def named(method: MethodSpec, taken: Sequence[Code | None], given: Sequence[Code | None]) -> dict[str, Code]:
    """By name, what the codes stand for that a method takes and gives."""
    specs = (*method.inputs, *method.outputs)
    return {spec.name: code for spec, code in zip(specs, (*taken, *given), strict=True) if code is not None}


def check_codes(component: str, records: Sequence[ShardRecord]) -> None:
    """Refuse (ExportError) shards of which one takes a code for another number than the one before it gave it for."""
    known: dict[tuple[str, str], Code] = {}
    for index, record in enumerate(records, 1):
        for method, codes in record.codes.items():
            for value, (scale, zero) in codes.items():
                first_scale, first_zero = known.setdefault((method, value), (scale, zero))
                if abs(scale / first_scale - 1) > SAME_SCALE or abs(zero - first_zero) > 1:
                    raise ExportError(
                        f"{component}.{method}: shard {index} takes '{value}' in steps of {scale:g} from {zero}, it is "
                        f"given in steps of {first_scale:g} from {first_zero}; cut it elsewhere (--shards)"
                    )


def described(
    spec: ComponentSpec, shards: Sequence[Shard], files: Sequence[str], records: Sequence[ShardRecord]
) -> Written:
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
