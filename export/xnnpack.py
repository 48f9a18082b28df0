"""PROVISIONAL (lead): replaced by helper 1's version. fp32 only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from torch import nn


@dataclass
class Report:
    delegates: int
    outside: list[str]


@dataclass
class Lowered:
    program: object
    reports: dict[str, Report]

    def write(self, stream: IO[bytes]) -> None:
        self.program.write_to_file(stream)


def lower(methods: Mapping[str, tuple[nn.Module, tuple[torch.Tensor, ...]]], precision: str) -> Lowered:
    assert precision == "fp32"
    programs = {name: torch.export.export(module, inputs) for name, (module, inputs) in methods.items()}
    import sys

    sys.path.insert(0, "/tmp/xnn")
    import lean
    from unittest import mock
    from executorch.exir import EdgeCompileConfig

    with mock.patch.object(lean.pre, "XNNPACKPassManager", lean.LeanPasses):
        edge = to_edge_transform_and_lower(
            programs,
            partitioner={name: [lean.Whole()] for name in programs},
            compile_config=EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=True),
        )
    reports = {}
    for name in programs:
        calls = [
            str(node.target)
            for node in edge.exported_program(name).graph.nodes
            if node.op == "call_function" and "getitem" not in str(node.target)
        ]
        outside = [call for call in calls if "delegate" not in call]
        reports[name] = Report(len(calls) - len(outside), outside)
    return Lowered(edge.to_executorch(), reports)
