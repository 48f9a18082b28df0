"""A component whose methods are chains of ExecuTorch programs, each taking up where the one before it ends."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from executorch.runtime import Method as Loaded

from dreamlite_mobile.bundle_programs import MethodEntry
from dreamlite_mobile.errors import BundleError
from dreamlite_mobile.runtime import Array, check_inputs, find_method
from dreamlite_mobile.runtime.executorch import hold, open_method, release, set_threads


class ExecuTorchChain:
    """What shards hand on stays in the tensor that the one before returned: nothing is converted or copied between.

    One method is resident at a time, with all its shards, as a step runs them again and again.
    """

    def __init__(
        self,
        paths: Mapping[str, Sequence[Path]],
        methods: Mapping[str, MethodEntry],
        *,
        name: str,
        threads: int | None = None,
    ) -> None:
        """`paths`: each method's programs in order; `methods` describe them in their `shards`."""
        self.name = name
        self._paths = {method: tuple(programs) for method, programs in paths.items()}
        self._methods = dict(methods)
        self._threads = threads
        self._loaded: tuple[str, list[Loaded]] | None = None

    def run(self, method: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the method's programs in turn.

        Raises:
            BundleError: inputs or programs that differ from the manifest, or a failed execution.
        """
        spec = find_method(self.name, self._methods, method)
        assert isinstance(spec, MethodEntry)
        check_inputs(f"{self.name}.{method}", spec.inputs, inputs)
        values = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in inputs.items()}
        last = {name: index for index, shard in enumerate(spec.shards) for name in (item.name for item in shard.inputs)}
        wanted = {tensor.name for tensor in spec.outputs}
        for index, (program, shard) in enumerate(zip(self._load(method, spec), spec.shards, strict=True)):
            try:
                made = program.execute([values[item.name] for item in shard.inputs])
            except RuntimeError as error:
                path = self._paths[method][index]
                raise BundleError(f"{path}: {self.name}.{method} failed to run: {error}") from error
            values |= {item.name: tensor for item, tensor in zip(shard.outputs, made, strict=True)}
            values = {name: value for name, value in values.items() if last.get(name, 0) > index or name in wanted}
        return {tensor.name: values[tensor.name].numpy() for tensor in spec.outputs}

    def load(self, method: str) -> None:
        """Load a method ahead of its first run."""
        spec = find_method(self.name, self._methods, method)
        assert isinstance(spec, MethodEntry)
        self._load(method, spec)

    def unload(self) -> None:
        """Free the resident method; the next `run` loads again."""
        self._loaded = None
        release(self)

    def _load(self, method: str, spec: MethodEntry) -> list[Loaded]:
        if self._loaded is not None and self._loaded[0] == method:
            return self._loaded[1]
        self.unload()
        if self._threads is not None:
            set_threads(self._threads)
        programs = [
            open_method(path, f"{path}: {self.name}.{method}", method, shard)
            for path, shard in zip(self._paths[method], spec.shards, strict=True)
        ]
        self._loaded = (method, programs)
        hold(self)
        return programs
