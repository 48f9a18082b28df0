"""Small modules that stand in for a network: two methods that share their weights, two outputs each."""

from pathlib import Path

import torch
from torch import nn

from dreamlite_mobile.components import MethodSpec, TensorSpec


class Standin(nn.Module):
    """x [1, rows, width], y [1, width] -> sum [1, rows, width], mean [1, rows]."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        for layer in self.layers:
            x = torch.relu(layer(x))
        return x + y, x.mean(-1)


def standin(width: int = 32, depth: int = 2) -> Standin:
    """Seeded, in evaluation mode."""
    torch.manual_seed(0)
    return Standin(width, depth).eval().requires_grad_(False)


def standin_methods(width: int = 32) -> dict[str, MethodSpec]:
    """`generate` over 4 rows and `edit` over 7."""
    return {method: standin_method(rows, width) for method, rows in (("generate", 4), ("edit", 7))}


def standin_method(rows: int, width: int) -> MethodSpec:
    return MethodSpec(
        inputs=(TensorSpec("x", (1, rows, width)), TensorSpec("y", (1, width))),
        outputs=(TensorSpec("sum", (1, rows, width)), TensorSpec("mean", (1, rows))),
    )


def write_pte(path: Path, module: Standin, methods: dict[str, MethodSpec]) -> Path:
    """Lower to XNNPACK; the methods share their weights in the file."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    programs = {
        name: torch.export.export(module, tuple(torch.zeros(spec.shape) for spec in method.inputs))
        for name, method in methods.items()
    }
    lowered = to_edge_transform_and_lower(programs, partitioner={name: [XnnpackPartitioner()] for name in programs})
    path.write_bytes(lowered.to_executorch().buffer)
    return path
