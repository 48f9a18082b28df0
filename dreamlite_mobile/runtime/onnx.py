"""A component in ONNX, run by onnxruntime on the CPU: the independent referee."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as errors

from dreamlite_mobile.errors import BundleError
from dreamlite_mobile.runtime import Array, Method, Tensor, check_inputs, check_signature, check_threads, find_method

_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}
_FAILURES = (
    RuntimeError,
    ValueError,
    errors.Fail,
    errors.EPFail,
    errors.InvalidArgument,
    errors.InvalidGraph,
    errors.InvalidProtobuf,
    errors.NoSuchFile,
    errors.NotImplemented,
    errors.RuntimeException,
)
"""onnxruntime's errors have no base class of their own."""


class OnnxComponent:
    """One `.onnx` per method (weights may lie in a shared external file). One method is resident at a time."""

    def __init__(
        self,
        paths: Mapping[str, Path],
        methods: Mapping[str, Method],
        *,
        name: str,
        threads: int | None = None,
    ) -> None:
        """`paths` and `methods` have the same keys. `threads` within an operator; None leaves it to onnxruntime."""
        if threads is not None:
            check_threads(threads)
        self.name = name
        self._paths = dict(paths)
        self._methods = dict(methods)
        self._threads = threads
        self._loaded: tuple[str, onnxruntime.InferenceSession] | None = None

    def run(self, method: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one method; loads it, in place of another, when it is not the resident one.

        Raises:
            BundleError: inputs or model that differ from the manifest, or a failed execution.
        """
        spec = find_method(self.name, self._methods, method)
        check_inputs(f"{self.name}.{method}", spec.inputs, inputs)
        session = self._load(method, spec)
        names = [tensor.name for tensor in spec.outputs]
        feeds = {tensor.name: inputs[tensor.name] for tensor in spec.inputs}
        try:
            outputs = session.run(names, feeds)
        except _FAILURES as error:
            raise BundleError(f"{self._paths[method]}: {self.name}.{method} failed to run: {error}") from error
        return dict(zip(names, outputs, strict=True))

    def load(self, method: str) -> None:
        """Load a method ahead of its first run."""
        self._load(method, find_method(self.name, self._methods, method))

    def unload(self) -> None:
        """Free the resident session; the next `run` loads again."""
        self._loaded = None

    def _load(self, method: str, spec: Method) -> onnxruntime.InferenceSession:
        if self._loaded is not None and self._loaded[0] == method:
            return self._loaded[1]
        self.unload()
        session = self._open(method, spec)
        self._loaded = (method, session)
        return session

    def _open(self, method: str, spec: Method) -> onnxruntime.InferenceSession:
        path = self._paths[method]
        where = f"{path}: {self.name}.{method}"
        if not path.is_file():
            raise BundleError(f"{where}: no such file. Copy or export the bundle again.")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if self._threads is not None:
            options.intra_op_num_threads = self._threads
            options.inter_op_num_threads = 1
        try:
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except _FAILURES as error:
            raise BundleError(f"{where}: cannot be loaded: {error}. Export the bundle again.") from error
        _check_names(where, "input", spec.inputs, session.get_inputs())
        _check_names(where, "output", spec.outputs, session.get_outputs())
        return session


def _check_names(where: str, kind: str, specs: Sequence[Tensor], found: Sequence[Any]) -> None:
    names, expected = [node.name for node in found], [spec.name for spec in specs]
    if names != expected:
        raise BundleError(f"{where}: the model's {kind}s are {names}, expected {expected}. Export the bundle again.")
    check_signature(where, kind, specs, ((tuple(node.shape), _DTYPES.get(node.type, node.type)) for node in found))
