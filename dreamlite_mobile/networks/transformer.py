"""The U-Net's transformers (`DreamLiteTransformer2DModel`, diffusers 0.42), in tiles of rows where the form asks.

The keys and values of every head group are used in place, never repeated.
"""

import torch
from torch import nn

from dreamlite_mobile.config import BlockKind, UNetConfig
from dreamlite_mobile.networks.form import Foldable, Form
from dreamlite_mobile.networks.layers import GeGlu, GroupNorm, LayerNorm, RMSNorm


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

    def keys_values(self, context: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """context [1, S, E] -> keys [G, D, S] and values [G, S, D] for G key/value heads."""
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
        self.tile = form.tile(channels)

    def forward(self, x: torch.Tensor, context: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """x [1, N, C], context [1, S, E], bias [1, 1, S] -> [1, N, C].

        A tile normalises its rows once more: cheaper than keeping the normalised whole for the tiles that follow.
        """
        cross = self.attn2.keys_values(context)
        if self.attn1 is None:
            done = [self.after_self_attention(self.norm1(rows), cross, bias) for rows in self.tiles(x)]
        else:
            normed = self.norm1(x)
            keys, values = self.attn1.keys_values(normed)
            done = [
                self.after_self_attention(
                    rows + self.attn1(normed if rows is x else self.norm1(rows), keys, values, None), cross, bias
                )
                for rows in self.tiles(x)
            ]
        return joined(done)

    def tiles(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Rows in tiles; the tensor itself when it is not tiled, since a split in one still is an operator."""
        return list(torch.split(x, self.tile, 1)) if 0 < self.tile < x.shape[1] else [x]

    def after_self_attention(
        self, x: torch.Tensor, cross: tuple[torch.Tensor, torch.Tensor], bias: torch.Tensor
    ) -> torch.Tensor:
        x = x + self.attn2(self.norm2(x), *cross, bias)
        return x + self.ff(self.norm3(x))


class Transformer2D(nn.Module):
    """`DreamLiteTransformer2DModel` with linear projections."""

    def __init__(self, cfg: UNetConfig, channels: int, heads: int, layers: int, kind: BlockKind, form: Form) -> None:
        super().__init__()
        self.norm = GroupNorm(cfg.norm_num_groups, channels, 1e-6, form)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList(
            TransformerBlock(cfg, channels, heads, kind == "full", form) for _ in range(layers)
        )
        self.proj_out = nn.Linear(channels, channels)
        self.channels_last = form.channels_last
        self.strip = form.tile(channels) if form.strips and kind != "full" else 0

    def forward(self, x: torch.Tensor, context: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        normed, high = self.norm(x), max(1, self.strip // x.shape[3])
        if not self.strip or x.shape[2] <= high:
            return x + self.through_rows(normed, context, bias)
        strips = torch.split(normed, high, 2)
        return x + torch.cat([self.through_rows(strip, context, bias) for strip in strips], 2)

    def through_rows(self, x: torch.Tensor, context: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """[1, C, H, W] -> the same, by way of [1, H W, C]."""
        rows = self.proj_in(self.rows(x))
        for block in self.transformer_blocks:
            rows = block(rows, context, bias)
        return self.picture(self.proj_out(rows), *x.shape[2:])

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
