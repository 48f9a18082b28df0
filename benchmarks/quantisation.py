"""Parity, size and speed of `w8` and `w4` through XNNPACK: prints the tables of quantisation.md.

    .venv/bin/python -m benchmarks.quantisation components   # the embedded checkpoint, every component
    .venv/bin/python -m benchmarks.quantisation blocks       # single full-width blocks, with speed on one thread

The reference is the same network in torch, fp32. Weights are seeded; nothing here says how a trained model's pictures
look.
"""

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from executorch.extension.pybindings import portable_lib
from executorch.runtime import Method, Runtime
from torch import nn

from dreamlite_mobile.assembly import component_methods
from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.components import MODES, component_specs
from dreamlite_mobile.config import MOBILE
from dreamlite_mobile.networks.form import XNNPACK, fold
from dreamlite_mobile.networks.resample import DownsampleConv, UpsampleConv
from dreamlite_mobile.networks.text import DecoderLayer, Rotary, TextLayout, rotary_table
from dreamlite_mobile.networks.transformer import Transformer2D
from dreamlite_mobile.parity.metrics import compare
from dreamlite_mobile.synthetic_weights import recipe
from dreamlite_mobile.tiny.embedded import embedded_checkpoint
from export.backends import example_inputs
from export.driver import geometry_of, prompt_encoder
from export.quantize import SCHEMES, quantise, quantize_linear, supported
from export.xnnpack import Lowered, lower

SIZE = 128
LATENTS = (32, 64)
STATES = 200
TEXT_LENGTH = 234
SEED = 0
RUNS = 15

Tensors = tuple[torch.Tensor, ...]


def outputs(module: nn.Module, inputs: Tensors) -> Tensors:
    """A module's outputs as a tuple."""
    with torch.no_grad():
        found = module(*inputs)
    return tuple(tensor.clone() for tensor in (found if isinstance(found, tuple) else (found,)))


def snr(found: Tensors, reference: Tensors) -> float:
    """SNR in dB, the worst of the outputs."""
    return min(compare(a.numpy(), b.numpy()).snr_db for a, b in zip(found, reference, strict=True))


def write(lowered: Lowered, path: Path) -> float:
    """Write a program; returns its size in MB."""
    with path.open("wb") as stream:
        lowered.write(stream)
    return path.stat().st_size / 1e6


def load(path: Path, method: str) -> Method:
    """Load one method."""
    loaded = Runtime.get().load_program(path).load_method(method)
    assert loaded is not None
    return loaded


def components(folder: Path) -> Iterator[str]:
    """One line per component, method and precision of the embedded checkpoint."""
    checkpoint = open_checkpoint(embedded_checkpoint(folder / "tiny"))
    geometry = geometry_of(checkpoint.config, prompt_encoder(checkpoint), SIZE, SIZE)
    yield "| component.method | precision | layers | delegates | outside | MB | SNR dB, torch | SNR dB, .pte |"
    yield "|---|---|---|---|---|---|---|---|"
    for spec in component_specs(geometry).values():
        inputs = {name: example_inputs(method) for name, method in spec.methods.items()}
        for precision in supported(spec.name):
            modules = component_methods(checkpoint, spec.name, XNNPACK, geometry, list(MODES))
            reference = {name: outputs(modules[name], inputs[name]) for name in inputs}
            layers = len(quantise(modules, spec.name, precision))
            lowered = lower({name: (modules[name], inputs[name]) for name in inputs}, precision)
            size = write(lowered, folder / "component.pte")
            for name, report in lowered.reports.items():
                in_torch = snr(outputs(modules[name], inputs[name]), reference[name])
                found = load(folder / "component.pte", name).execute(list(inputs[name]))
                yield (
                    f"| {spec.name}.{name} | {precision} | {layers} | {report.delegates} | {len(report.outside)} "
                    f"| {size:.2f} | {in_torch:.1f} | {snr(tuple(found), reference[name]):.1f} |"
                )


@dataclass(frozen=True, slots=True)
class Block:
    """One full-width block: how to build it, the shapes of its inputs, the precisions to try."""

    name: str
    build: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...]
    precisions: tuple[str, ...] = ("fp32", "w8")


class TextLayer(nn.Module):
    """A decoder layer with the tables of a generate prompt."""

    cos: torch.Tensor
    sin: torch.Tensor
    causal: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer = DecoderLayer(MOBILE.text, XNNPACK)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x, Rotary(self.cos, self.sin), self.causal)


def text_layer() -> nn.Module:
    with torch.device("meta"):
        block = TextLayer()
    filled(block, "text_encoder")
    layout = TextLayout(TEXT_LENGTH, 34)
    cos, sin = rotary_table(MOBILE.text, layout)
    block.register_buffer("cos", cos)
    block.register_buffer("sin", sin)
    block.register_buffer("causal", torch.full((1, TEXT_LENGTH, TEXT_LENGTH), -1e4).triu(1))
    return block


def transformer(level: int) -> nn.Module:
    unet = MOBILE.unet
    with torch.device("meta"):
        block = Transformer2D(
            unet,
            unet.block_out_channels[level],
            unet.num_heads[level],
            unet.transformer_layers[level],
            unet.down_kinds[level],
            XNNPACK,
        )
    return filled(block, "unet")


def resampler(kind: type[UpsampleConv] | type[DownsampleConv], channels: int) -> nn.Module:
    with torch.device("meta"):
        block = kind(channels, XNNPACK)
    return filled(block, "unet")


def filled(block: nn.Module, subfolder: str) -> nn.Module:
    """Seeded weights, scaled as in a synthetic checkpoint; folded and frozen."""
    random = torch.Generator().manual_seed(SEED)
    block.to_empty(device="cpu")
    for name, parameter in block.named_parameters():
        how = recipe(subfolder, name, tuple(parameter.shape), MOBILE)
        parameter.data = torch.randn(parameter.shape, generator=random) * how.std + how.mean
    return fold(block)


def blocks_to_measure() -> tuple[Block, ...]:
    height, width = LATENTS
    unet = MOBILE.unet
    attention = [
        Block(
            f"transformer, level {level} ({channels} ch)",
            partial(transformer, level),
            (
                (1, channels, height >> level, width >> level),
                (1, STATES, unet.cross_attention_dim),
                (1, 1, STATES),
            ),
            ("fp32", "w8", "w4") if level == 1 else ("fp32", "w8"),
        )
        for level, channels in enumerate(unet.block_out_channels)
    ]
    low, middle, _ = unet.block_out_channels[::-1]
    return (
        *attention,
        Block(f"upsampling ({low} ch)", lambda: resampler(UpsampleConv, low), ((1, low, height // 4, width // 4),)),
        Block(
            f"downsampling ({middle} ch)",
            lambda: resampler(DownsampleConv, middle),
            ((1, middle, height // 2, width // 2),),
        ),
        Block("text decoder layer", text_layer, ((1, TEXT_LENGTH, MOBILE.text.hidden_size),), ("fp32", "w8", "w4")),
    )


def blocks(folder: Path, only: str) -> Iterator[str]:
    """One line per block and precision; times are medians of runs taken in turns, on one thread.

    Every matrix product is quantised here, also those that write a convolution, to show what leaving them out is worth.
    """
    portable_lib._unsafe_reset_threadpool(1)
    yield "| block | precision | delegates | MB | SNR dB, .pte | CPU ms | speed-up |"
    yield "|---|---|---|---|---|---|---|"
    for block in blocks_to_measure():
        if only not in block.name:
            continue
        random = torch.Generator().manual_seed(SEED)
        inputs = tuple(
            torch.zeros(shape) if shape == (1, 1, STATES) else torch.randn(shape, generator=random)
            for shape in block.shapes
        )
        original = block.build()
        reference = outputs(original, inputs)
        loaded: dict[str, Method] = {}
        facts: dict[str, str] = {}
        for precision in block.precisions:
            module = copy.deepcopy(original)
            for name, child in module.named_modules():
                if type(child) is nn.Linear and precision != "fp32":
                    quantize_linear(child, SCHEMES[precision], name)
            lowered = lower({"forward": (module, inputs)}, precision)
            path = folder / f"{precision}.pte"
            size = write(lowered, path)
            loaded[precision] = load(path, "forward")
            error = snr(tuple(loaded[precision].execute(list(inputs))), reference)
            facts[precision] = f"{lowered.reports['forward'].delegates} | {size:.1f} | {error:.1f}"
        times = in_turns(loaded, inputs)
        for precision, fact in facts.items():
            ratio = times["fp32"] / times[precision]
            yield f"| {block.name} | {precision} | {fact} | {times[precision]:.1f} | {ratio:.2f} |"


def in_turns(loaded: Mapping[str, Method], inputs: Tensors) -> dict[str, float]:
    """Median CPU milliseconds of every program, run in turns: processor time, since the machine is shared."""
    taken: dict[str, list[float]] = {name: [] for name in loaded}
    for _ in range(RUNS):
        for name, method in loaded.items():
            begin = time.process_time()
            method.execute(list(inputs))
            taken[name].append((time.process_time() - begin) * 1e3)
    return {name: statistics.median(times) for name, times in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("components", "blocks"))
    parser.add_argument("--only", default="", help="blocks whose name contains this")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for line in components(folder) if chosen.what == "components" else blocks(folder, chosen.only):
            print(line, flush=True)


if __name__ == "__main__":
    main()
