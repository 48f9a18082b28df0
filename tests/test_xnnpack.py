"""XNNPACK lowering: how methods are cut, what is left outside and why; oracles: torch, and ExecuTorch's stock path."""

import importlib
import inspect
import io
import re
from itertools import product

import pytest
import torch
from bundles import exported
from executorch.backends.xnnpack import xnnpack_preprocess
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch.exir.passes.remove_mixed_type_operators import RemoveMixedTypeOperators
from executorch.exir.program import _program
from executorch.runtime import Runtime
from oracle import relative_error
from standin import standin
from torch import nn
from torch.export import ExportedProgram
from torch.export.graph_signature import ExportGraphSignature
from torch.fx import GraphModule, traceback
from torch.fx.passes.infra.pass_base import PassResult

from dreamlite_mobile.bundle import open_bundle
from dreamlite_mobile.components import COMPONENTS
from dreamlite_mobile.config import TINY
from dreamlite_mobile.errors import ExportError
from dreamlite_mobile.networks.form import XNNPACK, fold
from dreamlite_mobile.networks.layers import GroupNorm
from dreamlite_mobile.networks.transformer import Transformer2D
from dreamlite_mobile.networks.unet import Resnet
from export.lean_tracing import CALL_DELEGATE, FusedActivation, MixedTypes, lean_tracing
from export.xnnpack import Lowered, lower

Inputs = tuple[torch.Tensor, ...]


def file_of(lowered: Lowered) -> bytes:
    stream = io.BytesIO()
    lowered.write(stream)
    return stream.getvalue()


def run(file: bytes, inputs: Inputs, method: str = "forward") -> torch.Tensor:
    loaded = Runtime.get().load_program(file).load_method(method)
    assert loaded is not None
    return loaded.execute(list(inputs))[0].clone()


def seeded(module: nn.Module) -> nn.Module:
    """Normally distributed weights, finished."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape) / parameter[0].numel() ** 0.5
    return fold(module)


@pytest.mark.parametrize(("precision", "component"), product(("fp32", "w4"), COMPONENTS))
def test_every_method_is_one_delegate_with_nothing_outside(precision: str, component: str) -> None:
    """The preset `w4` holds the towers' and the U-Net's `w8`; `w8` of the text tower stands in test_quantize.py."""
    methods = open_bundle(exported(precision)).manifest.components[component].methods
    cut = {
        name: entry.delegates and (entry.delegates.count, entry.delegates.operators_outside)
        for name, entry in methods.items()
    }
    assert cut == dict.fromkeys(methods, (1, ()))


def test_an_operator_xnnpack_lacks_is_named_and_the_rest_still_runs() -> None:
    class Cumulative(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(torch.cumsum(self.first(x), 1))

    module, inputs = seeded(Cumulative()), (torch.randn(1, 4, 8),)
    lowered = lower({"forward": (module, inputs)}, "fp32")
    report = lowered.reports["forward"]
    assert (report.delegates, report.outside) == (2, ("1 x cumsum.default: XNNPACK has no such operator",))
    assert relative_error(run(file_of(lowered), inputs), module(*inputs)) <= 1e-6


def test_an_operator_that_is_refused_comes_with_xnnpacks_reason() -> None:
    module, inputs = standin(), (torch.randn(1, 4, 32), torch.randn(1, 32))
    (outside,) = lower({"forward": (module, inputs)}, "fp32").reports["forward"].outside
    assert outside.startswith("1 x mean.dim: mean.dim only supports averaging 4D tensors")


def test_methods_share_their_weights_within_three_per_cent() -> None:
    wide = seeded(nn.Sequential(nn.Linear(512, 1024), nn.Linear(1024, 512)))
    file = file_of(lower({name: (wide, (torch.randn(1, rows, 512),)) for name, rows in (("a", 3), ("b", 5))}, "fp32"))
    weights = sum(parameter.numel() for parameter in wide.parameters()) * 4
    assert weights <= len(file) <= weights * 1.03


@pytest.mark.parametrize("component", ["text_encoder", "unet"])
def test_generate_and_edit_of_a_component_share_their_weights(component: str) -> None:
    """Graphs, rotary tables and causal masks weigh something beside tiny weights; a second copy would double them."""
    bundle = open_bundle(exported("fp32"))
    (name,) = bundle.manifest.components[component].files
    size = (bundle.path / name).stat().st_size
    weights = {"text_encoder": text_weights(), "unet": unet_weights()}[component] * 4
    assert weights <= size <= weights * 1.5


def test_group_means_of_a_large_half_blank_picture_stay_precise() -> None:
    """XNNPACK's mean adds in fp32 one by one, which is off by 3e-5 after the norm when it takes the plane at once."""
    torch.manual_seed(1)
    x = torch.randn(1, 64, 128, 256)
    x[..., 128:] = 3 * torch.randn(1, 64, 1, 1)
    norm = seeded(GroupNorm(32, 64, 1e-5, XNNPACK))
    expected = torch.nn.functional.group_norm(
        x.double(), 32, norm.weight.double().flatten(), norm.bias.double().flatten(), 1e-5
    )
    lowered = lower({"forward": (norm, (x,))}, "fp32")
    assert lowered.reports["forward"].delegates == 1
    assert relative_error(run(file_of(lowered), (x,)), expected) <= 1e-6


def text_weights() -> int:
    cfg = TINY.text
    heads = 2 * cfg.num_heads + 2 * cfg.num_kv_heads
    return cfg.num_layers * cfg.hidden_size * (heads * cfg.head_dim + 3 * cfg.intermediate_size)


def unet_weights() -> int:
    from oracle import published_unet

    names = ("time_embedding", "add_embedding")
    return sum(p.numel() for name, p in published_unet(TINY.unet).named_parameters() if not name.startswith(names))


def pieces() -> dict[str, tuple[nn.Module, Inputs]]:
    """Blocks that hold every operator of the U-Net but the resampling."""
    cfg = TINY.unet
    x, context = torch.randn(1, 32, 4, 8), torch.randn(1, 9, cfg.cross_attention_dim)
    return {
        "resnet": (seeded(Resnet(cfg, 32, 64, XNNPACK)), (x, torch.randn(1, cfg.time_embed_dim))),
        "transformer": (
            seeded(Transformer2D(cfg, 32, 2, 1, "full", XNNPACK)),
            (x, context, torch.zeros(1, 1, 9)),
        ),
        "fused": (seeded(Fused()), (torch.randn(1, 4, 6, 6), torch.arange(6))),
    }


class Fused(nn.Module):
    """A ReLU that its convolution takes in, one that it cannot, numbers of two types, and something done in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        wide = torch.relu(self.first(x))
        scaled = torch.sigmoid(wide * (2 * rows))
        scaled += wide
        return torch.relu(torch.sigmoid(self.last(scaled)))


@pytest.mark.parametrize("piece", ["resnet", "transformer", "fused"])
def test_lean_tracing_computes_what_the_stock_path_computes(piece: str) -> None:
    module, inputs = pieces()[piece]
    stock = to_edge_transform_and_lower(torch.export.export(module, inputs), partitioner=[XnnpackPartitioner()])
    expected = run(stock.to_executorch().buffer, inputs)
    found = run(file_of(lower({"forward": (module, inputs)}, "fp32")), inputs)
    assert torch.equal(found, expected)
    assert relative_error(found, module(*inputs)) <= 1e-5


def test_lean_tracing_puts_everything_back_after_a_failure() -> None:
    def replaced() -> tuple[object, ...]:
        tables = (vars(ExportGraphSignature)[name] for name in ("inputs_to_parameters", "inputs_to_buffers"))
        manager = xnnpack_preprocess.XNNPACKPassManager
        traces = (_program.RemoveMixedTypeOperators, ExportedProgram.run_decompositions, GraphModule.recompile)
        delegates = importlib.import_module(CALL_DELEGATE).call_delegate_cpu
        return manager, traceback.NodeSource, _program.base_pre_op_replace_passes, delegates, *traces, *tables

    before = replaced()
    with pytest.raises(KeyboardInterrupt), lean_tracing(()):
        assert all(one is not other for one, other in zip(replaced(), before, strict=True))
        raise KeyboardInterrupt
    assert all(one is other for one, other in zip(replaced(), before, strict=True))


def test_a_relu_is_taken_into_the_convolution_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one behind a sigmoid is not; the graph that lost a node is traced again."""
    found: list[PassResult] = []
    fuse = FusedActivation.call

    def watched(one: FusedActivation, module: GraphModule) -> PassResult:
        found.append(fuse(one, module))
        return found[-1]

    monkeypatch.setattr(FusedActivation, "call", watched)
    module, inputs = pieces()["fused"]
    lower({"forward": (module, inputs)}, "fp32")
    names = [str(node.target) for node in found[0].graph_module.graph.nodes]
    assert sum("relu" in name for name in names) == 1


def test_operators_searched_for_are_those_that_executorch_promotes() -> None:
    source = inspect.getsource(RemoveMixedTypeOperators.call_operator)
    assert set(re.findall(r"torch\.ops\.aten\.(\w+\.\w+): ELEMENTWISE", source)) == set(MixedTypes.LOOKED_AT)


@pytest.mark.parametrize(("other", "is_traced"), [(torch.ones(2), False), (torch.arange(2), True)])
def test_graphs_are_searched_for_numbers_of_two_types_by_looking_at_them(other: torch.Tensor, is_traced: bool) -> None:
    class Sum(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x + y

    graph = torch.export.export(Sum(), (torch.ones(2), other)).graph_module
    found = MixedTypes()(graph)
    assert found is not None and (found.graph_module is not graph) == found.modified == is_traced


def test_remembered_tables_follow_a_renamed_and_a_removed_input() -> None:
    signature = torch.export.export(nn.Linear(2, 2), (torch.randn(1, 2),)).graph_signature
    with lean_tracing(()):
        assert dict(signature.inputs_to_parameters) == {"p_weight": "weight", "p_bias": "bias"}
        signature.replace_all_uses("p_weight", "renamed")
        assert dict(signature.inputs_to_parameters) == {"renamed": "weight", "p_bias": "bias"}
        del signature.input_specs[0]
        assert dict(signature.inputs_to_parameters) == {"p_bias": "bias"}


def test_a_network_that_cannot_be_traced_is_a_clear_refusal() -> None:
    class Branching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(ExportError, match="XNNPACK could not lower edit"):
        lower({"edit": (Branching(), (torch.randn(2),))}, "fp32")
