"""The U-Net's transformers (`DreamLiteTransformer2DModel`, diffusers 0.42), in tiles of rows where the form asks.

The keys and values of every head group are used in place, never repeated.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import nn

from dreamlite_mobile.config import BlockKind, UNetConfig
from dreamlite_mobile.networks.form import Foldable, Form
from dreamlite_mobile.networks.layers import GeGlu, GroupNorm, LayerNorm, RMSNorm

KeysValues = tuple[torch.Tensor, torch.Tensor]
"""Of one attention: keys [G, D, S] and values [G, S, D] for G key/value heads."""
Prompt = torch.Tensor | Sequence[KeysValues]
"""The context [1, S, E] that each layer asks itself, or what each has been given of it beforehand."""
Change = Callable[[torch.Tensor], torch.Tensor]
Around = tuple[Change, Change]
"""What rows go through before a layer, and behind it."""
T = TypeVar("T")


class Attention(Foldable):
    """Grouped-query attention with RMS-normalised queries and keys (`DreamLiteAttnProcessor2_0`).

    Query heads that share one key/value head are folded into rows, so keys and values are never copied.
    """

    def __init__(self, channels: int, context: int, heads: int, kv_heads: int, form: Form) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, channels // heads
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(context, kv_heads * self.head_dim, bias=False)
        self.to_v = nn.Linear(context, kv_heads * self.head_dim, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])
        self.norm_q = RMSNorm(self.head_dim, 1e-5, form)
        self.norm_k = RMSNorm(self.head_dim, 1e-5, form)

    def fold(self) -> None:
        """Scale the few keys by everything that the many queries would be scaled by."""
        query, key = self.norm_q.weight, self.norm_k.weight
        assert query is not None
        assert key is not None
        self.norm_k.weight = nn.Parameter(key.data * query.data * self.head_dim**-0.5)
        self.norm_q.weight = None

    def keys_values(self, context: torch.Tensor) -> KeysValues:
        """context [1, S, E] -> keys and values of each of its S rows."""
        length = context.shape[1]
        keys, values = self.to_k(context), self.to_v(context)
        if self.kv_heads == 1:
            return self.norm_k(keys).transpose(1, 2), values
        keys = self.norm_k(keys.view(1, length * self.kv_heads, self.head_dim))
        keys = keys.view(length, self.kv_heads, self.head_dim).permute(1, 2, 0)
        return keys, values.view(length, self.kv_heads, self.head_dim).transpose(0, 1)

    def forward(
        self, x: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        rows, groups, shared = x.shape[1], self.kv_heads, self.heads // self.kv_heads
        queries = self.norm_q(self.to_q(x).view(1, rows * self.heads, self.head_dim))
        if groups > 1:
            queries = queries.view(rows, groups, shared, self.head_dim).transpose(0, 1)
            queries = queries.reshape(groups, rows * shared, self.head_dim)
        scores = torch.bmm(queries, keys)
        if bias is not None:
            scores = scores + bias
        mixed = torch.bmm(scores.softmax(-1), values)
        if groups > 1:
            mixed = mixed.view(groups, rows, shared, self.head_dim).transpose(0, 1)
        return self.to_out[0](mixed.reshape(1, rows, self.heads * self.head_dim))


def of_one(prompt: torch.Tensor | Sequence[T], index: int) -> torch.Tensor | T:
    """What one of several layers, or transformers, takes."""
    return prompt if isinstance(prompt, torch.Tensor) else prompt[index]


def joined(tiles: list[torch.Tensor]) -> torch.Tensor:
    """Tiles [1, n, C] one below the other; one that stands alone needs no operator."""
    return tiles[0] if len(tiles) == 1 else torch.cat(tiles, 1)


class TransformerBlock(nn.Module):
    """`BasicTransformerBlockDreamLite`: without self-attention the first norm's output is the state itself."""

    def __init__(self, cfg: UNetConfig, channels: int, heads: int, self_attention: bool, form: Form) -> None:
        super().__init__()
        self.norm1 = LayerNorm(channels, 1e-5, form)
        self.norm2 = LayerNorm(channels, 1e-5, form)
        self.norm3 = LayerNorm(channels, 1e-5, form)
        self.attn1 = Attention(channels, channels, heads, cfg.num_kv_heads, form) if self_attention else None
        self.attn2 = Attention(channels, cfg.cross_attention_dim, heads, cfg.num_kv_heads, form)
        self.ff = GeGlu(channels, cfg.ff_mult, form)
        self.tile, self.phases = form.tile(channels), form.phases

    def forward(
        self,
        x: torch.Tensor,
        prompt: torch.Tensor | KeysValues,
        bias: torch.Tensor,
        around: Around | None = None,
    ) -> torch.Tensor:
        """x [1, N, C], context [1, S, E] or what is asked of it (`of_prompt`), bias [1, 1, S] -> [1, N, C].

        A tile normalises its rows once more: cheaper than keeping the normalised whole for the tiles that follow.

        Args:
            around: what is done to the rows of a tile first, and to what the tile gives, which is then added to its
                rows as they came in. Only without self-attention.
        """
        cross = self.of_prompt(prompt) if isinstance(prompt, torch.Tensor) else prompt
        if self.attn1 is None:
            return joined([self.without_self_attention(rows, cross, bias, around) for rows in self.tiles(x)])
        assert around is None
        normed = self.norm1(x)
        own = self.attn1.keys_values(normed)
        done = []
        for rows in self.tiles(x):
            made = rows + self.attn1(normed if rows is x else self.norm1(rows), *own, None)
            done.append(made if self.phases else self.feed_forward(self.look_at_prompt(made, cross, bias)))
        if not self.phases:
            return joined(done)
        looked = [self.look_at_prompt(rows, cross, bias) for rows in self.tiles(joined(done))]
        return self.feed_forward(joined(looked))

    def of_prompt(self, context: torch.Tensor) -> KeysValues:
        """context [1, S, E] -> what the prompt gives."""
        return self.attn2.keys_values(context)

    def tiles(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Rows in tiles; the tensor itself when it is not tiled, since a split in one still is an operator."""
        return tiles(x, self.tile)

    def without_self_attention(
        self, rows: torch.Tensor, cross: KeysValues, bias: torch.Tensor, around: Around | None
    ) -> torch.Tensor:
        if around is not None:
            enter, leave = around
            return rows + leave(self.without_self_attention(enter(rows), cross, bias, None))
        return self.feed_forward(self.look_at_prompt(self.norm1(rows), cross, bias))

    def look_at_prompt(self, x: torch.Tensor, cross: KeysValues, bias: torch.Tensor) -> torch.Tensor:
        return x + self.attn2(self.norm2(x), *cross, bias)

    def feed_forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.ff(self.norm3(x))


def tiles(x: torch.Tensor, rows: int) -> list[torch.Tensor]:
    """[1, N, C] in tiles of so many rows."""
    return list(torch.split(x, rows, 1)) if 0 < rows < x.shape[1] else [x]


class Added(nn.Module):
    """The projection behind a transformer's layers, and the rows it began with: a phase of its own, in tiles."""

    def __init__(self, tile: int) -> None:
        super().__init__()
        self.tile = tile

    def forward(self, project: nn.Module, rows: torch.Tensor, came: torch.Tensor) -> torch.Tensor:
        """rows and came [1, N, C] -> [1, N, C]."""
        pairs = zip(tiles(rows, self.tile), tiles(came, self.tile), strict=True)
        return joined([first + project(made) for made, first in pairs])


class Transformer2D(nn.Module):
    """`DreamLiteTransformer2DModel` with linear projections."""

    def __init__(self, cfg: UNetConfig, channels: int, heads: int, layers: int, kind: BlockKind, form: Form) -> None:
        super().__init__()
        lines = form.lines(channels, channels) if kind != "full" else 0
        self.norm = GroupNorm(cfg.norm_num_groups, channels, 1e-6, form, [channels], lines)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList(
            TransformerBlock(cfg, channels, heads, kind == "full", form) for _ in range(layers)
        )
        self.proj_out = nn.Linear(channels, channels)
        self.channels, self.channels_last, self.phases = channels, form.channels_last, form.phases
        self.tile, self.lines = form.tile(channels), lines
        if form.phases:
            self.added = Added(self.tile)
        self.strip = self.tile if form.strips and kind != "full" else 0

    def keys_values(self, context: torch.Tensor) -> list[KeysValues]:
        """context [1, S, E] -> what it gives the cross-attention of each layer."""
        return [block.of_prompt(context) for block in self.blocks()]

    def blocks(self) -> list[TransformerBlock]:
        """The layers."""
        return [block for block in self.transformer_blocks if isinstance(block, TransformerBlock)]

    def forward(self, x: torch.Tensor, cross: Prompt, bias: torch.Tensor) -> torch.Tensor:
        """x [1, C, H, W], the prompt's context [1, S, E] or `keys_values` of it, bias [1, 1, S] -> [1, C, H, W]."""
        if self.phases:
            return self.in_phases(x, cross, bias)
        normed, high = self.norm(x), max(1, self.strip // x.shape[3])
        if not self.strip or x.shape[2] <= high:
            return x + self.through_rows(normed, cross, bias)
        strips = torch.split(normed, high, 2)
        return x + torch.cat([self.through_rows(strip, cross, bias) for strip in strips], 2)

    def in_phases(self, x: torch.Tensor, cross: Prompt, bias: torch.Tensor) -> torch.Tensor:
        """With the norm in bands its scale and shift, the projections and the layers work on tiles of the picture's
        own rows; a single layer projects and adds the residual within its tile. In front of several the projection
        is a phase of its own, with the scaling: within the first layer's tiles it would spill where GELU is written by
        a sigmoid, and without it the layers are alike."""
        if not self.lines:
            return self.in_layers(x, self.proj_in(self.rows(self.norm(x))), cross, bias)
        ((scale, shift),) = self.norm.scaled_by([x])
        scale, shift = scale.view(1, 1, -1), shift.view(1, 1, -1)

        def project(rows: torch.Tensor) -> torch.Tensor:
            return self.proj_in(rows * scale + shift)

        blocks, rows = self.blocks(), self.rows(x)
        if len(blocks) == 1:
            return self.picture(blocks[0](rows, of_one(cross, 0), bias, (project, self.proj_out)), *x.shape[2:])
        return self.in_layers(x, joined([project(tile) for tile in tiles(rows, self.tile)]), cross, bias)

    def in_layers(self, x: torch.Tensor, rows: torch.Tensor, cross: Prompt, bias: torch.Tensor) -> torch.Tensor:
        """What the picture x became, by way of the layers, each a phase of its own, and added to it."""
        rows = self.through_layers(rows, cross, bias)
        return self.picture(self.added(self.proj_out, rows, self.rows(x)), *x.shape[2:])

    def through_rows(self, x: torch.Tensor, cross: Prompt, bias: torch.Tensor) -> torch.Tensor:
        """[1, C, H, W] -> the same, by way of [1, H W, C]."""
        rows = self.through_layers(self.proj_in(self.rows(x)), cross, bias)
        return self.picture(self.proj_out(rows), *x.shape[2:])

    def through_layers(self, rows: torch.Tensor, cross: Prompt, bias: torch.Tensor) -> torch.Tensor:
        """[1, N, C] -> the same, by way of one layer after the other."""
        for layer, block in enumerate(self.blocks()):
            rows = block(rows, of_one(cross, layer), bias)
        return rows

    def rows(self, x: torch.Tensor) -> torch.Tensor:
        """[1, C, H, W] -> [1, H W, C]."""
        if self.channels_last:
            return x.permute(0, 2, 3, 1).reshape(1, -1, x.shape[1])
        return x.reshape(1, x.shape[1], -1).transpose(1, 2)

    def picture(self, rows: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """[1, H W, C] -> [1, C, H, W]."""
        if self.channels_last:
            return rows.view(1, height, width, -1).permute(0, 3, 1, 2)
        return rows.transpose(1, 2).reshape(1, -1, height, width)
