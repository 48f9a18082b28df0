"""Expected sizes of an export, from shapes alone."""

from dataclasses import dataclass
from math import prod

from dreamlite_mobile.networks import build
from dreamlite_mobile.networks.form import REFERENCE
from dreamlite_mobile.scheduler import MAX_STEPS
from export.driver import Plan

BYTES_PER_WEIGHT = {"fp32": 4.0, "fp16": 2.0, "w8a16": 1.25, "w8": 1.0, "p6": 0.75, "w4": 0.5 + 2 / 32, "p4": 0.5}
"""Of a linear weight, and in Core ML of a convolution's; what is not stays in fp32, or in fp16 in fp16 and Core ML.
w4 keeps a 16-bit scale per group of 32."""


@dataclass(frozen=True, slots=True)
class Expected:
    """One part of the bundle."""

    name: str
    precision: str
    methods: list[str]
    expected_bytes: int


def estimate(plan: Plan) -> list[Expected]:
    """Components and tables of a planned bundle with their expected bytes."""
    config = plan.geometry.config
    parts = [
        Expected(name, plan.precisions[name], list(spec.methods), component_bytes(plan, name))
        for name, spec in plan.specs.items()
    ]
    if "text_encoder" in plan.specs:
        rows = plan.request.checkpoint.embedding_rows()
        width = 4 if rows.dtype == "float32" else 2
        parts.append(Expected("token embeddings", rows.dtype, [], prod(rows.shape) * width))
    if "unet" in plan.specs:
        rows_of_steps = MAX_STEPS * (MAX_STEPS + 1) // 2
        parts.append(Expected("step embeddings", "float32", [], rows_of_steps * config.unet.time_embed_dim * 4))
    return parts


def component_bytes(plan: Plan, name: str) -> int:
    """Weights of a component at its precision; graphs add little."""
    precision = plan.precisions[name]
    is_coreml = plan.request.backend == "coreml"
    each, others = BYTES_PER_WEIGHT[precision], 2.0 if is_coreml or precision in ("fp16", "w8a16") else 4.0
    total = 0.0
    for tensor in build(name, plan.geometry.config, REFERENCE).state_dict().values():
        is_compressed = tensor.ndim == 2 or (is_coreml and tensor.ndim > 2)
        total += tensor.numel() * (each if is_compressed else others)
    return round(total)
