"""Lowering to Qualcomm's HTP: one `.pte` per component, compiled for one SoC by the host compiler."""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from executorch.backends.qualcomm._passes.qnn_pass_manager import get_qnn_pass_manager_cls
from executorch.backends.qualcomm.partition.qnn_partitioner import QnnPartitioner
from executorch.backends.qualcomm.serialization.qc_schema import QcomChipset
from executorch.backends.qualcomm.utils.qnn_manager_lifecycle import QnnManagerContext
from executorch.backends.qualcomm.utils.utils import (
    generate_htp_compiler_spec,
    generate_qnn_executorch_compiler_spec,
    qnn_edge_config,
)
from executorch.exir import EdgeProgramManager, ExecutorchBackendConfig, to_edge_transform_and_lower
from executorch.exir.backend.compile_spec_schema import CompileSpec
from torch import nn
from torch.export import ExportedProgram

from dreamlite_mobile.bundle_programs import Traffic
from dreamlite_mobile.errors import ExportError
from export.calibration import Inputs
from export.lean_tracing import decomposed_at_once, lean_edge
from export.outliers import Activation
from export.qnn_alike import Template, template
from export.qnn_codes import Codes, Met, SharedCodes, codes_of, stay_codes
from export.qnn_order import results_in_order
from export.qnn_plan import WeightPlan
from export.qnn_quantize import Spans, quantised
from export.shared_inputs import SharedInputs
from export.targets import Target
from export.tracing import trace_module
from export.xnnpack import Lowered, Methods, cut_report

RMS_RANK = 3
TRAFFIC = re.compile(r"^(spill|fill|write_total|read_total)_bytes=(\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Quantisation:
    """What integers need: which bits, and the calls of each method that their ranges are taken from.

    `activations`: the largest numbers of each layer on these calls, in fp32. `met`: of each method of a shard, which
    inputs and outputs are handed from shard to shard as 16-bit codes; `spans`: the ranges of those outputs before this
    shard was rounded, of which the shards that take them know.
    """

    plan: WeightPlan
    calls: Mapping[str, Sequence[Inputs]]
    activations: tuple[Activation, ...] = ()
    met: Mapping[str, Met] = field(default_factory=dict)
    spans: Mapping[str, Spans] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Compiled(Lowered):
    """A finished program, how each method was cut, its traffic, what codes stand for that it takes and gives."""

    traffic: dict[str, Traffic]
    codes: dict[str, tuple[Codes, Codes]]


def lower(methods: Methods, soc: Target, share: bool = True, integers: Quantisation | None = None) -> Compiled:
    """Compile all methods into one program for a SoC.

    Args:
        methods: built in the `htp` form, or with `integers` in `htp-integers`.
        integers: None for fp16.
        share: store equal weights of the methods once, as a phone wants it. The emulator cannot load such a program
            ("Shared weights buffer isn't supported on this platform").

    Raises:
        ExportError: a graph the compiler refuses, or one that leaves operators outside its delegate.
    """
    met = {} if integers is None else integers.met
    with compiling(methods, soc) as said:
        programs = {name: guarded(name, module, inputs) for name, (module, inputs) in methods.items()}
        if integers is not None:
            programs = {name: in_integers(name, program, methods, integers, soc) for name, program in programs.items()}
        edge = delegated(programs, compiler_spec(methods, soc, share, integers is None), met)
        made = finished(edge, methods, met)
    return checked(made, said, methods)


def lower_alike(several: Iterable[Methods], soc: Target, share: bool = True) -> Iterator[Compiled]:
    """Programs in fp16 of methods that compute the same with other weights, which have the same names.

    Only the first is traced and rewritten; of the others the weights are put where its own stood in what the compiler
    took. Where one of its weights is not found there as it was, each is traced.

    Args:
        several: as of `lower`; share: as there.

    Raises:
        ExportError: as of `lower`.
    """
    first: Template | None = None
    for methods in several:
        spec = compiler_spec(methods, soc, share, fp16=True)
        with compiling(methods, soc) as said:
            if first is None:
                programs = {name: guarded(name, module, inputs) for name, (module, inputs) in methods.items()}
                edge = delegated(programs, spec, {})
                first = template(edge, methods)
            else:
                with QnnManagerContext(dict.fromkeys(methods, spec)):
                    edge = first.compiled(methods, spec)
            made = finished(edge, methods, {})
        yield checked(made, said, methods)


def compiler_spec(methods: Iterable[str], soc: Target, share: bool, fp16: bool) -> list[CompileSpec]:
    """What the compiler is told."""
    options = generate_htp_compiler_spec(use_fp16=fp16, use_weight_sharing=share and len(list(methods)) > 1)
    spec: list[CompileSpec] = generate_qnn_executorch_compiler_spec(QcomChipset[soc.soc], options)
    return spec


@contextlib.contextmanager
def compiling(methods: Iterable[str], soc: Target) -> Iterator["Said"]:
    """What is needed around tracing and compiling; what native code says in the meantime.

    Raises:
        ExportError: what the compiler could not do.
    """
    try:
        with torch.no_grad(), native_output() as said, lean_edge(), results_in_order():
            yield said
    except (RuntimeError, AssertionError, ValueError, TypeError, NotImplementedError, KeyError) as error:
        raise ExportError(f"QNN could not compile {', '.join(methods)} for {soc.soc}: {error}") from error


def in_integers(
    name: str, program: ExportedProgram, methods: Methods, integers: Quantisation, soc: Target
) -> ExportedProgram:
    """A traced method, quantised."""
    spans = integers.spans.get(name, ())
    return quantised(program, methods[name][1], integers.calls[name], integers.plan, soc, spans)


def delegated(
    programs: Mapping[str, ExportedProgram], spec: list[CompileSpec], met: Mapping[str, Met]
) -> EdgeProgramManager:
    """Each program as a call of its compiled context.

    What `to_edge_transform_and_lower_to_qnn` does, without tracing and decomposing everything twice more.
    """
    specs = dict.fromkeys(programs, spec)
    traced, passes = {}, {}
    for name, program in programs.items():
        manager = get_qnn_pass_manager_cls()()
        traced[name] = manager.transform_for_export_pipeline(program)
        jobs = manager.get_capture_program_passes()
        if name in met:
            stay_codes(jobs, program, *met[name])
        passes[name] = manager.get_to_edge_transform_passes(program, passes_job=jobs, compiler_specs=spec)
    kept, _ = PlainPartitioner(spec).ops_to_not_decompose(next(iter(traced.values())))
    with QnnManagerContext(specs), decomposed_at_once(kept):
        return to_edge_transform_and_lower(
            traced,
            transform_passes=passes,
            partitioner={name: [PlainPartitioner(spec)] for name in programs},
            compile_config=qnn_edge_config(),
        )


def finished(edge: EdgeProgramManager, methods: Iterable[str], met: Mapping[str, Met]) -> Compiled:
    """The program, with no memory planned for what it takes; its traffic is told when the compiler is done."""
    reports = {name: cut_report(edge.exported_program(name).graph_module, {}) for name in methods}
    codes = {name: codes_of(edge.exported_program(name), *met[name]) for name in met}
    planned: dict[str, Any] = {name: SharedCodes(*met[name]) if name in met else SharedInputs() for name in methods}
    return Compiled(edge.to_executorch(ExecutorchBackendConfig(memory_planning_pass=planned)), reports, {}, codes)


def checked(made: Compiled, said: "Said", methods: Iterable[str]) -> Compiled:
    """With its traffic.

    Raises:
        ExportError: operators outside the delegate.
    """
    outside = {name: report.outside for name, report in made.reports.items() if report.outside}
    if outside:
        raise ExportError(f"QNN left operators outside its delegate, which a phone would run on the CPU: {outside}")
    return replace(made, traffic=traffic_of(said.text, list(methods)))


class PlainPartitioner(QnnPartitioner):
    """QNN's partitioner, which need not look at each node of our graphs before decomposition."""

    def ops_to_not_decompose(self, ep: ExportedProgram) -> tuple[list[Any], None]:
        """The operators that the HTP has, for every node."""
        operators, _ = super().ops_to_not_decompose(ep)
        return operators, None


def guarded(name: str, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> ExportedProgram:
    """The traced module, unless it holds something that the HTP computes wrongly without saying so.

    An RMSNorm of a tensor of rank 4 compiles and gives noise (relative error 0.64 on [1, 24, 8, 16]); of rank 3 it is
    right.

    Raises:
        ExportError: such an operator.
    """
    program = trace_module(module, inputs)
    wrong = [
        f"{node.name} of {list(node.args[0].meta['val'].shape)}"
        for node in program.graph.nodes
        if node.target is torch.ops.aten.rms_norm.default and node.args[0].meta["val"].dim() != RMS_RANK
    ]
    if wrong:
        raise ExportError(
            f"{name}: the HTP computes RMSNorm rightly on rank {RMS_RANK} only, found {', '.join(wrong)}; "
            "fold the other axes into rows before it"
        )
    return program


def traffic_of(text: str, methods: list[str]) -> dict[str, Traffic]:
    """The DDR summaries of a compiler's output, one per method, in the order they were compiled.

    Raises:
        ExportError: another number of summaries than of methods.
    """
    values = TRAFFIC.findall(text)
    blocks = [dict(values[at : at + 4]) for at in range(0, len(values), 4)]
    if len(blocks) != len(methods):
        raise ExportError(f"the QNN compiler printed {len(blocks)} DDR summaries for {len(methods)} methods")
    return {
        name: Traffic(
            read_bytes=int(block["read_total"]),
            written_bytes=int(block["write_total"]),
            spilled_bytes=int(block["spill"]),
            filled_bytes=int(block["fill"]),
        )
        for name, block in zip(methods, blocks, strict=True)
    }


@dataclass(slots=True)
class Said:
    """What native code printed."""

    text: str = ""


@contextlib.contextmanager
def native_output() -> Iterator[Said]:
    """Collect what native libraries print on file descriptor 1, so that stdout stays the command's own."""
    said = Said()
    sys.stdout.flush()
    kept = os.dup(1)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 1)
        try:
            yield said
        finally:
            flush_native()
            sys.stdout.flush()
            os.dup2(kept, 1)
            os.close(kept)
            file.seek(0)
            said.text = file.read().decode(errors="replace")


def flush_native() -> None:
    """C's own buffers, which Python's flush does not reach."""
    import ctypes

    library: Any = ctypes.CDLL(None)
    library.fflush(None)
