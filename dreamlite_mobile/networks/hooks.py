"""Looking at what modules give while they run."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

See = Callable[[str, str, nn.Module, torch.Tensor], None]
"""Told of a method, the name of a layer in it, the layer, and a tensor that it gave."""


@contextmanager
def hooked(modules: Iterable[nn.Module], hook: Callable[..., Any]) -> Iterator[None]:
    """Call `hook(module, arguments, output)` after each of the modules, inside this block only."""
    with ExitStack() as stack:
        for module in modules:
            stack.callback(module.register_forward_hook(hook).remove)
        yield


def run_calls(modules: Mapping[str, nn.Module], calls: Mapping[str, Sequence[tuple[torch.Tensor, ...]]]) -> None:
    """Run every method on each of its calls, for what hooks see."""
    for method, module in modules.items():
        for inputs in calls[method]:
            module(*inputs)


def see_layers(
    modules: Mapping[str, nn.Module], calls: Mapping[str, Sequence[tuple[torch.Tensor, ...]]], see: See
) -> None:
    """Show what every layer of every method gives on each call, where that is a tensor."""
    for method, module in modules.items():
        names = {layer: name for name, layer in module.named_modules() if name}

        def show(
            layer: nn.Module, _arguments: Any, output: Any, method: str = method, names: dict[nn.Module, str] = names
        ) -> None:
            if isinstance(output, torch.Tensor):
                see(method, names[layer], layer, output)

        with hooked(names, show):
            run_calls({method: module}, calls)
