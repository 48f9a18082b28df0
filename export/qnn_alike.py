"""What was traced and rewritten for one program, compiled once more for other weights.

Tracing and the compiler's passes take more than half of a program's time, and see of its weights no number.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from executorch.backends.qualcomm.qnn_preprocess import QnnBackend
from executorch.backends.qualcomm.utils.utils import qnn_edge_config
from executorch.exir import EdgeProgramManager
from executorch.exir.backend.compile_spec_schema import CompileSpec
from executorch.exir.lowered_backend_module import LoweredBackendModule
from torch import nn
from torch.export import ExportedProgram

from export.xnnpack import Methods

Weights = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Template:
    """Compiled methods, and the names of the weights of each."""

    programs: Mapping[str, ExportedProgram]
    names: Mapping[str, frozenset[str]]

    def compiled(self, methods: Methods, spec: list[CompileSpec]) -> EdgeProgramManager:
        """The methods with these weights, within the compiler's manager (`QnnManagerContext`).

        Raises:
            ValueError: weights of other names or shapes, which methods that compute the same cannot have.
        """
        programs = {name: copy.deepcopy(program) for name, program in self.programs.items()}
        delegates = {name: delegate_of(program) for name, program in programs.items()}
        taken = {}
        for name, delegate in delegates.items():
            weights = weights_of(methods[name][0])
            if weights.keys() != self.names[name]:
                raise ValueError(f"{name}: weights {sorted(weights)} for a program of {sorted(self.names[name])}")
            taken[name] = [copy.deepcopy(with_weights(delegate.original_module, weights))]  # which the passes rewrite
        made = QnnBackend.preprocess_multimethod(taken, {name: [spec] for name in taken})
        for name, delegate in delegates.items():
            delegate._processed_bytes = made[name][0].processed_bytes
        return EdgeProgramManager(programs, compile_config=qnn_edge_config())


def template(edge: EdgeProgramManager, methods: Methods) -> Template | None:
    """Of what was just compiled and not yet finished; None if other weights cannot be put into it.

    Each weight has to stand in what the compiler took as it was, and nothing else but single numbers, of which the
    lowering makes operands: what it has computed of weights would be that of the first ones.
    """
    programs = {name: edge.exported_program(name) for name in methods}
    taken = {name: held_by(delegate_of(program).original_module) for name, program in programs.items()}
    if not all(all_kept(weights_of(module), taken[name]) for name, (module, _) in methods.items()):
        return None
    names = {name: frozenset(weights_of(module)) for name, (module, _) in methods.items()}
    return Template({name: copy.deepcopy(program) for name, program in programs.items()}, names)


def all_kept(weights: Weights, held: Weights) -> bool:
    """Whether all weights are there as they were, and nothing that may have been computed of them."""
    kept = all(weight.numel() > 1 and key in held and same(held[key], weight) for key, weight in weights.items())
    return kept and all(held[key].numel() == 1 for key in held.keys() - weights.keys())


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def delegate_of(program: ExportedProgram) -> LoweredBackendModule:
    """The one delegate that a program calls."""
    (found,) = (module for module in program.graph_module.modules() if isinstance(module, LoweredBackendModule))
    return found


def held_by(program: ExportedProgram) -> dict[str, torch.Tensor]:
    """Every number that a program has."""
    return {**program.state_dict, **program.constants}


def with_weights(program: ExportedProgram, weights: Weights) -> ExportedProgram:
    """The program with other weights of the same shapes in it; its tables are its own from then on.

    Raises:
        ValueError: another shape or dtype.
    """
    held = held_by(program)
    for key, weight in weights.items():
        if (held[key].shape, held[key].dtype) != (weight.shape, weight.dtype):
            raise ValueError(f"{key}: {tuple(weight.shape)} {weight.dtype} where {tuple(held[key].shape)} stood")
    program._state_dict = {key: weights.get(key, value) for key, value in program.state_dict.items()}
    program._constants = {key: weights.get(key, value) for key, value in program.constants.items()}
    return program


def weights_of(module: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}
