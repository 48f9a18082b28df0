"""What full-size pieces of the U-Net move between DDR and the HTP, each compiled alone for one SoC.

    python -m benchmarks.htp_traffic phases               # a step at 1024 x 1024 in fp16, as `--shards auto` cuts it
    python -m benchmarks.htp_traffic phases --states 464  # of an edit
    python -m benchmarks.htp_traffic phases --level 1 --rows 128,256,512 --only down_blocks.1.attentions.0
    python -m benchmarks.htp_traffic phases --level 0 --lines 4,8,16 --only up_blocks.2.resnets.0
    python -m benchmarks.htp_traffic stages --precision w8a16   # blocks, as integers are cut
    python -m benchmarks.htp_traffic tiles                # every kind of piece over rows per tile
    python -m benchmarks.htp_traffic tiles --only ff,self --level 2 --rows 0,256

The published configuration with seeded weights; fp16 at the boundaries, as shards have them, or 16-bit codes. The first
and last convolution and the projection of the prompt are left out of the stages. Of phases with equal graphs one is
compiled. In integers all weights have 8 bits, ranges come from one call of the random inputs, and with w8a8mix every
layer takes and gives 8-bit activations (an exporter's plan has fewer). Every case is a process of its
own. The results file is written after each case, and what stands in it already is not compiled again.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.qnn_sdk import ready

if __name__ == "__main__":
    ready(lambda text: print(text, file=sys.stderr))

import torch
from torch import nn

from dreamlite_mobile.components import ComponentSpec, MethodSpec, TensorSpec
from dreamlite_mobile.config import MOBILE
from dreamlite_mobile.files import write_atomic
from dreamlite_mobile.networks import build, fold
from dreamlite_mobile.networks.form import HTP_PHASES, Form, form_of
from dreamlite_mobile.networks.transformer import TransformerBlock, joined
from dreamlite_mobile.networks.unet import DownBlock, MidBlock, Resnet, UpBlock
from export.alike import computed
from export.cutting import Part
from export.htp_shards import seeded as seeded_inputs
from export.shards import Shard, channels_first, channels_last, cut_component
from export.targets import DEFAULT_SOC, target
from export.workers import Job, Limits, run_jobs

if TYPE_CHECKING:
    from export.qnn import Quantisation

RESULTS = Path(__file__).parent / "results" / "htp_traffic.json"
HEIGHT, WIDTH = 128, 256
"""Joint latents of a 1024 x 1024 picture."""
EDIT_STATES, GENERATE_STATES = 464, 200
ROWS = (0, 128, 256, 512, 1024)
PRECISIONS = ("fp16", "w8a16", "w8a8mix")
MEMORY = 14_000_000_000
ANY = 1 << 20
"""More channels than there are."""
Tensors = tuple[torch.Tensor, ...]
cfg = MOBILE.unet


@dataclass(frozen=True, slots=True)
class Case:
    """One piece: `make` gives the module and its inputs, in the worker."""

    name: str
    make: Callable[[], tuple[nn.Module, Tensors]]


class Stage(nn.Module):
    """A block of the U-Net that meets others as shards do (`Boundaries`); `call` says how it is called.

    It gives what dtype it is given: fp16, or fp32 to be quantised.
    """

    def __init__(self, call: Callable[..., Any], *blocks: nn.Module) -> None:
        super().__init__()
        self.call, self.blocks = call, nn.ModuleList(blocks)

    def forward(self, *inputs: torch.Tensor) -> Tensors:
        made = self.call(*(channels_first(x).float() for x in inputs))
        made = made if isinstance(made, list | tuple) else (made,)
        return tuple(channels_last(x).to(inputs[0].dtype) for x in made)


def seeded(*blocks: nn.Module) -> list[nn.Module]:
    """The blocks with weights, folded."""
    torch.manual_seed(0)
    for block in blocks:
        for weight in block.parameters():
            nn.init.normal_(weight, 0.0, 0.02) if weight.ndim > 1 else nn.init.ones_(weight)
        fold(block)
    return list(blocks)


def half(*shape: int) -> torch.Tensor:
    return torch.randn(1, *shape).half()


def plane(level: int) -> tuple[int, int]:
    """Height and width at a level."""
    return HEIGHT >> level, WIDTH >> level


def picture(channels: int, level: int) -> torch.Tensor:
    """Channels last, as shards hand pictures on."""
    return half(*plane(level), channels)


def conditions(states: int) -> Tensors:
    """Step embedding, prompt context and mask bias."""
    return half(cfg.time_embed_dim), half(states, cfg.cross_attention_dim), half(1, states)


def stages(form: Form, states: int) -> Iterator[Case]:
    """Blocks of a step, as integers are cut; the mid block goes with the last level down."""
    channels, levels = cfg.block_out_channels, range(len(cfg.block_out_channels))

    def down(level: int) -> tuple[nn.Module, Tensors]:
        x = picture(channels[max(level - 1, 0)], level)
        block, *rest = seeded(DownBlock(cfg, level, form), *([MidBlock(cfg, form)] if level == levels[-1] else []))

        def call(x: torch.Tensor, *given: torch.Tensor) -> list[torch.Tensor]:
            made = block(x, *given)
            return [*made, rest[0](made[-1], *given)] if rest else made

        return Stage(call, block, *rest), (x, *conditions(states))

    def up(index: int) -> tuple[nn.Module, Tensors]:
        level = levels[-1] - index
        (block,) = seeded(UpBlock(cfg, index, form))
        inner, above = channels[level], channels[max(level - 1, 0)]
        skips = [picture(width, level) for width in (above, *[inner] * cfg.layers_per_block[level])]
        x = picture(channels[min(level + 1, levels[-1])], level)

        def call(x: torch.Tensor, *given: torch.Tensor) -> torch.Tensor:
            return block([x], list(given[: len(skips)]), *given[len(skips) :])

        plain = cfg.up_kinds[index] == "plain"
        given = conditions(states)[:1] if plain else conditions(states)

        def plain_call(x: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
            return block([x], list(rest[: len(skips)]), rest[-1], rest[-1], rest[-1])

        return Stage(plain_call if plain else call, block), (x, *skips, *given)

    for level in levels:
        yield Case(f"down{level}", lambda level=level: down(level))
    for index in levels:
        yield Case(f"up{index}", lambda index=index: up(index))


def pieces(form: Form, states: int, levels: Sequence[int], rows: Sequence[int]) -> Iterator[Case]:
    """Layers of the transformers and their parts, by rows per tile; resnets, which are not tiled."""
    for level in levels:
        channels = cfg.block_out_channels[level]
        kinds = ["layer", "cross", "ff", "attention"] + ["self"] * (cfg.down_kinds[level] == "full")
        for kind in kinds:
            for tile in rows:
                tiled = replace(form, row_tiles=((channels, tile),))
                make = lambda kind=kind, level=level, tiled=tiled: piece(kind, level, tiled, states)  # noqa: E731
                yield Case(f"{kind}{level}/{tile}", make)
        above = cfg.block_out_channels[max(level - 1, 0)]
        for width in dict.fromkeys((above, channels, 2 * channels)):
            yield Case(f"resnet{level} {width}", lambda level=level, width=width: resnet(level, width, form))


def piece(kind: str, level: int, form: Form, states: int) -> tuple[nn.Module, Tensors]:
    """A transformer layer, or one of its parts with its norm and its residual."""
    channels, heads = cfg.block_out_channels[level], cfg.num_heads[level]
    (block,) = seeded(TransformerBlock(cfg, channels, heads, cfg.down_kinds[level] == "full", form))
    assert isinstance(block, TransformerBlock)
    height, width = plane(level)
    x, (_, context, bias) = half(height * width, channels), conditions(states)

    def cross(x: torch.Tensor, context: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        given = block.attn2.keys_values(context)
        return joined([block.look_at_prompt(rows, given, bias) for rows in block.tiles(x)])

    def feed(x: torch.Tensor) -> torch.Tensor:
        return joined([block.feed_forward(rows) for rows in block.tiles(x)])

    def own(x: torch.Tensor) -> torch.Tensor:
        assert block.attn1 is not None
        given = block.attn1.keys_values(block.norm1(x))
        return joined([rows + block.attn1(block.norm1(rows), *given, None) for rows in block.tiles(x)])

    def attention(x: torch.Tensor, context: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return cross(own(x) if block.attn1 is not None else x, context, bias)

    if kind == "attention":
        return Stage(attention, block), (x, context, bias)
    if kind == "layer":
        return Stage(block, block), (x, context, bias)
    if kind == "cross":
        return Stage(cross, block), (x, context, bias)
    return Stage(feed if kind == "ff" else own, block), (x,)


@dataclass(frozen=True, slots=True)
class Phase:
    """One shard of the whole network without its numbers, and how many others have an equal graph."""

    part: Part
    count: int

    def __call__(self) -> tuple[nn.Module, Tensors]:
        module = self.part.module.to_empty(device="cpu")
        torch.manual_seed(0)
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.data = torch.randn(tensor.shape).to(tensor.dtype) * 0.02
        return module, seeded_inputs(self.part.method.inputs)


def phases(form: Form, states: int) -> Iterator[Case]:
    """The shards of the whole network, one of those that are alike, by the name of the first."""
    height, width = HEIGHT, WIDTH // 2
    shapes = {
        "latents": (1, cfg.in_channels, height, width),
        "condition": (1, cfg.in_channels, height, width),
        "step_embedding": (1, cfg.time_embed_dim),
        "prompt_states": (1, states, cfg.encoder_hid_dim),
        "mask": (1, states),
    }
    velocity = (TensorSpec("velocity", shapes["latents"]),)
    method = MethodSpec(tuple(TensorSpec(*one) for one in shapes.items()), velocity)
    with torch.device("meta"):
        network = fold(build("unet", MOBILE, form))
        cut = cut_component(ComponentSpec("unet", {"forward": method}), {"forward": network}, None, inf, fp16_bytes)
    found: dict[str, list[Shard]] = {}
    for shard in cut:
        found.setdefault(computed(shard), []).append(shard)
    for alike in found.values():
        yield Case(alike[0].begins or "first", Phase(alike[0].parts["forward"], len(alike)))


def fp16_bytes(_name: str, weight: torch.Tensor) -> float:
    return 2.0 * weight.numel()


def resnet(level: int, channels: int, form: Form) -> tuple[nn.Module, Tensors]:
    (block,) = seeded(Resnet(cfg, channels, cfg.block_out_channels[level], form))
    return Stage(block, block), (picture(channels, level), conditions(1)[0])


def compiled(case: Case, soc: str, precision: str) -> dict[str, int]:
    """A worker's job: the traffic of the compiled case."""
    from export.qnn import lower

    module, inputs = case.make()
    integers = None
    if precision != "fp16":
        inputs = tuple(x.float() for x in inputs)
        integers = quantisation(module.eval(), inputs, precision)
    return lower({"forward": (module.eval(), inputs)}, target(soc), integers=integers).traffic["forward"].model_dump()


@torch.no_grad()
def quantisation(module: nn.Module, inputs: Tensors, precision: str) -> "Quantisation":
    """8-bit weights everywhere, ranges of one call, 16-bit codes at all boundaries; w8a8mix: all layers short."""
    from export.qnn import Quantisation
    from export.qnn_plan import WeightPlan, layers_of

    layers = tuple(layers_of({"forward": module}))
    plan = WeightPlan("unet", precision, 8, layers, (), short=layers if precision == "w8a8mix" else ())
    met = ((True,) * len(inputs), (True,) * len(module(*inputs)))
    return Quantisation(plan, {"forward": [inputs]}, met={"forward": met})


def main() -> None:
    """Compile what is missing, print all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("phases", "stages", "tiles"))
    parser.add_argument("--soc", default=DEFAULT_SOC)
    parser.add_argument("--precision", choices=PRECISIONS, default=PRECISIONS[0])
    parser.add_argument("--states", type=int, default=GENERATE_STATES, help=f"{EDIT_STATES} when editing")
    parser.add_argument("--only", default="", help="names that begin so, separated by commas")
    parser.add_argument("--level", type=int, action="append")
    parser.add_argument("--rows", help="per tile")
    parser.add_argument("--lines", help="per band; phases")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    wanted = [case for case in cases_of(asked) if case.name.startswith(tuple(asked.only.split(",")))]
    known: dict[str, Any] = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    kind = " phases" if asked.what == "phases" else ""
    found = known.setdefault(f"{asked.soc} {asked.precision} S={asked.states}{kind}", {})
    jobs = [
        Job(case.name, 1.0, lambda case=case: compiled(case, asked.soc, asked.precision))
        for case in wanted
        if case.name not in found
    ]
    for done in run_jobs(jobs, Limits(1, MEMORY)):
        found[done.name] = done.result | {"seconds": round(done.cost.seconds, 1), "peak_bytes": done.cost.peak_bytes}
        write_atomic(asked.out, (json.dumps(known, indent=1, sort_keys=True) + "\n").encode())
        show(done.name, found[done.name])
    for case in wanted:
        if case.name not in {job.name for job in jobs}:
            show(case.name, found[case.name])
    if asked.what == "phases" and not (asked.only or asked.rows or asked.lines):
        rows = [(found[case.name], case.make.count) for case in wanted if isinstance(case.make, Phase)]
        moved = sum(count * (row["read_bytes"] + row["written_bytes"]) for row, count in rows)
        shards = sum(count for _, count in rows)
        print(f"{shards} shards, {moved / 1e6:,.1f} MB")


def cases_of(asked: argparse.Namespace) -> list[Case]:
    """What the command asks for."""
    form = form_of("qnn", asked.precision)
    rows = [int(text) for text in asked.rows.split(",")] if asked.rows else None
    if asked.what == "stages":
        return list(stages(form, asked.states))
    if asked.what == "tiles":
        return list(pieces(form, asked.states, asked.level or (0, 1, 2), rows or ROWS))
    if asked.precision != "fp16":
        raise SystemExit("error: phases are fp16's; for integers: stages, tiles")
    form = HTP_PHASES
    lines = [int(text) for text in asked.lines.split(",")] if asked.lines else None
    if rows is None and lines is None:
        return list(phases(form, asked.states))
    if len(asked.level or ()) != 1:
        raise SystemExit("error: --rows and --lines of phases are of one --level")
    found, width = [], cfg.block_out_channels[asked.level[0]]
    for tile in rows or ():
        tiled = replace(form, row_tiles=tuple((dict(form.row_tiles) | {width: tile}).items()))
        found += [replace(case, name=f"{case.name}, {tile} rows") for case in phases(tiled, asked.states)]
    for high in lines or ():
        others = tuple(row for row in form.bands if row[0] != width)
        banded = replace(form, bands=(*others, (width, ANY, high)))
        found += [replace(case, name=f"{case.name}, {high} lines") for case in phases(banded, asked.states)]
    return found


def show(name: str, row: dict[str, float]) -> None:
    read, written = row["read_bytes"] / 1e6, row["written_bytes"] / 1e6
    print(
        f"{name:16} read {read:8.1f}  written {written:8.1f}  both {read + written:8.1f} MB"
        f"  {row['seconds']:6.1f} s  {row['peak_bytes'] / 1e9:4.1f} GB",
        flush=True,
    )


if __name__ == "__main__":
    main()
