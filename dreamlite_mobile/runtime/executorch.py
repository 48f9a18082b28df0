"""A component in an ExecuTorch `.pte`, run by the Python runtime of the installed executorch (1.5.1).

What that runtime does, measured (`tests/test_runtime.py`): a program given by path is memory-mapped, so opening it
reads a few pages; loading a method makes XNNPACK pack its own copy of the weights, and two methods of one file do not
share that copy. Hence one method is resident at a time. Outputs are copied out on every call.
"""

import contextlib
import importlib.metadata
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakSet

import torch
from executorch.extension.pybindings import portable_lib
from executorch.runtime import Method as Loaded
from executorch.runtime import Runtime

from dreamlite_mobile.errors import BundleError, ConfigError
from dreamlite_mobile.runtime import Array, Method, check_inputs, check_signature, check_threads, find_method

_SCALAR_TYPES = {3: "int32", 4: "int64", 5: "float16", 6: "float32", 7: "float64", 15: "bfloat16"}
"""ExecuTorch's ScalarType numbers; any other is named by its number."""


class Resident(Protocol):
    """What can hold a loaded method."""

    name: str


_resident: WeakSet[Resident] = WeakSet()
"""Components that hold a method, and with it a pointer into the process-wide thread pool."""


@contextlib.contextmanager
def _stderr_to_nowhere() -> Iterator[None]:
    """Native code writes to the descriptor itself, past Python's `sys.stderr`."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


with _stderr_to_nowhere():
    # The first question makes the pool, and that prints what it did not find under /sys, which only phones have.
    portable_lib._threadpool_get_thread_count()


def set_threads(count: int) -> None:
    """Give ExecuTorch's thread pool `count` threads (the calling one included).

    The pool belongs to the process and XNNPACK keeps a pointer to it in every loaded method: replacing it under a
    loaded method corrupts memory (seen), so that is refused here.

    Raises:
        ConfigError: `count` outside 1...256, or a component of this process holds a loaded method.
    """
    check_threads(count)
    if portable_lib._threadpool_get_thread_count() == count:
        return
    if _resident:
        names = ", ".join(sorted(component.name for component in _resident))
        raise ConfigError(
            f"threads {count}: the thread pool of this process has {portable_lib._threadpool_get_thread_count()} "
            f"threads and is in use by {names}. Unload these first."
        )
    with _stderr_to_nowhere():
        portable_lib._unsafe_reset_threadpool(count)


def check_version(bundle: Path, needed: str | None) -> None:
    """Refuse (BundleError) a bundle compiled by another executorch than the installed one."""
    found = importlib.metadata.version("executorch")
    if needed != found:
        raise BundleError(
            f"{bundle}: compiled for executorch {needed}, installed is {found}. "
            f"Export the bundle again, or install executorch=={needed}."
        )


class ExecuTorchComponent:
    """One `.pte` whose methods follow the manifest. Not thread-safe: input buffers are reused between calls."""

    def __init__(
        self, path: Path, methods: Mapping[str, Method], *, name: str | None = None, threads: int | None = None
    ) -> None:
        """`threads` None leaves the process-wide pool as it is (one per core); see `set_threads`.

        Nothing is loaded before the first `run`.
        """
        self.name = name or path.stem
        self._path = path
        self._methods = dict(methods)
        self._threads = threads
        self._loaded: tuple[str, Loaded, list[torch.Tensor]] | None = None

    def run(self, method: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one method; loads it, in place of another, when it is not the resident one.

        Raises:
            BundleError: inputs or program that differ from the manifest, or a failed execution.
        """
        spec = find_method(self.name, self._methods, method)
        check_inputs(f"{self.name}.{method}", spec.inputs, inputs)
        program, buffers = self._load(method, spec)
        for buffer, tensor in zip(buffers, spec.inputs, strict=True):
            buffer.numpy()[...] = inputs[tensor.name]
        try:
            outputs = program.execute(buffers)
        except RuntimeError as error:
            raise BundleError(f"{self._path}: {self.name}.{method} failed to run: {error}") from error
        # `execute` clones what it returns: these arrays do not alias the program's memory.
        return {tensor.name: out.numpy() for tensor, out in zip(spec.outputs, outputs, strict=True)}

    def load(self, method: str) -> None:
        """Load a method ahead of its first run."""
        self._load(method, find_method(self.name, self._methods, method))

    def unload(self) -> None:
        """Free the resident method, its packed weights and buffers; the next `run` loads again."""
        self._loaded = None
        release(self)

    def _load(self, method: str, spec: Method) -> tuple[Loaded, list[torch.Tensor]]:
        if self._loaded is not None and self._loaded[0] == method:
            return self._loaded[1], self._loaded[2]
        self.unload()
        if self._threads is not None:
            set_threads(self._threads)
        program = open_method(self._path, f"{self._path}: {self.name}.{method}", method, spec)
        buffers = [torch.empty(tensor.shape, dtype=torch.float32) for tensor in spec.inputs]
        self._loaded = (method, program, buffers)
        hold(self)
        return program, buffers


def open_method(path: Path, where: str, method: str, spec: Method) -> Loaded:
    """Load a method of a program file.

    Raises:
        BundleError: no such file or method, or one that takes or gives something else than specified.
    """
    if not path.is_file():
        raise BundleError(f"{where}: no such file. Copy or export the bundle again.")
    try:
        program = Runtime.get().load_program(path)
        if method not in program.method_names:
            raise BundleError(f"{where}: the program has only {', '.join(sorted(program.method_names))}")
        meta: Any = program.metadata(method)
        inputs = [meta.input_tensor_meta(index) for index in range(meta.num_inputs())]
        outputs = [meta.output_tensor_meta(index) for index in range(meta.num_outputs())]
        check_signature(where, "input", spec.inputs, map(_declared, inputs))
        check_signature(where, "output", spec.outputs, map(_declared, outputs))
        loaded = program.load_method(method)
    except RuntimeError as error:
        raise BundleError(f"{where}: cannot be loaded: {error}. Export it with the installed executorch.") from error
    assert loaded is not None
    return loaded


def hold(component: Resident) -> None:
    """Remember that it holds a loaded method."""
    _resident.add(component)


def release(component: Resident) -> None:
    """Forget that it did."""
    _resident.discard(component)


def _declared(info: Any) -> tuple[tuple[int, ...], str]:
    number = info.dtype()
    return tuple(info.sizes()), _SCALAR_TYPES.get(number, f"scalar type {number}")
