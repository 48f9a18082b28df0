"""Which shards compute the same, and that names tell them no more apart. No compiler is needed."""

from dataclasses import replace

import pytest
import torch
from phased import phases
from torch import nn
from torch.fx import Graph, GraphModule

from dreamlite_mobile.components import MethodSpec, TensorSpec
from export.alike import TOGETHER, alike, computed, plainly_named
from export.cutting import Part
from export.htp_shards import methods_of
from export.qnn_alike import all_kept, weights_of, with_weights
from export.shards import Boundaries, Shard


def shard_of(module: nn.Module, shape: tuple[int, ...] = (1, 4, 8)) -> Shard:
    x = TensorSpec("x", shape)
    graph = torch.export.export(module, (torch.zeros(shape),)).module(check_guards=False)
    part = Part(Boundaries(graph, [False], [False]), MethodSpec((x,), (x,)))
    return Shard("", {"generate": part}, 0.0)


def called(shard: Shard) -> list[object]:
    """The operators of a shard, in order."""
    modules = [module for part in shard.parts.values() for module in part.module.modules()]
    nodes = [node for module in modules if isinstance(module, GraphModule) for node in module.graph.nodes]
    return [node.target for node in nodes if node.op == "call_function"]


class Twice(nn.Module):
    """The same weight twice, or two weights; a number."""

    def __init__(self, shared: bool, number: float = 2.0) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.second = self.first if shared else nn.Linear(8, 8)
        self.number = number

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.second(self.first(x)) * self.number,)


def test_layers_that_follow_each_other_are_alike_and_go_to_one_worker() -> None:
    shards = phases()
    groups = alike(shards, range(len(shards)))
    assert sorted(index for group in groups for index in group) == list(range(len(shards)))
    named = [{shards[index].begins for index in group} for group in groups]
    layers = [
        f"{place}.transformer_blocks.0.norm3" for place in ("down_blocks.2.attentions.0", "mid_block.attentions.0")
    ]
    assert any(set(layers) <= group for group in named)
    assert all(len(group) <= TOGETHER for group in groups)
    for group in groups:
        assert len({tuple(called(shards[index])) for index in group}) == 1


def test_a_long_row_of_layers_goes_to_several_workers() -> None:
    shards = [shard_of(Twice(False)) for _ in range(2 * TOGETHER + 1)]
    assert list(map(len, alike(shards, range(len(shards))))) == [TOGETHER, TOGETHER, 1]
    assert alike(shards, [3, 1]) == [[3, 1]]


@pytest.mark.parametrize(
    "other",
    [Twice(True), Twice(False, number=3.0), Twice(False).double()],
    ids=["one weight twice", "another number", "another dtype"],
)
def test_what_computes_something_else_is_not_alike(other: nn.Module) -> None:
    dtype = next(other.parameters()).dtype
    made = torch.export.export(other, (torch.zeros(1, 4, 8, dtype=dtype),)).module(check_guards=False)
    assert isinstance(made, GraphModule)
    assert computed(shard_of(Twice(False))) == computed(shard_of(Twice(False)))
    assert computed(with_module(made)) != computed(shard_of(Twice(False)))


def test_what_is_handed_on_otherwise_is_not_alike() -> None:
    one = shard_of(Twice(False))
    part = one.parts["generate"]
    assert isinstance(part.module, Boundaries)
    other = replace(part, module=Boundaries(part.module.module, [True], [False]))
    assert computed(one) != computed(replace(one, parts={"generate": other}))
    assert computed(one) != computed(replace(one, parts={"edit": part}))
    assert computed(one) != computed(shard_of(Twice(False), (1, 5, 8)))


def test_new_names_change_no_number_and_tell_only_the_place() -> None:
    first, second = shard_of(Twice(True)), shard_of(Twice(True))
    plain = [plainly_named(shard).parts["generate"].module for shard in (first, second)]
    assert list(weights_of(plain[0])) == list(weights_of(plain[1])) == ["module.weight_0", "module.weight_1"]
    x = torch.randn(1, 4, 8)
    for module, shard in zip(plain, (first, second), strict=True):
        torch.testing.assert_close(module(x), shard.parts["generate"].module(x), rtol=0, atol=0)
    assert not torch.equal(plain[0](x)[0], plain[1](x)[0])


def test_a_weight_that_two_methods_share_has_one_name() -> None:
    part = shard_of(Twice(False)).parts["generate"]
    both = plainly_named(Shard("", {"generate": part, "edit": part}, 0.0))
    one, two = (weights_of(both.parts[mode].module) for mode in ("generate", "edit"))
    assert one.keys() == two.keys() and all(one[name] is two[name] for name in one)


def test_renamed_phases_are_the_phases() -> None:
    for shard in phases()[::5]:
        plain = plainly_named(shard)
        for name, (module, inputs) in methods_of(plain).items():
            wanted = shard.parts[name].module(*inputs)
            torch.testing.assert_close(module(*inputs), wanted, rtol=0, atol=0)
            assert all(key.startswith("module.weight_") for key in weights_of(module))
        assert computed(plain) == computed(shard)


class Times(nn.Module):
    """What `relu` gives times a number, or times the input, which is the graph's first node."""

    def __init__(self, by_input: bool) -> None:
        super().__init__()
        self.by_input = by_input

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        made = torch.relu(x)
        return (made * (x if self.by_input else 0) + torch.sigmoid(made),)


def test_a_node_and_a_number_are_told_apart() -> None:
    assert called(shard_of(Times(True))) == called(shard_of(Times(False)))
    assert computed(shard_of(Times(True))) != computed(shard_of(Times(False)))


@pytest.mark.parametrize("method", ["sin", "cos"])
def test_graphs_that_export_does_not_leave_are_like_no_other(method: str) -> None:
    graph = Graph()
    graph.output((graph.call_method(method, (graph.placeholder("x"),)),))
    shards = [with_module(GraphModule(nn.Module(), graph)) for _ in range(2)]
    assert computed(shards[0]) != computed(shards[1])
    assert plainly_named(shards[0]).parts["generate"].module(torch.ones(2))[0].shape == (2,)


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (torch.cond(x.sum() > 0, torch.sin, torch.cos, (x,)),)


def test_graphs_in_graphs_are_like_no_other() -> None:
    shards = [shard_of(Branching()) for _ in range(2)]
    assert computed(shards[0]) != computed(shards[1])
    x = torch.ones(1, 4, 8)
    torch.testing.assert_close(plainly_named(shards[0]).parts["generate"].module(x)[0], torch.sin(x))


def with_module(graph: GraphModule) -> Shard:
    part = shard_of(Twice(False)).parts["generate"]
    return Shard("", {"generate": replace(part, module=Boundaries(graph, [False], [False]))}, 0.0)


def test_weights_are_kept_only_as_they_were_and_beside_nothing_but_single_numbers() -> None:
    weight, number = torch.randn(3, 4), torch.tensor(2.0)
    given = {"weight": weight}
    assert all_kept(given, {"weight": weight.clone(), "scale": number})
    for other in (weight.half(), weight.t(), weight + 1e-6):
        assert not all_kept(given, {"weight": other})
    assert not all_kept(given, {"folded": weight})
    assert not all_kept(given, {"weight": weight, "folded": weight[0]})
    assert not all_kept({"number": number}, {"number": number}), "what is computed of it would be one, too"


def test_weights_of_other_shapes_are_refused() -> None:
    program = torch.export.export(nn.Linear(4, 4), (torch.zeros(1, 4),))
    before = dict(program.state_dict)
    with pytest.raises(ValueError, match=r"weight: \(4, 3\) .* where \(4, 4\) stood"):
        with_weights(program, {"weight": torch.zeros(4, 3)})
    swapped = with_weights(program, {"weight": torch.ones(4, 4)})
    assert torch.equal(swapped.state_dict["weight"], torch.ones(4, 4)) and swapped.state_dict["bias"] is before["bias"]
