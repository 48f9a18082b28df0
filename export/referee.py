"""The independent referee: a checkpoint's components in ONNX, run by onnxruntime."""

from collections.abc import Mapping
from pathlib import Path

from dreamlite_mobile.assembly import component_methods
from dreamlite_mobile.checkpoint import Checkpoint
from dreamlite_mobile.components import ComponentSpec, Geometry
from dreamlite_mobile.networks.form import ONNX
from dreamlite_mobile.runtime import Component
from dreamlite_mobile.runtime.onnx import OnnxComponent
from export.onnx import export_onnx


def referee_component(
    checkpoint: Checkpoint, spec: ComponentSpec, geometry: Geometry, folder: Path, threads: int | None = None
) -> Component:
    """Export one component into `folder` and open it. ExportError when it cannot be exported."""
    modules = component_methods(checkpoint, spec.name, ONNX, geometry, list(spec.methods))
    files = export_onnx(spec.name, modules, spec.methods, folder)
    paths: Mapping[str, Path] = {method: folder / file for method, file in files.methods.items()}
    return OnnxComponent(paths, spec.methods, name=spec.name, threads=threads)
