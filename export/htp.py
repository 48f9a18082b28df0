"""HTP components: planned, cut into shards, compiled (several at a time, or found in a cache), described."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from dreamlite_mobile.bundle_programs import Delegates
from dreamlite_mobile.bundle_schema import CalibrationEntry, HtpEntry, Needs, ToolVersions
from dreamlite_mobile.components import COMPONENTS, ComponentSpec
from dreamlite_mobile.errors import ConfigError, ExportError
from dreamlite_mobile.progress import Tell, silent
from export.backends import Cutting, Written, example_inputs
from export.htp_shards import ShardWriter, told, told_together
from export.precision import WIDTHS
from export.shards import Shard, cut_component, shard_room
from export.targets import DEFAULT_SOC, TARGETS, target
from export.workers import apart

if TYPE_CHECKING:
    from export.calibration import Calibration
    from export.qnn import Quantisation
    from export.qnn_score import ScoreJudge

FP16_BYTES = 2.0


class QnnExporter:
    """ExecuTorch .pte for the HTP of one Snapdragon: one file per shard, its methods sharing their weights.

    With `emulator`, each method has its own, since the HTP emulator of the host loads no shared ones.
    """

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
            inf if self.cutting.max_memory is None else shard_room(self.cutting.max_memory, integers),
            codes=integers,
        )
        whole = partial(self.write_whole, spec, modules, precision, folder)
        if len(shards) > 1:
            written = self.write_shards(spec, modules, shards, precision, folder)
        else:
            written = whole() if self.cutting.limits is None else apart(spec.name, whole, self.cutting.limits)
        return replace(written, documents=(*documents, *written.documents))

    def write_range(self, spec: ComponentSpec, modules: Mapping[str, nn.Module], folder: Path) -> tuple[str, ...]:
        """Divide what fp16 could not hold of the text tower's numbers, in place, and write down what was done."""
        if spec.name != "text_encoder" or self.calibration is None:
            return ()
        from export.fp16_range import keep_in_range

        found = keep_in_range(modules, self.calibration.calls_of(spec))
        plan = {"component": spec.name, "precision": "fp16"} | asdict(found) | {"divisors": found.divisors}
        return (write_plan(folder, spec.name, plan),)

    def write_whole(
        self, spec: ComponentSpec, modules: Mapping[str, nn.Module], precision: str, folder: Path
    ) -> Written:
        """One program with all methods."""
        from export.qnn import lower

        file = f"{spec.name}.pte"
        integers = None if precision == "fp16" else self.quantisation(spec, modules, precision)
        documents: tuple[str, ...] = ()
        if integers is not None:
            documents = (write_plan(folder, spec.name, told(integers)),)
        methods = {name: (modules[name], example_inputs(method)) for name, method in spec.methods.items()}
        compiled = lower(methods, self.soc, self.htp.shared_weights, integers)
        with (folder / file).open("wb") as stream:
            compiled.write(stream)
        delegates = {name: Delegates(count=report.delegates) for name, report in compiled.reports.items()}
        return Written((file,), dict.fromkeys(spec.methods, file), delegates, compiled.traffic, documents=documents)

    def write_shards(
        self, spec: ComponentSpec, modules: Mapping[str, nn.Module], shards: list[Shard], precision: str, folder: Path
    ) -> Written:
        """Several programs; integers are planned shard by shard.

        Raises:
            ExportError: a precision whose plan needs the whole component.
        """
        made = partial(ShardWriter, spec, shards, self.soc, self.made_for, self.cutting, precision, self.tell)
        if precision == "fp16":
            return made().write(folder)[0]
        if WIDTHS[precision].short_db is not None:
            raise ExportError(
                f"{spec.name}: {precision} in {len(shards)} shards is not supported; take one (--shards 1), or "
                "--precision w8a16"
            )
        from export.qnn_plan import layers_of

        known = self.calibrated_for(spec, precision)
        written, plans = made(known.calls_of(spec), known.sha256, layers_of(modules).keys()).write(folder)
        return replace(written, documents=(write_plan(folder, spec.name, told_together(plans)),))

    def calibrated_for(self, spec: ComponentSpec, precision: str) -> "Calibration":
        """The calibration that a component in integers needs.

        Raises:
            ExportError: no calibration, as where one block of a bundle is exported alone.
        """
        if self.calibration is None:
            raise ExportError(
                f"{spec.name}: {precision} needs ranges from the calibration of a whole export, which a part has not; "
                "look for the block in an fp16 bundle of the same checkpoint"
            )
        return self.calibration

    def quantisation(self, spec: ComponentSpec, modules: Mapping[str, nn.Module], precision: str) -> "Quantisation":
        """The plan of a component and its calibration calls; its weights are rounded in place."""
        from export.outliers import activations
        from export.qnn import Quantisation
        from export.qnn_plan import planned

        calls = self.calibrated_for(spec, precision).calls_of(spec)
        seen = activations(modules, calls)
        judge = None if self.judge is None else partial(self.judge.verdict, spec.name, precision, modules)
        return Quantisation(planned(spec.name, precision, modules, calls, judge=judge), calls, seen)


def plan_file(component: str) -> str:
    """Where a bundle keeps which bits a component's weights have."""
    return f"{component}.plan.json"


def write_plan(folder: Path, component: str, plan: Mapping[str, Any]) -> str:
    """Write a component's plan; gives the file's name."""
    (folder / plan_file(component)).write_text(json.dumps(plan, indent=1) + "\n")
    return plan_file(component)
