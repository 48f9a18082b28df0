"""The backends an export can choose: the form they want, the precisions they know, and how they write a component."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from dreamlite_mobile.bundle_schema import Delegates
from dreamlite_mobile.components import COMPONENTS, ComponentSpec, MethodSpec, sample_inputs
from dreamlite_mobile.errors import ConfigError, unknown_name
from dreamlite_mobile.networks.form import FORMS, Form
from export.precision import LINEAR

SAMPLE_SEED = 0


@dataclass(frozen=True, slots=True)
class Written:
    """What was written for one component: its files, each method's program, and how it was cut."""

    files: tuple[str, ...]
    method_files: dict[str, str]
    delegates: dict[str, Delegates] = field(default_factory=dict)


class Exporter(Protocol):
    """One backend. `precisions` lists what it can do, by component."""

    form: Form
    precisions: Mapping[str, tuple[str, ...]]

    def write(self, spec: ComponentSpec, modules: Mapping[str, nn.Module], precision: str, folder: Path) -> Written: ...


class XnnpackExporter:
    """ExecuTorch .pte for the CPU: one file per component, its methods sharing their weights."""

    form = FORMS["xnnpack"]
    precisions: Mapping[str, tuple[str, ...]] = {
        name: ("fp32", *(("w8",) if name in LINEAR else ()), *(("w4",) if name == "text_encoder" else ()))
        for name in COMPONENTS
    }

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
    precisions: Mapping[str, tuple[str, ...]] = dict.fromkeys(COMPONENTS, ("fp32",))

    def write(self, spec: ComponentSpec, modules: Mapping[str, nn.Module], precision: str, folder: Path) -> Written:
        """Write a graph per method and one data file."""
        from export.onnx import export_onnx

        assert precision == "fp32"
        files = export_onnx(spec.name, modules, spec.methods, folder)
        return Written(files.all, files.methods)


def exporter(backend: str) -> Exporter:
    """The named backend; ConfigError listing the known ones otherwise."""
    known: dict[str, Callable[[], Exporter]] = {"xnnpack": XnnpackExporter, "onnx": OnnxExporter}
    if backend not in known:
        raise ConfigError(f"--backend: {unknown_name('backend', backend, known)}")
    return known[backend]()


def example_inputs(method: MethodSpec) -> tuple[torch.Tensor, ...]:
    """Seeded inputs in the order of the graph."""
    samples = sample_inputs(method, SAMPLE_SEED)
    return tuple(torch.from_numpy(samples[spec.name]) for spec in method.inputs)
