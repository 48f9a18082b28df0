"""Expected sizes of an export, and what making it holds in memory, from shapes alone."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dreamlite_mobile.bundle_schema import EmbeddingsEntry
from dreamlite_mobile.components import SIZED
from dreamlite_mobile.networks import build
from dreamlite_mobile.networks.form import REFERENCE, form_of
from dreamlite_mobile.scheduler import MAX_STEPS
from export.backends import Streaming
from export.embeddings import table_dtype
from export.manifest import EMBEDDINGS
from export.precision import WIDTHS
from export.quantize import model_linears, settled_linears

if TYPE_CHECKING:
    from export.driver import Plan

BYTES_PER_WEIGHT = {
    "fp32": 4.0,
    "fp16": 2.0,
    "w8a16": 1.25,
    "w8a8mix": 1.25,
    "w4a16": 0.625,
    "w8": 1.0,
    "p6": 0.75,
    "w4": 0.5 + 2 / 32,
    "p4": 0.5,
}
"""Of a linear weight, and in Core ML of a convolution's; what is not stays in fp32, or in fp16 in fp16 and Core ML.
w4 keeps a 16-bit scale per group of 32."""

PROCESS_BYTES = 700_000_000
LOWERING_FACTOR = {"xnnpack": 3.5, "onnx": 3.5, "coreml": 3.5, "qnn": 9.5}
"""What a process that lowers a component holds: its libraries, and so many times the weights in fp32. The published
U-Net takes 5.8 GB through XNNPACK and 16.9 through QNN, the tiny one 0.7."""

GRAPH_BYTES = 200_000
"""For each weight tensor, what the graph of a further size's method adds over the same weights: two methods of the tiny
U-Net (355 tensors) added 0.14 GB through XNNPACK, and through QNN. Other backends are taken to be like these."""

STREAMED_FACTOR = 1.0
"""The same of a component that is never whole in fp32: two layers of the published text tower in w4 took 0.97."""


@dataclass(frozen=True, slots=True)
class Expected:
    """One part of the bundle."""

    name: str
    precision: str
    methods: list[str]
    expected_bytes: int
    memory_bytes: int = 0


def estimate(plan: "Plan") -> list[Expected]:
    """Components and tables of a planned bundle with their expected bytes."""
    config = plan.geometry.config
    parts = [
        Expected(
            name, plan.precisions[name], list(spec.methods), component_bytes(plan, name), lowering_bytes(plan, name)
        )
        for name, spec in plan.specs.items()
    ]
    if "text_encoder" in plan.specs:
        rows = plan.request.checkpoint.embedding_rows()
        dtype, (count, columns) = table_dtype(rows, plan.request.embeddings), rows.shape
        table = EmbeddingsEntry(file=EMBEDDINGS, rows=count, columns=columns, dtype=dtype)
        parts.append(Expected("token embeddings", dtype, [], table.nbytes))
    if "unet" in plan.specs:
        rows_of_steps = MAX_STEPS * (MAX_STEPS + 1) // 2
        each = rows_of_steps * config.unet.time_embed_dim * 4
        parts.append(Expected("step embeddings", "float32", [], each * len(plan.geometry.sizes)))
    return parts


def component_bytes(plan: "Plan", name: str) -> int:
    """Weights of a component at its precision; graphs add little."""
    precision = plan.precisions[name]
    is_coreml = plan.request.backend == "coreml"
    each, others = BYTES_PER_WEIGHT[precision], 2.0 if is_coreml or precision in ("fp16", *WIDTHS) else 4.0
    total = 0.0
    for tensor in build(name, plan.geometry.config, REFERENCE).state_dict().values():
        is_compressed = tensor.ndim == 2 or (is_coreml and tensor.ndim > 2)
        total += tensor.numel() * (each if is_compressed else others)
    return round(total)


def weight_bytes(plan: "Plan", name: str) -> int:
    """Weights of a component in fp32, as lowering begins with them."""
    return sum(4 * tensor.numel() for tensor in build(name, plan.geometry.config, REFERENCE).state_dict().values())


def lowering_bytes(plan: "Plan", name: str) -> int:
    """What a process that lowers a component is expected to hold at its peak."""
    factor = STREAMED_FACTOR if is_streamed(plan, name) else LOWERING_FACTOR[plan.request.backend]
    return int(PROCESS_BYTES + factor * weight_bytes(plan, name) + further_bytes(plan, name))


def further_bytes(plan: "Plan", name: str) -> int:
    """What a component's methods for sizes beside the first add to that."""
    if name not in SIZED:
        return 0
    methods, sizes = len(plan.specs[name].methods), len(plan.geometry.sizes)
    tensors = len(build(name, plan.geometry.config, REFERENCE).state_dict())
    return GRAPH_BYTES * tensors * (methods - methods // sizes)


def is_streamed(plan: "Plan", name: str) -> bool:
    """Whether all linear layers of a component are quantised while they are read."""
    if not isinstance(plan.exporter, Streaming) or plan.precisions[name] == "fp32":
        return False
    network = build(name, plan.geometry.config, form_of(plan.request.backend, plan.precisions[name]))
    return settled_linears(network) == {layer for layer, _ in model_linears(network)}
