"""Components in ONNX for onnxruntime: one `.onnx` per method, the weights of a component in one shared data file.

Opset 23 is the first with RMSNormalization and a GroupNormalization whose scale is per channel, and torch 2.13's
exporter writes both as one node (563 nodes for the tiny U-Net against 869 at opset 18); onnxruntime 1.32 runs it.
"""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import onnx
import onnx_ir as ir
import torch
from torch import nn

from dreamlite_mobile.components import MethodSpec, sample_inputs
from dreamlite_mobile.errors import ExportError
from export.tracing import trace_module

OPSET = 23
EXTERNAL_BYTES = 1024
"""Smaller constants stay inside the `.onnx`."""
_ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class OnnxFiles:
    """File names inside the folder: one model per method, and everything a copy must take along."""

    methods: dict[str, str]
    data: str

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.methods.values(), self.data)


def export_onnx(
    name: str, modules: Mapping[str, nn.Module], methods: Mapping[str, MethodSpec], folder: Path
) -> OnnxFiles:
    """Write `NAME.onnx` (or `NAME.METHOD.onnx` for several methods) and `NAME.onnx.data` into an existing folder.

    Tensors that several methods hold are stored once, whatever the exporter calls them. The same modules give the
    same bytes. One method is in memory at a time.

    Args:
        modules: evaluation modules by method, taking the spec's inputs in order and returning a tensor or a tuple.

    Raises:
        ExportError: a module that cannot be exported, or whose graph differs from the spec.
    """
    files = OnnxFiles(
        {method: f"{name}.onnx" if len(methods) == 1 else f"{name}.{method}.onnx" for method in methods},
        f"{name}.onnx.data",
    )
    with (folder / files.data).open("wb") as stream:
        shared = _SharedData(stream, files.data)
        for method, spec in methods.items():
            model = _onnx_model(f"{name}.{method}", modules[method], spec)
            shared.move_weights(model)
            ir.save(model, folder / files.methods[method])
    for method, spec in methods.items():
        _check(f"{name}.{method}", folder / files.methods[method], spec)
    return files


class _SharedData:
    """One external data file in which equal tensors lie once."""

    def __init__(self, stream: BinaryIO, location: str) -> None:
        self._stream = stream
        self._location = location
        self._offsets: dict[bytes, int] = {}

    def move_weights(self, model: ir.Model) -> None:
        """Replace every large constant of the model by a reference into the file."""
        for value in model.graph.initializers.values():
            tensor = value.const_value
            if tensor is None or value.shape is None or tensor.nbytes < EXTERNAL_BYTES:
                continue
            value.const_value = ir.ExternalTensor(
                self._location,
                self._place(tensor.tobytes()),
                tensor.nbytes,
                tensor.dtype,
                shape=value.shape,
                name=value.name or "",
                base_dir="",
            )

    def _place(self, data: bytes) -> int:
        digest = hashlib.sha256(data).digest()
        if digest not in self._offsets:
            self._stream.write(b"\0" * (-self._stream.tell() % _ALIGNMENT))
            self._offsets[digest] = self._stream.tell()
            self._stream.write(data)
        return self._offsets[digest]


def _onnx_model(where: str, module: nn.Module, spec: MethodSpec) -> ir.Model:
    model = traced_model(where, module, spec)
    _forget_origin(model)
    return model


def traced_model(where: str, module: nn.Module, spec: MethodSpec) -> ir.Model:
    """A method's graph, whose nodes still say which module they came from.

    Raises:
        ExportError: a module that cannot be exported.
    """
    example = tuple(torch.from_numpy(array) for array in sample_inputs(spec, seed=0).values())
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = trace_module(module, example)
            exported = torch.onnx.export(
                program,
                input_names=[tensor.name for tensor in spec.inputs],
                output_names=[tensor.name for tensor in spec.outputs],
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except (RuntimeError, ValueError, TypeError) as error:
        raise ExportError(f"{where}: cannot be exported to ONNX opset {OPSET}: {error}") from error
    assert exported is not None
    if exported.model.functions:
        raise ExportError(
            f"{where}: the graph calls functions of its own ({', '.join(map(str, exported.model.functions))})"
        )
    return exported.model


def _forget_origin(model: ir.Model) -> None:
    """Drop stack traces and paths of this machine: they are larger than the graph and differ between checkouts."""
    for part in (model, model.graph):
        part.metadata_props.clear()
        part.doc_string = None
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()


def _check(where: str, path: Path, spec: MethodSpec) -> None:
    try:
        onnx.checker.check_model(path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"{where}: the ONNX checker refuses {path.name}: {error}") from error
    graph = onnx.load(path, load_external_data=False).graph
    for kind, found, expected in (("inputs", graph.input, spec.inputs), ("outputs", graph.output, spec.outputs)):
        shown = [_shown(value.name, [dim.dim_value for dim in value.type.tensor_type.shape.dim]) for value in found]
        wanted = [_shown(tensor.name, tensor.shape) for tensor in expected]
        if shown != wanted:
            raise ExportError(f"{where}: the exported {kind} are {shown}, expected {wanted}")


def _shown(name: str, shape: Sequence[int]) -> str:
    return f"{name} {list(shape)}"
