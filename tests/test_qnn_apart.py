"""Group norms that the HTP's compiler would cut. Oracle: the graph as it was traced."""

import pytest
import torch
from torch import nn

from export.qnn_apart import keep_whole


class Joined(nn.Module):
    """A group norm of a concatenation that something else reads too."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels)
        nn.init.normal_(self.norm.weight)
        nn.init.normal_(self.norm.bias)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        joined = torch.cat([x, y], 1)
        return self.norm(joined) + joined


@pytest.mark.parametrize(
    ("parts", "groups", "cut"),
    [
        ((64, 32), 8, True),
        ((64, 64), 1, True),
        ((48, 48), 3, True),
        ((64, 64), 8, False),
        ((512, 512), 32, False),
        ((512, 256), 32, True),
        ((896, 512), 32, True),
        ((16, 48), 2, True),
    ],
)
def test_norms_whose_groups_reach_over_a_seam_see_a_column_and_give_the_same(
    parts: tuple[int, int], groups: int, cut: bool
) -> None:
    """Seams are those of the network and every 32 channels. Published widths are among the cases."""
    torch.manual_seed(0)
    network, inputs = Joined(sum(parts), groups), tuple(torch.randn(1, width, 4, 6) for width in parts)
    traced = torch.export.export(network, inputs).module(check_guards=False)
    assert isinstance(traced, torch.fx.GraphModule)
    assert keep_whole(traced) == (["group_norm"] if cut else [])
    shapes = [tuple(node.meta["val"].shape) for node in traced.graph.nodes if node.name == "group_norm"]
    assert shapes == [(1, sum(parts), 24, 1) if cut else (1, sum(parts), 4, 6)]
    assert torch.allclose(traced(*inputs), network(*inputs), atol=1e-6)


@pytest.mark.parametrize(("size", "reshaped"), [((2, 4), True), ((4, 8), True), ((8, 16), False)])
def test_groups_of_one_channel_see_a_column_where_there_are_few_pixels(size: tuple[int, int], reshaped: bool) -> None:
    torch.manual_seed(0)
    network, inputs = Joined(32, 32), (torch.randn(1, 16, *size), torch.randn(1, 16, *size))
    traced = torch.export.export(network, inputs).module(check_guards=False)
    assert isinstance(traced, torch.fx.GraphModule)
    assert keep_whole(traced) == (["group_norm"] if reshaped else [])
    assert torch.allclose(traced(*inputs), network(*inputs), atol=1e-6)
