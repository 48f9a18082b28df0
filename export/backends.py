"""The backends an export can choose: the form they want, the precisions they know, and how they write a component."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import nn

from dreamlite_mobile.bundle_schema import (
    CalibrationEntry,
    CoreMLEntry,
    Delegates,
    HtpEntry,
    Needs,
    ToolVersions,
    Traffic,
)
from dreamlite_mobile.components import COMPONENTS, ComponentSpec, MethodSpec, sample_inputs
from dreamlite_mobile.errors import ConfigError, ExportError, unknown_name
from dreamlite_mobile.networks.form import FORMS, Form
from export.precision import INTEGERS, LINEAR
from export.targets import DEFAULT_SOC, TARGETS, target

if TYPE_CHECKING:
    from export.calibration import Calibration
    from export.qnn import Quantisation

SAMPLE_SEED = 0
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Written:
    """What was written for one component: its files, each method's program, how it was cut, what it moves.

    `then`: the programs that follow a method's first one. `documents`: files for people.
    """

    files: tuple[str, ...]
    method_files: dict[str, str]
    delegates: dict[str, Delegates] = field(default_factory=dict)
    traffic: dict[str, Traffic] = field(default_factory=dict)
    then: dict[str, tuple[str, ...]] = field(default_factory=dict)
    documents: tuple[str, ...] = ()


class Exporter(Protocol):
    """One backend. `precisions` lists what it can do, by component, its usual one first.

    `target`: what its programs run on; `needs`: runtimes that must match; `htp`: the chip, if they are for one;
    `coreml`: how packages were made, if they are Core ML's. `calibrated`: precisions that need `calibration` to be set.
    """

    form: Form
    precisions: Mapping[str, tuple[str, ...]]
    target: str
    calibrated: tuple[str, ...]
    calibration: "Calibration | None"

    @property
    def htp(self) -> HtpEntry | None: ...
    @property
    def coreml(self) -> CoreMLEntry | None: ...
    def needs(self, tools: ToolVersions) -> Needs: ...

    def write(self, spec: ComponentSpec, modules: Mapping[str, nn.Module], precision: str, folder: Path) -> Written: ...


class XnnpackExporter:
    """ExecuTorch .pte for the CPU: one file per component, its methods sharing their weights."""

    form = FORMS["xnnpack"]
    target = "cpu"
    htp = None
    calibrated: tuple[str, ...] = ()
    calibration: "Calibration | None" = None
    coreml = None
    precisions: Mapping[str, tuple[str, ...]] = {
        name: ("fp32", *(("w8",) if name in LINEAR else ()), *(("w4",) if name == "text_encoder" else ()))
        for name in COMPONENTS
    }

    def needs(self, tools: ToolVersions) -> Needs:
        return Needs(executorch=tools.executorch)

    def write(self, spec: ComponentSpec, modules: Mapping[str, nn.Module], precision: str, folder: Path) -> Written:
        """Lower all methods together into `<component>.pte`."""
        from export.xnnpack import lower

        file = f"{spec.name}.pte"
        methods = {name: (modules[name], example_inputs(method)) for name, method in spec.methods.items()}
        lowered = lower(methods, precision)
        with (folder / file).open("wb") as stream:
            lowered.write(stream)
        delegates = {
            name: Delegates(count=report.delegates, operators_outside=tuple(report.outside))
            for name, report in lowered.reports.items()
        }
        return Written((file,), dict.fromkeys(spec.methods, file), delegates)


class OnnxExporter:
    """ONNX for onnxruntime: one graph per method, the weights of a component in one file beside them."""

    form = FORMS["onnx"]
    target = "cpu"
    htp = None
    calibrated: tuple[str, ...] = ()
    calibration: "Calibration | None" = None
    coreml = None
    precisions: Mapping[str, tuple[str, ...]] = dict.fromkeys(COMPONENTS, ("fp32",))

    def needs(self, tools: ToolVersions) -> Needs:
        return Needs(onnxruntime=tools.onnxruntime)

    def write(self, spec: ComponentSpec, modules: Mapping[str, nn.Module], precision: str, folder: Path) -> Written:
        """Write a graph per method and one data file."""
        from export.onnx import export_onnx

        assert precision == "fp32"
        files = export_onnx(spec.name, modules, spec.methods, folder)
        return Written(files.all, files.methods)


class QnnExporter:
    """ExecuTorch .pte for the HTP of one Snapdragon: one file per component, its methods sharing their weights.

    With `emulator`, each method has its own, since the HTP emulator of the host loads no shared ones.
    """

    form = FORMS["htp"]
    coreml = None
    calibrated: tuple[str, ...] = ("w8a16",)
    precisions: Mapping[str, tuple[str, ...]] = {
        name: ("fp16", *(("w8a16",) if name in INTEGERS else ())) for name in COMPONENTS
    }

    def __init__(self, soc: str | None, emulator: bool) -> None:
        from export.qnn_sdk import find_sdk

        self.soc = target(soc or DEFAULT_SOC)
        if not self.soc.fp16:
            raise ConfigError(
                f"--soc {self.soc.soc}: its HTP (V{self.soc.htp}) computes in integers only, and so far "
                "qnn files are fp16; supported: " + ", ".join(row.soc for row in TARGETS.values() if row.fp16)
            )
        self.sdk = find_sdk()
        self.target = self.soc.soc
        self.calibration: Calibration | None = None
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
        """The chip, and what ranges were calibrated on."""
        known = self.calibration
        if known is None:
            return self.made_for
        entry = CalibrationEntry(pictures=known.pictures, steps=known.steps, sha256=known.sha256)
        return self.made_for.model_copy(update={"calibration": entry})

    def needs(self, tools: ToolVersions) -> Needs:
        return Needs(executorch=tools.executorch, qnn=self.sdk.version)

    def write(self, spec: ComponentSpec, modules: Mapping[str, nn.Module], precision: str, folder: Path) -> Written:
        """Compile all methods together into `<component>.pte`; integers with their plan in `<component>.plan.json`."""
        from export.qnn import lower

        file = f"{spec.name}.pte"
        integers = None if precision == "fp16" else self.quantisation(spec, modules, precision)
        documents: tuple[str, ...] = ()
        if integers is not None:
            documents = (plan_file(spec.name),)
            (folder / documents[0]).write_text(json.dumps(asdict(integers.plan), indent=1) + "\n")
        methods = {name: (modules[name], example_inputs(method)) for name, method in spec.methods.items()}
        compiled = lower(methods, self.soc, self.htp.shared_weights, integers)
        with (folder / file).open("wb") as stream:
            compiled.write(stream)
        delegates = {name: Delegates(count=report.delegates) for name, report in compiled.reports.items()}
        return Written((file,), dict.fromkeys(spec.methods, file), delegates, compiled.traffic, documents=documents)

    def quantisation(self, spec: ComponentSpec, modules: Mapping[str, nn.Module], precision: str) -> "Quantisation":
        """The plan of a component and its calibration calls; its weights are rounded in place.

        Raises:
            ExportError: no calibration, as where one block of a bundle is exported alone.
        """
        from export.qnn import Quantisation
        from export.qnn_quantize import round_for, weight_plan

        if self.calibration is None:
            raise ExportError(
                f"{spec.name}: {precision} needs ranges from the calibration of a whole export, which a part has not; "
                "look for the block in an fp16 bundle of the same checkpoint"
            )
        plan = weight_plan(spec.name, precision, modules)
        calls = {name: self.calibration.calls[spec.name, name] for name in spec.methods}
        round_for(plan, modules, calls)
        return Quantisation(plan, calls)


class CoreMLExporter:
    """Core ML packages for iOS 18: one per component (or several, by the limit), its methods sharing their weights.

    `package_mb`: most megabytes of weights in one package.
    """

    form = FORMS["coreml"]
    target = "ios"
    htp = None
    calibrated: tuple[str, ...] = ()
    calibration: "Calibration | None" = None
    precisions: Mapping[str, tuple[str, ...]] = {
        name: (
            "fp16",
            *(("w8",) if name in LINEAR else ()),
            *(("p6", "p4") if name in ("text_encoder", "unet") else ()),
        )
        for name in COMPONENTS
    }

    def __init__(self, package_mb: int | None) -> None:
        from export.coreml import COMPUTE_UNITS, PACKAGE_LIMIT

        limit = PACKAGE_LIMIT if package_mb is None else package_mb * MEGABYTE
        if limit <= 0:
            raise ConfigError(f"--package-mb {package_mb}: expected a positive number, for instance 1000")
        self.coreml = CoreMLEntry(compute_units=COMPUTE_UNITS, package_limit_bytes=limit)

    def needs(self, _tools: ToolVersions) -> Needs:
        from export.coreml import IOS, MACOS

        return Needs(ios=IOS, macos=MACOS)

    def write(self, spec: ComponentSpec, modules: Mapping[str, nn.Module], precision: str, folder: Path) -> Written:
        """Convert all methods into `<component>.mlpackage`, or into as many as the limit asks for."""
        from export.coreml import write_packages

        made = write_packages(spec, modules, precision, folder, self.coreml.package_limit_bytes)
        return Written(
            made.files,
            {name: programs[0] for name, programs in made.programs.items()},
            then={name: programs[1:] for name, programs in made.programs.items()},
        )


def exporter(backend: str, soc: str | None = None, emulator: bool = False, package_mb: int | None = None) -> Exporter:
    """The named backend; ConfigError listing the known ones otherwise, or for an option of another one."""
    known: dict[str, Callable[[], Exporter]] = {
        "xnnpack": XnnpackExporter,
        "onnx": OnnxExporter,
        "qnn": lambda: QnnExporter(soc, emulator),
        "coreml": lambda: CoreMLExporter(package_mb),
    }
    if backend not in known:
        raise ConfigError(f"--backend: {unknown_name('backend', backend, known)}")
    if emulator and backend != "qnn":
        raise ConfigError(f"--emulator: {backend} files run here as they are; leave it out, or take --backend qnn")
    if soc is not None and backend != "qnn":
        raise ConfigError(f"--soc {soc}: {backend} files are for every chip; leave it out, or take --backend qnn")
    if package_mb is not None and backend != "coreml":
        raise ConfigError(f"--package-mb {package_mb}: {backend} files are not cut; leave it out")
    return known[backend]()


def plan_file(component: str) -> str:
    """Where a bundle keeps which bits a component's weights have."""
    return f"{component}.plan.json"


def example_inputs(method: MethodSpec) -> tuple[torch.Tensor, ...]:
    """Seeded inputs in the order of the graph."""
    samples = sample_inputs(method, SAMPLE_SEED)
    return tuple(torch.from_numpy(samples[spec.name]) for spec in method.inputs)
