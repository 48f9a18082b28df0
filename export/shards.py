"""A component cut into shards, each a program of its own: where it may be cut, and where it is.

Cuts fall in front of named modules: blocks of the U-Net and their layers, layers of a tower.
"""

import hashlib
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from math import inf

import torch
from torch import nn
from torch.fx import GraphModule, Node

from dreamlite_mobile.components import ComponentSpec, MethodSpec, TensorSpec
from dreamlite_mobile.errors import ConfigError, ExportError
from dreamlite_mobile.networks.form import HTP, HTP_PHASES, Form
from export.cutting import Part, Traced, Weigh, last_use, parts, trace

PLACES = {
    "unet": re.compile(r"mid_block|(down_blocks|up_blocks)\.\d+\.resnets\.\d+"),
    "text_encoder": re.compile(r"tower\.layers\.\d+"),
    "vision_encoder": re.compile(r"blocks\.\d+"),
}
"""Modules in front of which a component may be cut into a number of shards. Others (the autoencoder's) are small and
stay whole."""
Patterns = Mapping[str, re.Pattern[str]]
BLOCKS: Mapping[str, tuple[str, ...]] = {
    "unet": (
        "down_blocks.1.resnets.0",
        "down_blocks.2.resnets.0",
        "up_blocks.0.resnets.0",
        "up_blocks.1.resnets.0",
        "up_blocks.2.resnets.0",
    ),
}
"""Where a component is cut into so many shards, and in integers by `auto`; else evenly by weights."""
PHASES = {
    "unet": re.compile(
        r"conv_in|conv_norm_out"
        # level 0: resnets, whole or the phases of those in bands, transformers with their norm apart
        r"|(down_blocks\.0|up_blocks\.2)\.(resnets|attentions|downsamplers)\.\d+|.*\.norm[12]?\.(moments\.0|scaling)"
        # below it: each layer, and what lies between two transformers
        r"|(down_blocks\.1|up_blocks\.1)\.attentions\.\d+\.(transformer_blocks\.\d+|added)"
        r"|(down_blocks\.2|mid_block|up_blocks\.0)\.attentions\.\d+\.(transformer_blocks\.\d+(\.norm[23])?|added)"
        r"|down_blocks\.1\.(resnets|attentions|downsamplers)\.\d+|up_blocks\.1\.(resnets|attentions)\.[02]"
        r"|down_blocks\.2\.resnets\.0"
        r"|up_blocks\.0\.upsamplers\.0|up_blocks\.1\.upsamplers\.0\.conv\.ups\.0"
    ),
}
"""Where `auto` cuts a large component in fp16, which is written in phases for it (`HTP_PHASES`): in front of each that
works through the whole picture. The compiler would mix phases that it sees together, and spill (benchmarks/htp.md). In
integers every cut costs accuracy. Chosen for the published configuration: of another number of levels or layers some
cuts are not made."""
TAKING_APART = {
    operator.getitem,
    torch.ops.aten.split.Tensor,
    torch.ops.aten.split_with_sizes.default,
    torch.ops.aten.slice.Tensor,
    torch.ops.aten.permute.default,
    torch.ops.aten.view.default,
    torch.ops.aten.reshape.default,
}
WHOLE_BYTES = 100_000_000
"""`auto` leaves a component with fewer bytes of weights whole."""
SHARD_BYTES = 600_000_000
"""`auto` cuts what has no plan into shards of no more: five layers of the published text tower."""
COMPILER_BYTES = 600_000_000
COMPILER_FACTOR = 19
"""What compiling holds: so much, and so many times the weights in fp16. The published U-Net at 1024x1024 took
16.9 GB for its 780 MB in one piece, 6.9 GB for the largest of six; a tiny one takes 0.7."""
INTEGERS_FACTOR = 2
"""Of it in integers: they are compiled from fp32, however few bytes their weights will have."""
HANDED_ON = "float16"
"""Between shards: what the HTP computes in, half of what fp32 would move. Integers hand on 16-bit codes under that
name, the only one of 16 bits whose tensors ExecuTorch's Java classes take back."""
Code = tuple[float, int]
"""Scale and zero point: what a 16-bit code of a handed-on value stands for."""
PICTURE_RANK = 4


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard's part of every method, from which place on it goes, and the bytes of its weights."""

    begins: str
    parts: dict[str, Part]
    volume: float


def cut_component(
    spec: ComponentSpec,
    modules: Mapping[str, nn.Module],
    wanted: int | None,
    limit: float,
    weigh: Weigh,
    room: float = inf,
    codes: bool = False,
) -> list[Shard]:
    """The component's shards; a single one is the modules as they are.

    Args:
        codes: hand on values that the compiler turns into 16-bit codes; else they are rounded to fp16 here.
        wanted: how many, or None for what suits the component.
        limit: most bytes of weights that one shard may hold.
        room: most that memory has room to compile, where the choice is free.

    Raises:
        ConfigError: a number of shards that the component has no places for.
        ExportError: a shard over the limit, with the number of shards that would fit.
    """
    first = next(iter(spec.methods))
    total = sum(weigh(name, weight) for name, weight in modules[first].named_parameters())
    if wanted == 1 or (wanted is None and total <= min(WHOLE_BYTES, room)) or spec.name not in PLACES:
        if total > limit:
            whole = trace(first, modules[first], spec.methods[first], weigh)
            refuse(spec.name, [total], limit, named_places(spec.name, whole))
        return [Shard("", {name: Part(modules[name], method) for name, method in spec.methods.items()}, total)]
    traced = {name: trace(name, modules[name], method, weigh) for name, method in spec.methods.items()}
    known = named_places(spec.name, traced[first])
    phases = named_places(spec.name, traced[first], PHASES) if written_in_phases(modules[first]) else {}
    if phases and max(shard_volumes(phases, tuple(phases), total)) > min(limit, room):
        phases = {}
    chosen = tuple(phases) or chosen_places(spec.name, known, total, wanted, room)
    volumes = shard_volumes(phases or known, chosen, total)
    if max(volumes) > limit:
        refuse(spec.name, volumes, limit, known)
    cut = {
        name: [with_boundaries(part, method, codes) for part in parts(one, cuts(one, chosen))]
        for (name, one), method in zip(traced.items(), spec.methods.values(), strict=True)
    }
    return [
        Shard(begins, {name: found[index] for name, found in cut.items()}, volume)
        for index, (begins, volume) in enumerate(zip(("", *chosen), volumes, strict=True))
    ]


def form_to_cut(component: str, form: Form, weights: float, wanted: int | None) -> Form:
    """The form that a component is to be written in: in phases where `auto` will cut it into them.

    Args:
        weights: bytes of its weights as the backend has them; wanted: as of `cut_component`.
    """
    in_phases = form == HTP and component in PHASES and wanted is None and weights > WHOLE_BYTES
    return HTP_PHASES if in_phases else form


def written_in_phases(module: nn.Module) -> bool:
    """Whether a network is of the form that is cut into phases."""
    return any(getattr(inner, "phases", False) for inner in module.modules())


def named_places(component: str, traced: Traced, patterns: Patterns = PLACES) -> dict[str, float]:
    """Where the component may be cut, in order, and the bytes of the weights used before each place.

    What a method takes at its very beginning is no cut, and of two places that begin alike the first is enough.
    """
    pattern = patterns.get(component, re.compile(r"(?!)"))
    found = {path: index for path, index in beginnings(traced).items() if pattern.fullmatch(path)}
    before = {path: traced.volumes[index] for path, index in found.items()}
    once = {index: path for path, index in reversed(found.items())}
    return {path: before[path] for path in found if before[path] > 0 and once[found[path]] == path}


def cuts(traced: Traced, chosen: Sequence[str]) -> list[int]:
    """The operators that places begin with. What only takes a picture or rows apart for one belongs to it."""
    place = {node: index for index, node in enumerate(traced.nodes)}
    # an up block joins its skip before its first layer, which belongs to that layer
    first_of = beginnings(traced)
    begin = [first_of[path.removesuffix(".resnets.0")] for path in chosen]
    found = []
    for first, following in zip(begin, [*begin[1:], len(traced.nodes)], strict=True):
        cut = first
        while traced.nodes[cut - 1].target in TAKING_APART and last_use(traced.nodes[cut - 1], place) < following:
            cut -= 1
        found.append(cut)
    return found


def beginnings(traced: Traced) -> dict[str, int]:
    """The first operator of each module, in their order."""
    found: dict[str, int] = {}
    for index, node in enumerate(traced.nodes):
        for path in module_paths(node):
            found.setdefault(path, index)
    return found


def module_paths(node: Node) -> list[str]:
    """The modules that an operator is of, outermost first."""
    return [path for path, _ in node.meta.get("nn_module_stack", {}).values()]


def chosen_places(
    component: str, known: Mapping[str, float], total: float, wanted: int | None, room: float = inf
) -> tuple[str, ...]:
    """The places of so many shards, or those of the plan; more if memory has no room for its largest.

    Raises:
        ConfigError: more shards than places.
    """
    plan = BLOCKS.get(component)
    if wanted is None:
        if plan is not None and set(plan) <= set(known) and max(shard_volumes(known, plan, total)) <= room:
            return plan
        wanted = min(len(known) + 1, fewest(known, total, min(SHARD_BYTES, room)))
    if not 1 <= wanted <= len(known) + 1:
        raise ConfigError(
            f"--shards {wanted}: {component} can be cut into 1 to {len(known) + 1} shards "
            f"(in front of {', '.join(known)})"
        )
    if plan is not None and len(plan) == wanted - 1 and set(plan) <= set(known):
        return plan
    return even_places(known, total, wanted)


def even_places(known: Mapping[str, float], total: float, count: int) -> tuple[str, ...]:
    """The places that make the largest of so many shards as small as can be."""
    names, before = list(known), [*known.values()]

    @cache
    def best(start: int, left: int) -> tuple[float, tuple[int, ...]]:
        """Of the weights from a place on (-1: the beginning): the largest shard and the cuts after it."""
        held = before[start] if start >= 0 else 0.0
        if left == 1:
            return total - held, ()
        found: tuple[float, tuple[int, ...]] = (inf, ())
        for cut in range(start + 1, len(names) - left + 2):
            later, cuts = best(cut, left - 1)
            found = min(found, (max(before[cut] - held, later), (cut, *cuts)))
        return found

    return tuple(names[cut] for cut in best(-1, count)[1])


def shard_memory(volume: float, integers: bool = False) -> int:
    """Bytes that compiling a shard of so many bytes of weights is expected to hold."""
    return int(COMPILER_BYTES + held_per_byte(integers) * volume)


def shard_room(memory: int, integers: bool = False) -> float:
    """Most bytes of weights that can be compiled within so much memory, the exporter's own included."""
    return max(0.0, (memory - 2 * COMPILER_BYTES) / held_per_byte(integers))


def held_per_byte(integers: bool) -> int:
    return COMPILER_FACTOR * (INTEGERS_FACTOR if integers else 1)


def shard_volumes(known: Mapping[str, float], chosen: Sequence[str], total: float) -> list[float]:
    """Bytes of weights in each shard."""
    bounds = [0.0, *(known[place] for place in chosen), total]
    return [after - before for before, after in pairwise(bounds)]


def fewest(known: Mapping[str, float], total: float, limit: float) -> int:
    """The fewest shards of which none is over the limit; one more than there can be if none are few enough."""
    for count in range(1, len(known) + 2):
        if max(shard_volumes(known, even_places(known, total, count), total)) <= limit:
            return count
    return len(known) + 2


def refuse(component: str, volumes: Sequence[float], limit: float, known: Mapping[str, float]) -> None:
    """Say which shard is too large for a context of the chip, and what would fit."""
    worst = max(range(len(volumes)), key=volumes.__getitem__)
    needed = fewest(known, sum(volumes), limit)
    mend = (
        f"{needed} shards would fit (--shards {needed})"
        if needed <= len(known) + 1
        else "no cut makes it fit; take fewer bits (--precision)"
    )
    raise ExportError(
        f"{component}: shard {worst + 1} of {len(volumes)} holds {volumes[worst] / 1e6:,.0f} MB of weights, one "
        f"context of the chip {limit / 1e6:,.0f}; {mend}"
    )


class Boundaries(nn.Module):
    """A part that takes and gives fp16, and pictures with their channels last, where it meets another part.

    It is how the HTP holds them: a picture handed on with its channels first is transposed in memory on both sides.
    With `codes`, fp32 stays: quantisation makes 16-bit codes of it.
    """

    def __init__(self, module: nn.Module, takes: Sequence[bool], gives: Sequence[bool], codes: bool = False) -> None:
        super().__init__()
        self.module, self.takes, self.gives, self.codes = module, tuple(takes), tuple(gives), codes

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """In the order of the part."""
        taken = [channels_first(x).float() if met else x for x, met in zip(inputs, self.takes, strict=True)]
        made = self.module(*taken)
        given = [channels_last(x) if met else x for x, met in zip(made, self.gives, strict=True)]
        return tuple(x.half() if met and not self.codes else x for x, met in zip(given, self.gives, strict=True))


def channels_first(x: torch.Tensor) -> torch.Tensor:
    """[1, H, W, C] -> [1, C, H, W]; anything else as it is."""
    return x.permute(0, 3, 1, 2) if x.dim() == PICTURE_RANK else x


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """[1, C, H, W] -> [1, H, W, C]; anything else as it is."""
    return x.permute(0, 2, 3, 1) if x.dim() == PICTURE_RANK else x


def with_boundaries(part: Part, whole: MethodSpec, codes: bool = False) -> Part:
    """The part with what it hands on, and takes from others, as `Boundaries` says."""
    own = {*whole.inputs, *whole.outputs}

    def met(spec: TensorSpec) -> TensorSpec:
        if spec in own:
            return spec
        batch, *rest = spec.shape
        shape = (batch, *rest[1:], rest[0]) if len(spec.shape) == PICTURE_RANK else spec.shape
        return replace(spec, shape=shape, dtype=HANDED_ON)

    method = MethodSpec(tuple(map(met, part.method.inputs)), tuple(map(met, part.method.outputs)))
    return Part(Boundaries(part.module, marks(method.inputs), marks(method.outputs), codes), method)


def marks(specs: Sequence[TensorSpec]) -> tuple[bool, ...]:
    """Which of them are handed from shard to shard."""
    return tuple(spec.dtype == HANDED_ON for spec in specs)


def shard_digest(shard: Shard) -> str:
    """Of all that the shard computes: operators, shapes and every number of its weights."""
    digest = hashlib.sha256()
    for name, part in shard.parts.items():
        digest.update(f"{name}\0{part.method}\n".encode())
        for path, module in part.module.named_modules():
            if isinstance(module, GraphModule):
                digest.update(f"{path}\0{module.graph}\n".encode())
        for key, tensor in sorted(part.module.state_dict().items()):
            digest.update(f"{key}\0{tensor.dtype}\0{tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()
