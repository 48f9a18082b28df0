"""The named blocks of a network: what each is given and gives in torch, each alone, and all of them as extra outputs.

A block is the outermost module that is no container: a resnet, a transformer block, a decoder layer, a norm or a
convolution between them. What stands between blocks (sums, concatenations) shows in the cumulative run only.
"""

from collections.abc import Collection, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dreamlite_mobile.components import FORWARD, ComponentSpec, MethodSpec, TensorSpec
from dreamlite_mobile.config import DreamLiteConfig
from dreamlite_mobile.errors import ParityError
from dreamlite_mobile.networks import build, fold
from dreamlite_mobile.networks.form import REFERENCE
from dreamlite_mobile.networks.hooks import hooked
from dreamlite_mobile.networks.text import Rotary, TextEncoder, TextTower
from dreamlite_mobile.networks.transformer import Transformer2D
from dreamlite_mobile.networks.unet import DownBlock, MidBlock, UNet, UpBlock
from dreamlite_mobile.networks.vae import VaeDecoder, VaeEncoder
from dreamlite_mobile.networks.vision import VisionEncoder
from dreamlite_mobile.runtime import Array

BLOCK = "block"
"""The component name under which a block alone is exported."""
TOWER = "tower."
"""Where a text encoder keeps the network that all of its modes share."""
CONTAINERS = (
    *(UNet, DownBlock, MidBlock, UpBlock, Transformer2D),
    *(TextEncoder, TextTower, VisionEncoder, VaeEncoder, VaeDecoder),
    *(nn.ModuleList, nn.ModuleDict, nn.Sequential),
)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a block in float32 torch. `result`: index of the network's output that this very tensor is."""

    name: str
    kind: str
    arguments: tuple[Any, ...]
    output: torch.Tensor
    result: int | None = None

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """The arguments that are inputs; the others are constants of the layout."""
        return tuple(argument for argument in self.arguments if isinstance(argument, torch.Tensor))

    @property
    def inputs(self) -> dict[str, Array]:
        """The inputs by the names they have in `spec`."""
        return {f"input_{index}": tensor.numpy() for index, tensor in enumerate(self.tensors)}

    @property
    def spec(self) -> ComponentSpec:
        """The block as a component of its own, with one method."""
        inputs = tuple(TensorSpec(name, array.shape) for name, array in self.inputs.items())
        method = MethodSpec(inputs, (TensorSpec("output", tuple(self.output.shape)),))
        return ComponentSpec(BLOCK, {FORWARD: method})


def block_names(component: str, config: DreamLiteConfig) -> list[str]:
    """The blocks of a component's methods, without reading a weight."""
    return _within(component, (name for name, _ in named_blocks(fold(build(component, config, REFERENCE)))))


def layer_names(component: str, config: DreamLiteConfig) -> list[str]:
    """Every module of a component's methods, without reading a weight."""
    return _within(component, (name for name, _ in build(component, config, REFERENCE).named_modules() if name))


def _within(component: str, names: Iterable[str]) -> list[str]:
    """Names in the network that methods run: a text encoder's modes share what is named here."""
    return [TOWER * (component == "text_encoder") + name for name in names]


def named_blocks(network: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Name and module of every block, in the order of definition."""
    for name, child in network.named_children():
        if isinstance(child, CONTAINERS):
            yield from named_blocks(child, f"{prefix}{name}.")
        else:
            yield prefix + name, child


def record_calls(
    network: nn.Module, inputs: tuple[torch.Tensor, ...], only: Collection[str] | None = None
) -> list[Call]:
    """Run a network once and return the calls of its blocks, or `only` of those named, in the order they happened.

    Raises:
        ParityError: a block that runs twice, or never.
    """
    calls: list[Call] = []
    names = {block: name for name, block in named_blocks(network) if only is None or name in only}

    def remember(block: nn.Module, arguments: tuple[Any, ...], output: torch.Tensor) -> None:
        calls.append(Call(names[block], type(block).__name__, arguments, output))

    with torch.inference_mode(), hooked(list(names), remember):
        found = network(*inputs)
    results = found if isinstance(found, tuple) else (found,)
    called = [call.name for call in calls]
    if sorted(called) != sorted(names.values()):
        raise ParityError(
            f"{type(network).__name__}: {len(called)} calls of {len(names)} blocks; every block must run exactly once"
        )
    return [Call(call.name, call.kind, call.arguments, call.output, index_of(call.output, results)) for call in calls]


def within(where: str, block: str) -> bool:
    """Whether a weight's name, dotted or as a compiler writes it (`p_down_blocks_0_...`), is of that block."""
    flat = block.replace(".", "_")
    return where == block or where.startswith((f"{block}.", f"{block} ", f"p_{flat}_", f"b_{flat}_"))


def index_of(tensor: torch.Tensor, results: tuple[torch.Tensor, ...]) -> int | None:
    """Where this very tensor stands among the results, or None."""
    return next((index for index, result in enumerate(results) if result is tensor), None)


class Alone(nn.Module):
    """A copy of one block that takes tensors only; tables it was called with are its constants.

    The block keeps its name, underscores for dots: a backend may treat some layers otherwise by their names.
    """

    def __init__(self, name: str, block: nn.Module, arguments: tuple[Any, ...]) -> None:
        super().__init__()
        self.name = name.replace(".", "_")
        self.add_module(self.name, deepcopy(block))
        self.given = [isinstance(argument, torch.Tensor) for argument in arguments]
        for index, argument in enumerate(arguments):
            if isinstance(argument, Rotary):
                self.register_buffer(f"cos_{index}", argument.cos)
                self.register_buffer(f"sin_{index}", argument.sin)

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """The block's inputs in order -> its output."""
        left = iter(tensors)
        arguments = [
            next(left) if given else Rotary(getattr(self, f"cos_{index}"), getattr(self, f"sin_{index}"))
            for index, given in enumerate(self.given)
        ]
        return self.get_submodule(self.name)(*arguments)


class Tapped(nn.Module):
    """A network whose blocks' outputs are outputs too, behind its own and in the order of their names."""

    def __init__(self, network: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.network = network
        self.names = names

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The network's inputs -> its outputs, then one tensor per tapped block."""
        taps: dict[nn.Module, torch.Tensor] = {}

        def keep(block: nn.Module, _arguments: tuple[Any, ...], output: torch.Tensor) -> None:
            taps[block] = output

        blocks = [self.network.get_submodule(name) for name in self.names]
        with hooked(blocks, keep):
            found = self.network(*inputs)
        return (*(found if isinstance(found, tuple) else (found,)), *(taps[block] for block in blocks))


def tap_names(calls: list[Call]) -> list[str]:
    """The blocks whose outputs a network does not give anyway."""
    return [call.name for call in calls if call.result is None]


def tapped_spec(name: str, method: MethodSpec, calls: list[Call]) -> ComponentSpec:
    """A tapped network as a component with one method; its taps are `tap_0`, `tap_1`, ..."""
    shapes = [tuple(call.output.shape) for call in calls if call.result is None]
    taps = tuple(TensorSpec(f"tap_{index}", shape) for index, shape in enumerate(shapes))
    return ComponentSpec(name, {FORWARD: MethodSpec(method.inputs, (*method.outputs, *taps))})


def block_outputs(calls: list[Call], method: MethodSpec, found: dict[str, Array]) -> dict[str, Array]:
    """Block name -> output, from what a tapped network gave."""
    names = [spec.name for spec in method.outputs]
    taps = {name: found[f"tap_{index}"] for index, name in enumerate(tap_names(calls))}
    return {call.name: taps[call.name] if call.result is None else found[names[call.result]] for call in calls}
