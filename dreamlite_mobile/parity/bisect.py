"""Where a component of a bundle departs from torch: block by block alone, and through the network up to each block.

Alone: each block, exported by the bundle's backend in its form and precision, on the inputs it has in float32 torch.
Cumulative: the shipped program itself with the values after each block as more outputs, where its file can be opened
(XNNPACK, ONNX); elsewhere the network exported again with these outputs. Shipped constants are held to fresh ones.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from dreamlite_mobile.bundle import Bundle
from dreamlite_mobile.bundle_programs import ComponentEntry
from dreamlite_mobile.components import ComponentSpec
from dreamlite_mobile.errors import BundleError, ConfigError, ExportError, ParityError, unknown_name
from dreamlite_mobile.files import sha256_file
from dreamlite_mobile.parity.block_bundle import export_module, run_module
from dreamlite_mobile.parity.blocks import (
    BLOCK,
    Alone,
    Call,
    Tapped,
    block_outputs,
    named_blocks,
    record_calls,
    tap_names,
    tapped_spec,
    within,
)
from dreamlite_mobile.parity.metrics import Metrics, compare
from dreamlite_mobile.parity.rows import digest
from dreamlite_mobile.parity.run import Case
from dreamlite_mobile.parity.thresholds import floor
from dreamlite_mobile.progress import Tell, silent
from dreamlite_mobile.runtime import Array

if TYPE_CHECKING:
    from export.probe import Difference, Probe, Seen

SHIPPED, AGAIN, UNSEEN = "shipped file", "exported again", "not looked at"


@dataclass(frozen=True, slots=True)
class Found:
    """One block. `alone`: by itself, exported afresh; `shipped`: by itself with the shipped constants, where they
    differ; `cumulative`: at its end in the whole network. None where it could not be measured; `problem` says why."""

    name: str
    kind: str
    alone: Metrics | None = None
    shipped: Metrics | None = None
    cumulative: Metrics | None = None
    differences: tuple[str, ...] = ()
    problem: str | None = None
    seconds: float = 0.0

    @property
    def by_itself(self) -> Metrics | None:
        """The block alone, as shipped where that is known to differ."""
        return self.shipped or self.alone

    @property
    def said(self) -> tuple[str, ...]:
        """What is to be told of it in words."""
        return self.differences if self.problem is None else (*self.differences, self.problem)


@dataclass(frozen=True, slots=True)
class Bisection:
    """Every block in the order they run, and what could not be said. `source`: which program the cumulative run ran."""

    backend: str
    component: str
    method: str
    precision: str
    origin: str
    input_digest: str
    floor_db: float
    source: str
    blocks: tuple[Found, ...]
    whole: Metrics
    elsewhere: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def left_out(self) -> int:
        """Blocks that were not run by themselves because they were not asked for."""
        return sum(block.by_itself is None and block.problem is None for block in self.blocks)

    @property
    def first(self) -> Found | None:
        """The first block whose end is below the floor in the whole network."""
        return next((block for block in self.blocks if below(block.cumulative, self.floor_db)), None)

    @property
    def worst(self) -> Found | None:
        """The block that is worst by itself."""
        measured = [block for block in self.blocks if block.by_itself is not None]
        return min(measured, key=lambda block: quality(block.by_itself), default=None)

    @property
    def culprit(self) -> Found | None:
        """The block to look at: the worst by itself if it is below the floor, one that could not be exported, one
        whose constants differ, else the first one below the floor in a network whose output is below it too: in the
        middle of a sound quantised network, values may lie a little lower than what comes of them."""
        if self.worst is not None and below(self.worst.by_itself, self.floor_db):
            return self.worst
        for blocks in (
            [block for block in self.blocks if block.problem],
            [block for block in self.blocks if block.differences],
        ):
            if blocks:
                return blocks[0]
        return self.first if below(self.whole, self.floor_db) else None


@dataclass(slots=True)
class Bench:
    """What a bisection works on: a bundle's component in torch, in the backend's form, and one input.

    `formed` builds it anew, for the shipped precision is put into it in place. `programs`: blocks exported so far.
    """

    bundle: Bundle
    spec: ComponentSpec
    case: Case
    reference: nn.Module
    formed: Callable[[], nn.Module]
    work: Path
    notify: Tell = silent
    programs: dict[str, Bundle] = field(default_factory=dict)
    _built: nn.Module | None = None
    _calls: list[Call] | None = None

    @property
    def entry(self) -> ComponentEntry:
        return self.bundle.component(self.case.component)

    @property
    def inputs(self) -> tuple[torch.Tensor, ...]:
        """The case's inputs in the order of the graph."""
        return tuple(torch.tensor(self.case.inputs[spec.name]) for spec in self.spec.methods[self.case.method].inputs)

    @property
    def calls(self) -> list[Call]:
        """The blocks' calls in float32 torch, in the order they happen."""
        if self._calls is None:
            self._calls = record_calls(self.reference, self.inputs)
        return self._calls

    def block(self, name: str) -> nn.Module:
        """A block of the network in the backend's form."""
        if self._built is None:
            self._built = self.formed()
        return self._built.get_submodule(name)


def bisect(bench: Bench, only: str | None = None, network: bool = True) -> Bisection:
    """Walk the blocks; with `only`, export alone just those whose names start so.

    Without `network` the whole is not exported again to look inside: a backend whose files cannot be opened then tells
    of blocks alone and of the shipped program's outputs.

    Raises:
        ConfigError: `only` names no block. BundleError: a bundle that cannot run here. ExportError: a network that
            cannot be exported again.
    """
    case, entry = bench.case, bench.entry
    check_only(only, [name for name, _ in named_blocks(bench.reference)])
    calls = bench.calls
    limit = floor(entry.precision, bench.bundle.manifest.backend).component_snr_db
    probe, notes = opened(bench)
    differences = [] if probe is None else probe.differences()
    placed, elsewhere = by_block(differences, [call.name for call in calls])
    bench.notify("the whole network")
    ends, whole, source = cumulative(bench, calls, probe, network)
    notes += file_notes(bench)
    blocks = []
    for call in calls:
        bench.notify(call.name)
        wanted = only is None or call.name.startswith(only)
        found = alone(bench, call, probe if placed.get(call.name) else None) if wanted else Found(call.name, call.kind)
        blocks.append(replace(found, cumulative=ends.get(call.name), differences=tuple(placed.get(call.name, ()))))
    return Bisection(
        backend=bench.bundle.manifest.backend,
        component=case.component,
        method=case.method,
        precision=entry.precision,
        origin=case.origin,
        input_digest=digest(case.inputs),
        floor_db=limit,
        source=source,
        blocks=tuple(blocks),
        whole=whole,
        elsewhere=elsewhere,
        notes=notes,
    )


def check_only(only: str | None, names: Sequence[str]) -> None:
    """ConfigError listing the blocks when `only` is the beginning of none of their names."""
    if only is not None and not any(name.startswith(only) for name in names):
        raise ConfigError(f"--only: {unknown_name('block', only, names)}")


def opened(bench: Bench) -> "tuple[Probe | None, tuple[str, ...]]":
    """The shipped program, opened beside a fresh lowering; None, and why, where that cannot be."""
    from export.probe import Subject, probe_of

    bench.notify("the shipped file")
    lost = "a fault in the shipped file alone shows in its outputs, and cannot be placed in a block"
    try:
        probe = probe_of(Subject(bench.bundle, bench.case.component, bench.case.method, bench.spec, bench.formed()))
    except BundleError as error:
        return None, (f"{error}: {lost}",)
    return probe, () if probe is not None else (f"{bench.bundle.manifest.backend} programs cannot be opened: {lost}",)


def file_notes(bench: Bench) -> tuple[str, ...]:
    """What is known of the files without opening them: other digests than the manifest's, other tools than here."""
    from export.manifest import tool_versions

    manifest = bench.bundle.manifest
    notes = [
        f"{file} is not the file that the manifest lists: its sha256 differs"
        for file in bench.entry.files
        if sha256_file(bench.bundle.file(file)) != manifest.files[file].sha256
    ]
    if manifest.tools != tool_versions():
        notes.append("the bundle was made with other tools than those here: what differs may be their doing")
    return tuple(notes)


def by_block(differences: "list[Difference]", names: list[str]) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """Differences by the block they stand in, and those that stand in none."""
    placed: dict[str, list[str]] = {}
    elsewhere = []
    for difference in differences:
        text = f"{difference.where}: {difference.what}"
        owner = next((name for name in names if within(difference.where, name)), None)
        if owner is None:
            elsewhere.append(text)
        else:
            placed.setdefault(owner, []).append(text)
    return placed, tuple(elsewhere)


def cumulative(
    bench: Bench, calls: list[Call], probe: "Probe | None", network: bool
) -> tuple[dict[str, Metrics], Metrics, str]:
    """The end of every block in the whole network; the shipped program's worst output; which program was opened.

    With neither a probe nor `network`, no end is known.
    """
    from export.probe import Seen

    method = bench.spec.methods[bench.case.method]
    names = [spec.name for spec in method.outputs]
    with torch.inference_mode():
        found = bench.reference(*bench.inputs)
    wanted = dict(zip(names, found if isinstance(found, tuple) else (found,), strict=True))
    if probe is not None:
        values = probe.values({call.name: tuple(call.output.shape) for call in calls}, bench.case.inputs)
        values |= {call.name: values[names[call.result]] for call in calls if call.result is not None}
        results = {name: values[name].array for name in names}
        return ends_of(calls, values), worst_output(results, wanted), SHIPPED
    again = run_again(bench, calls) if network else {}
    outputs = run_module(bench.bundle, bench.case.component, bench.case.inputs, bench.case.method)
    ends = ends_of(calls, {name: Seen(array) for name, array in again.items()})
    return ends, worst_output(outputs, wanted), AGAIN if network else UNSEEN


def worst_output(values: Mapping[str, Array], wanted: Mapping[str, torch.Tensor]) -> Metrics:
    """The network's output that is farthest from torch."""
    return min((compare(values[name], tensor.numpy()) for name, tensor in wanted.items()), key=quality)


def ends_of(calls: list[Call], values: "Mapping[str, Seen]") -> dict[str, Metrics]:
    """Each block's end against torch, where the backend still has that value."""
    return {
        call.name: compare(seen.array, call.output.numpy().clip(seen.low, seen.high))
        for call in calls
        if (seen := values.get(call.name)) is not None
    }


def run_again(bench: Bench, calls: list[Call]) -> dict[str, Array]:
    """The network exported again by the backend with every block's output as one of its own, and run."""
    method = bench.spec.methods[bench.case.method]
    spec = tapped_spec(bench.case.component, method, calls)
    module = Tapped(bench.formed(), tap_names(calls)).eval()
    bundle = export_module(bench.bundle, spec, module, bench.entry.precision, bench.work / "whole network")
    return block_outputs(calls, method, run_module(bundle, spec.name, bench.case.inputs))


def alone(bench: Bench, call: Call, probe: "Probe | None") -> Found:
    """One block by itself; with a probe, also with the constants that the bundle ships for it."""
    begin = time.perf_counter()
    folder = bench.work / call.name
    module = Alone(call.name, bench.block(call.name), call.arguments).eval()
    found = Found(call.name, call.kind)
    try:
        bundle = export_module(bench.bundle, call.spec, module, bench.entry.precision, folder)
        bench.programs[call.name] = bundle
        found = replace(found, alone=measured(bundle, call))
        if probe is not None and probe.transplant(folder, call.name):
            found = replace(found, shipped=measured(bundle, call))
    except (ExportError, BundleError, ParityError) as error:
        found = replace(found, problem=str(error))
    return replace(found, seconds=time.perf_counter() - begin)


def measured(bundle: Bundle, call: Call) -> Metrics:
    """A block's program against torch."""
    return compare(run_module(bundle, BLOCK, call.inputs)["output"], call.output.numpy())


def quality(metrics: Metrics | None) -> float:
    """SNR in dB, with a defect below everything."""
    if metrics is None:
        return float("inf")
    return float("-inf") if metrics.defects else metrics.snr_db


def below(metrics: Metrics | None, limit: float) -> bool:
    """Whether something was measured and falls short, or has a defect."""
    return metrics is not None and not quality(metrics) >= limit
