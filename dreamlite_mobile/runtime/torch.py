"""A component as torch modules, one per method: the reference the exported files are held to."""

from collections.abc import Callable, Mapping

import torch
from torch import nn

from dreamlite_mobile.errors import BundleError
from dreamlite_mobile.runtime import Array, Method, check_inputs, find_method


class TorchComponent:
    """Runs modules eagerly without gradients. Inputs go in the order of the spec."""

    def __init__(self, modules: Mapping[str, nn.Module], methods: Mapping[str, Method], *, name: str) -> None:
        """`modules` and `methods` have the same keys; the modules are in evaluation mode and share what they share."""
        self.name = name
        self._methods = dict(methods)
        self._modules: dict[str, nn.Module] | None = dict(modules)

    def run(self, method: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one method. BundleError for inputs that differ from the spec, or after `unload`."""
        spec = find_method(self.name, self._methods, method)
        check_inputs(f"{self.name}.{method}", spec.inputs, inputs)
        if self._modules is None:
            raise BundleError(f"{self.name} was unloaded; a torch component cannot load itself again")
        with torch.inference_mode():
            # Copied in C order: kernels for other strides round differently on some processors.
            found = self._modules[method](*(torch.from_numpy(inputs[one.name].copy("C")) for one in spec.inputs))
        outputs = found if isinstance(found, tuple | list) else (found,)
        return {tensor.name: out.numpy() for tensor, out in zip(spec.outputs, outputs, strict=True)}

    def unload(self) -> None:
        """Drop the modules for good."""
        self._modules = None


class LazyTorchComponent:
    """A `TorchComponent` made on first use and dropped by `unload`: one network in memory at a time."""

    def __init__(self, make: Callable[[], TorchComponent]) -> None:
        self._make = make
        self._component: TorchComponent | None = None

    def run(self, method: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `TorchComponent.run`."""
        if self._component is None:
            self._component = self._make()
        return self._component.run(method, inputs)

    def unload(self) -> None:
        """Drop the networks; the next `run` makes them again."""
        self._component = None
