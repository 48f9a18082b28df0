"""A shipped ONNX graph, opened: run with the values after each block as more outputs, its weights compared.

The same module gives the same names, and a fresh export still knows which module each node came from.
"""

import ast
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import numpy_helper

from dreamlite_mobile.components import MethodSpec, TensorSpec
from dreamlite_mobile.errors import BundleError
from dreamlite_mobile.parity.blocks import BLOCK, within
from dreamlite_mobile.runtime import Array
from dreamlite_mobile.runtime.onnx import OnnxComponent
from export.onnx import traced_model
from export.probe import Difference, Seen, Subject, described, unambiguous

SCOPES = "pkg.torch.onnx.name_scopes"
"""Where torch's exporter notes the modules that a node stands in, outermost first, then the node's own name."""
Weights = dict[str, NDArray[np.generic]]
DAMAGED = (OSError, ValueError, TypeError, LookupError, DecodeError, onnx.checker.ValidationError)
"""What reading a file that is no model, or lacks its weights, raises."""


@dataclass(frozen=True, slots=True)
class OnnxProbe:
    """A shipped graph beside a fresh export. `shipped`: the whole model; `weights`: its own, as numbers."""

    subject: Subject
    shipped: onnx.ModelProto
    weights: Weights
    fresh: ir.Model

    @classmethod
    def open(cls, subject: Subject) -> "OnnxProbe":
        """Read the shipped graph and its weights, and export the subject's module again."""
        bundle, method = subject.bundle, subject.method
        path = bundle.file(bundle.component(subject.component).methods[method].file)
        shipped, weights = read_onnx(path)
        fresh = traced_model(f"{subject.component}.{method}", subject.module, subject.spec.methods[method])
        return cls(subject, shipped, weights, fresh)

    def differences(self) -> list[Difference]:
        """Weights that are not those of the checkpoint, then nodes that are not those of its graph."""
        wanted, scopes = fresh_weights(self.fresh), self.scopes()
        found = [
            Difference(named(name, scopes), described(mine.ravel(), wanted[name].ravel()))
            for name, mine in self.changed()
        ]
        mine = [node_text(node) for node in self.shipped.graph.node]
        places = {node_text(ir.to_proto(node)): node for node in self.fresh.graph.all_nodes()}
        found += [
            Difference(self.place_of(text, places), f"{text} is not what a fresh export has")
            for text in mine
            if text not in places
        ]
        return found + [
            Difference((modules_of(node) or ("the graph",))[-1], f"{text} is missing")
            for text, node in places.items()
            if text not in mine
        ]

    def scopes(self) -> dict[str, str]:
        """Value -> the module of a node that takes it."""
        return {
            str(value.name): modules[-1]
            for node in self.fresh.graph.all_nodes()
            if (modules := modules_of(node))
            for value in node.inputs
            if value is not None
        }

    def place_of(self, text: str, places: Mapping[str, ir.Node]) -> str:
        """The module of the fresh node that gives the same value as a shipped node that is not among the fresh ones."""
        result = text.partition(" = ")[0]
        twin = next((node for other, node in places.items() if other.startswith(f"{result} = ")), None)
        return "the graph" if twin is None else (modules_of(twin) or ("the graph",))[-1]

    def changed(self) -> Iterator[tuple[str, NDArray[np.generic]]]:
        """Name and shipped numbers of every weight whose bytes differ."""
        wanted = fresh_weights(self.fresh)
        for name, mine in self.weights.items():
            if name in wanted and mine.tobytes() != wanted[name].tobytes():
                yield name, mine

    def values(self, blocks: Mapping[str, tuple[int, ...]], inputs: Mapping[str, Array]) -> dict[str, Seen]:
        """What the shipped graph holds at the end of each block of that output shape, and its own outputs."""
        method = self.subject.spec.methods[self.subject.method]
        names = {node_output for node in self.shipped.graph.node for node_output in node.output}
        ends = {name: end for name, shape in blocks.items() if (end := self.end_of(name, shape)) in names}
        own = {spec.name for spec in method.outputs}
        taps = {name: str(end) for name, end in ends.items() if end not in own}
        shapes = {tap: blocks[name] for name, tap in taps.items()}
        model = onnx.ModelProto()
        model.CopyFrom(self.shipped)
        model.graph.output.extend(
            onnx.helper.make_tensor_value_info(tap, onnx.TensorProto.FLOAT, shape) for tap, shape in shapes.items()
        )
        wider = MethodSpec(method.inputs, (*method.outputs, *(TensorSpec(tap, shape) for tap, shape in shapes.items())))
        found = run_model(model, wider, inputs)
        return {name: Seen(found[tap]) for name, tap in taps.items()} | {name: Seen(found[name]) for name in own}

    def end_of(self, block: str, shape: tuple[int, ...]) -> str | None:
        """The last value that a block computes in its output's shape."""
        found = None
        for node in self.fresh.graph.all_nodes():
            value = node.outputs[0]
            if block in modules_of(node) and value.shape is not None and tuple(value.shape.numpy()) == shape:
                found = value.name
        return found

    def transplant(self, folder: Path, block: str) -> bool:
        """Put the shipped weights into `block.onnx`, whose clean ones are found by their numbers."""
        wanted, scopes = fresh_weights(self.fresh), self.scopes()
        swaps = unambiguous(
            (wanted[name].tobytes(), mine.tobytes())
            for name, mine in self.weights.items()
            if name in wanted and mine.shape == wanted[name].shape and within(named(name, scopes), block)
        )
        path = folder / f"{BLOCK}.onnx"
        model = onnx.load(path)
        mine = [tensor for tensor in model.graph.initializer if numpy_helper.to_array(tensor).tobytes() in swaps]
        for tensor in mine:
            clean = numpy_helper.to_array(tensor)
            shipped = np.frombuffer(swaps[clean.tobytes()], clean.dtype).reshape(clean.shape)
            tensor.CopyFrom(numpy_helper.from_array(shipped, tensor.name))
        if mine:
            (folder / f"{BLOCK}.onnx.data").unlink(missing_ok=True)
            onnx.save(model, path, save_as_external_data=True, location=f"{BLOCK}.onnx.data")
        return bool(mine)


def read_onnx(path: Path) -> tuple[onnx.ModelProto, Weights]:
    """A model with its weights, and these by name as numbers; BundleError for a file that is none or is damaged."""
    try:
        model = onnx.load(path)
        if not model.graph.node:
            raise ValueError("it holds no graph")
        return model, {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    except DAMAGED as error:
        raise BundleError(f"{path}: cannot be read: {error}. Export the bundle again.") from error


def fresh_weights(model: ir.Model) -> Weights:
    """The weights of a fresh export by name."""
    return {
        name: value.const_value.numpy()
        for name, value in model.graph.initializers.items()
        if value.const_value is not None
    }


def modules_of(node: ir.Node) -> tuple[str, ...]:
    """The modules a node stands in, outermost first; empty for a node that came from nowhere."""
    scopes = ast.literal_eval(node.metadata_props.get(SCOPES, "[]"))
    return tuple(scopes[:-1])


def node_text(node: onnx.NodeProto) -> str:
    """`y = LayerNormalization(x, weight, bias; axis=-1, epsilon=1e-06)`."""
    attributes = ", ".join(
        f"{item.name}={onnx.helper.get_attribute_value(item)}" for item in sorted(node.attribute, key=lambda a: a.name)
    )
    inputs = ", ".join(node.input)
    return f"{', '.join(node.output)} = {node.op_type}({inputs}{'; ' if attributes else ''}{attributes})"


def named(name: str, scopes: Mapping[str, str]) -> str:
    """A weight that the exporter folded, such as a transposed one, is named by the module that takes it."""
    where = scopes.get(name, "")
    return name if not where or name.startswith(where) else f"{where} ({name})"


def run_model(model: onnx.ModelProto, method: MethodSpec, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Run a model that lies in memory."""
    with tempfile.TemporaryDirectory(prefix="dreamlite-probe-") as folder:
        path = Path(folder) / "tapped.onnx"
        onnx.save(model, path, save_as_external_data=True, location="tapped.onnx.data")
        component = OnnxComponent({"tapped": path}, {"tapped": method}, name="tapped")
        outputs = component.run("tapped", inputs)
        component.unload()
    return outputs
