"""The backends an export can choose: the precisions they know, and how they write a component.

Which form a component has is `networks.form.form_of`'s to say.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import nn

from dreamlite_mobile.bundle_programs import Delegates, ShardEntry, Traffic
from dreamlite_mobile.bundle_schema import CoreMLEntry, HtpEntry, Needs, ToolVersions
from dreamlite_mobile.checkpoint import Filled
from dreamlite_mobile.components import COMPONENTS, ComponentSpec, MethodSpec, sample_inputs
from dreamlite_mobile.errors import ConfigError, unknown_name
from dreamlite_mobile.networks.form import LONGEST_AXIS
from dreamlite_mobile.progress import Tell, silent
from export.precision import LINEAR

if TYPE_CHECKING:
    from export.calibration import Calibration
    from export.qnn_score import ScoreJudge
    from export.workers import Limits

SAMPLE_SEED = 0
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Written:
    """What was written for one component: its files, each method's program, how it was cut, what it moves.

    `then`: the programs that follow a method's first one. `shards`: what they take and give, if they do not say it.
    `documents`: files for people.
    """

    files: tuple[str, ...]
    method_files: dict[str, str]
    delegates: dict[str, Delegates] = field(default_factory=dict)
    traffic: dict[str, Traffic] = field(default_factory=dict)
    then: dict[str, tuple[str, ...]] = field(default_factory=dict)
    shards: dict[str, tuple[ShardEntry, ...]] = field(default_factory=dict)
    documents: tuple[str, ...] = ()


class Exporter(Protocol):
    """One backend. `precisions` lists what it can do, by component, its usual one first.

    `target`: what its programs run on; `needs`: runtimes that must match; `htp`: the chip, if they are for one;
    `coreml`: how packages were made, if they are Core ML's. `calibrated`: precisions that need `calibration` to be set;
    `reads_first`: a text tower of any precision needs at least its own calls there.
    `tell`: hears of parts of a component that are done. `has_workers`: starts workers of its own for one component.
    """

    precisions: Mapping[str, tuple[str, ...]]
    target: str
    calibrated: tuple[str, ...]
    reads_first: bool
    calibration: "Calibration | None"
    tell: "Tell"
    has_workers: bool

    @property
    def htp(self) -> HtpEntry | None: ...
    @property
    def coreml(self) -> CoreMLEntry | None: ...
    def needs(self, tools: ToolVersions) -> Needs: ...

    def write(self, spec: ComponentSpec, modules: Mapping[str, nn.Module], precision: str, folder: Path) -> Written: ...


@runtime_checkable
class Streaming(Protocol):
    """A backend that gives layers their final form while a checkpoint is read, before the next one is."""

    def preparing(self, component: str, precision: str) -> Callable[[nn.Module], Filled]: ...


@runtime_checkable
class Judging(Protocol):
    """A backend whose plans the score may decide about."""

    judge: "ScoreJudge | None"


class XnnpackExporter:
    """ExecuTorch .pte for the CPU: one file per component, its methods sharing their weights."""

    target = "cpu"
    htp = None
    calibrated: tuple[str, ...] = ()
    reads_first = False
    calibration: "Calibration | None" = None
    tell: "Tell" = staticmethod(silent)
    has_workers = False
    coreml = None
    precisions: Mapping[str, tuple[str, ...]] = {
        name: ("fp32", *(("w8",) if name in LINEAR else ()), *(("w4",) if name == "text_encoder" else ()))
        for name in COMPONENTS
    }

    def needs(self, tools: ToolVersions) -> Needs:
        return Needs(executorch=tools.executorch)

    def preparing(self, component: str, precision: str) -> Callable[[nn.Module], Filled]:
        """Quantises each layer while the checkpoint is read (see `export.quantize.quantiser`)."""
        from export.quantize import quantiser

        return quantiser(component, precision)

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

    target = "cpu"
    htp = None
    calibrated: tuple[str, ...] = ()
    reads_first = False
    calibration: "Calibration | None" = None
    tell: "Tell" = staticmethod(silent)
    has_workers = False
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


class CoreMLExporter:
    """Core ML packages for iOS 18: one per component (or several, by the limit), its methods sharing their weights.

    `package_mb`: most megabytes of weights in one package.
    """

    target = "ios"
    htp = None
    calibrated: tuple[str, ...] = ()
    reads_first = False
    calibration: "Calibration | None" = None
    tell: "Tell" = staticmethod(silent)
    has_workers = False
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
        from export.coreml import beyond_engine, write_packages

        made = write_packages(spec, modules, precision, folder, self.coreml.package_limit_bytes)
        long = beyond_engine(made, folder, LONGEST_AXIS)
        if long:
            self.tell(
                f"{len(long)} results have an axis of more than {LONGEST_AXIS:,}, which the Neural Engine does not "
                f"take, so the CPU computes them; the first is {long[0]}. A smaller --size has shorter ones."
            )
        return Written(
            made.files,
            {name: programs[0] for name, programs in made.programs.items()},
            then={name: programs[1:] for name, programs in made.programs.items()},
        )


@dataclass(frozen=True, slots=True)
class Cutting:
    """How components are cut, and lowered in workers. None: what suits the component and this machine.

    `shards`: of each HTP component that has places to be cut. `jobs`: shards or components lowered at a time.
    `max_memory`: bytes that the exporter and its workers may hold together. `cache`: a folder where finished shards are
    kept.
    """

    shards: int | None = None
    jobs: int | None = None
    max_memory: int | None = None
    cache: Path | None = None

    @property
    def limits(self) -> "Limits | None":
        """Of workers, if anything was said about them: without, components are lowered one by one in this process."""
        if self.jobs is None and self.max_memory is None:
            return None
        from export.workers import Limits

        return Limits.of_machine(self.jobs, self.max_memory)


def exporter(
    backend: str,
    soc: str | None = None,
    emulator: bool = False,
    package_mb: int | None = None,
    cutting: Cutting | None = None,
) -> Exporter:
    """The named backend; ConfigError listing the known ones otherwise, or for an option of another one."""

    def qnn() -> Exporter:
        from export.htp import QnnExporter

        return QnnExporter(soc, emulator, cutting or Cutting())

    known: dict[str, Callable[[], Exporter]] = {
        "xnnpack": XnnpackExporter,
        "onnx": OnnxExporter,
        "qnn": qnn,
        "coreml": lambda: CoreMLExporter(package_mb),
    }
    if backend not in known:
        raise ConfigError(f"--backend: {unknown_name('backend', backend, known)}")
    if emulator and backend != "qnn":
        raise ConfigError(f"--emulator: {backend} files run here as they are; leave it out, or take --backend qnn")
    if soc is not None and backend != "qnn":
        raise ConfigError(f"--soc {soc}: {backend} files are for every chip; leave it out, or take --backend qnn")
    if cutting is not None and cutting.shards is not None and backend != "qnn":
        raise ConfigError(f"--shards {cutting.shards}: {backend} files are not cut into shards; leave it out")
    if cutting is not None and cutting.jobs is not None and cutting.jobs < 1:
        raise ConfigError(f"--jobs {cutting.jobs}: expected 1 or more; the number of cores is the default")
    if package_mb is not None and backend != "coreml":
        raise ConfigError(f"--package-mb {package_mb}: {backend} files are not cut; leave it out")
    return known[backend]()


def example_inputs(method: MethodSpec) -> tuple[torch.Tensor, ...]:
    """Seeded inputs in the order of the graph."""
    samples = sample_inputs(method, SAMPLE_SEED)
    return tuple(torch.from_numpy(samples[spec.name]) for spec in method.inputs)
