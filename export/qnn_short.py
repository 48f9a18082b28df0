"""Layers that bear fewer bits: each tried alone, then as many as stay close enough together.

Errors of layers that are rounded by themselves are nearly independent, so their squares add up; what is chosen by that
is then measured as a whole.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torchao.quantization.pt2e import MinMaxObserver
from torchao.quantization.pt2e.observer import UniformQuantizationObserverBase as Observer

from dreamlite_mobile.networks.hooks import hooked, run_calls
from dreamlite_mobile.parity.metrics import compare
from export.calibration import Calls, Inputs

SHORT = (nn.Linear, nn.Conv2d)
"""Kinds of layers that may take and give 8-bit activations: those with most of the work."""
TRIED = 3
"""Calls of each method, evenly over calibration, that layers are tried on one by one."""
FEWER = 0.8
"""Of the layers chosen: those left for another try, where all together lose too much."""
Modules = Mapping[str, nn.Module]
Ranges = Mapping[nn.Module, tuple[Observer, Observer]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The share of pictures turned wrong less those turned right, and whether so many may be lost."""

    loss: float
    enough: bool


@dataclass(frozen=True, slots=True)
class Short:
    """Layers that take and give 8-bit activations, and the SNR in dB that all of them keep together.

    `score_loss`: as their judge found it, None without one.
    """

    layers: tuple[str, ...] = ()
    kept_db: float = math.inf
    score_loss: float | None = None


Judge = Callable[[], Verdict]
"""Asked of the network as it is at that moment."""


def some_of(calls: Calls, count: int = TRIED) -> dict[str, list[Inputs]]:
    """A few calls of each method, evenly spread, the last among them: of another kind than real ones."""
    return {method: [given[index] for index in spread(len(given), count)] for method, given in calls.items()}


def others_of(given: Sequence[Inputs], count: int = TRIED) -> list[Inputs]:
    """The calls that `some_of` leaves, or all if it leaves none."""
    taken = spread(len(given), count)
    return [inputs for index, inputs in enumerate(given) if index not in taken] or list(given)


def spread(length: int, count: int) -> list[int]:
    """Places of `count` of so many calls, evenly from the last one on."""
    return [length - 1 - index * length // count for index in range(min(count, length))]


@torch.no_grad()
def outputs(modules: Modules, calls: Calls) -> Iterator[torch.Tensor]:
    """Everything that the methods give, call by call."""
    for method, module in modules.items():
        for inputs in calls[method]:
            given: torch.Tensor | Iterable[torch.Tensor] = module(*inputs)
            yield from (given,) if isinstance(given, torch.Tensor) else given


def worst_db(found: Iterable[torch.Tensor], wanted: Iterable[torch.Tensor]) -> float:
    """SNR in dB of the worst output."""
    return min(compare(x.numpy(), y.numpy()).snr_db for x, y in zip(found, wanted, strict=True))


def loss(found: Iterable[torch.Tensor], wanted: Iterable[torch.Tensor]) -> float:
    """The largest squared error of any output, over its own squares."""
    return decibels_as_loss(worst_db(found, wanted))


def decibels_as_loss(decibels: float) -> float:
    """Squared error over squares, of an SNR in dB."""
    return float(10 ** (-decibels / 10))


def bearers(losses: Mapping[str, float], gains: Mapping[str, float], most: float) -> list[str]:
    """The names that lose least for what they gain, as many as lose less than `most` together."""
    chosen, total = [], 0.0
    for name in sorted(losses, key=lambda one: losses[one] / gains[one]):
        if total + losses[name] <= most:
            chosen.append(name)
            total += losses[name]
    return chosen


@torch.no_grad()
def short_layers(
    modules: Modules, calls: Calls, enough_db: float, among: Iterable[str], judge: Judge | None = None
) -> Short:
    """The layers whose inputs and outputs may have 8 bits.

    Gains are multiply-adds; the fp32 network around them stays as it is. Layers are tried on calls that their ranges
    were not taken from: what new pictures exceed them by costs more than the steps. Where the judge says that too much
    is lost, the layers that lose most for their gain have 16 bits again.
    """
    some, others = some_of(calls), {method: others_of(given) for method, given in calls.items()}
    known = dict(next(iter(modules.values())).named_modules())
    layers = {name: known[name] for name in among if isinstance(known[name], SHORT)}
    ranges, gains = observed(modules, others, layers)
    wanted = list(outputs(modules, some))
    losses = {}
    for name, layer in layers.items():
        with shortened([layer], ranges):
            losses[name] = loss(outputs(modules, some), wanted)
    chosen = bearers(losses, gains, decibels_as_loss(enough_db))
    while chosen:
        with shortened([layers[name] for name in chosen], ranges):
            kept_db = worst_db(outputs(modules, some), wanted)
            verdict = judge() if judge is not None and kept_db >= enough_db else None
        if kept_db >= enough_db and (verdict is None or verdict.enough):
            names = tuple(name for name in layers if name in chosen)
            return Short(names, kept_db, None if verdict is None else verdict.loss)
        chosen = chosen[: int(len(chosen) * FEWER)]
    return Short()


def observer() -> MinMaxObserver:
    """Of 8-bit activations: the range seen, without room, which would cost a bit (benchmarks/htp.md)."""
    return MinMaxObserver(dtype=torch.uint8, qscheme=torch.per_tensor_affine, quant_min=0, quant_max=255)


def observed(
    modules: Modules, calls: Calls, layers: Mapping[str, nn.Module], make: Callable[[], Observer] = observer
) -> tuple[Ranges, dict[str, float]]:
    """Each layer's ranges (input, output) as `make`'s observers find them, and the multiply-adds of all its calls."""
    ranges = {layer: (make(), make()) for layer in layers.values()}
    names = {layer: name for name, layer in layers.items()}
    work = dict.fromkeys(layers, 0.0)

    def see(layer: nn.Module, arguments: Any, output: torch.Tensor) -> None:
        taken, given = ranges[layer]
        taken(arguments[0])
        given(output)
        weight = layer.weight
        assert isinstance(weight, torch.Tensor)
        work[names[layer]] += float(output.numel() * weight[0].numel())

    with hooked(layers.values(), see):
        run_calls(modules, calls)
    return ranges, work


@contextmanager
def shortened(layers: Iterable[nn.Module], ranges: Ranges) -> Iterator[None]:
    """Let layers take and give 8-bit activations inside this block."""
    with ExitStack() as stack:
        for layer in layers:
            taken, given = (rounder(one) for one in ranges[layer])
            before = layer.register_forward_pre_hook(lambda _, arguments, to=taken: (to(arguments[0]), *arguments[1:]))
            after = layer.register_forward_hook(lambda _, _arguments, output, to=given: to(output))
            stack.callback(before.remove)
            stack.callback(after.remove)
        yield


def rounder(seen: Observer) -> Callable[[torch.Tensor], torch.Tensor]:
    """Rounds to the steps of a range."""
    scale, zero = seen.calculate_qparams()
    least, most = seen.quant_min, seen.quant_max
    return lambda x: torch.fake_quantize_per_tensor_affine(x, scale, zero.to(torch.int32), least, most)
