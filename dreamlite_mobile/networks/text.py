"""The Qwen3-VL text tower (`Qwen3VLTextModel`, transformers 5.23) as DreamLite uses it.

The output is the last decoder layer *before* the final norm (what DreamLite was trained on), without the system
prefix. Lengths and positions are fixed per mode, so rotary tables and the causal mask are constants; causality makes
right padding harmless.
"""

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from dreamlite_mobile.config import TextConfig
from dreamlite_mobile.networks.form import Foldable, Form
from dreamlite_mobile.networks.layers import RMSNorm
from dreamlite_mobile.networks.positions import mrope_positions


@dataclass(frozen=True, slots=True)
class TextLayout:
    """The static sequence of one mode: `length` tokens, of which the first `drop` are the system prefix.

    In edit mode the image tokens, a `grid` x `grid` picture, stand at `image` (start, stop). With `remembered` the
    prefix is not run: its keys and values are constants.
    """

    length: int
    drop: int
    image: tuple[int, int] | None = None
    grid: int = 0
    remembered: bool = False

    @property
    def start(self) -> int:
        """The first token that is run."""
        return self.drop if self.remembered else 0


@dataclass(frozen=True, slots=True)
class Rotary:
    """cos and sin [L, D] of one layout; the sine carries the sign of the half rotation."""

    cos: torch.Tensor
    sin: torch.Tensor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Rotate heads x [H, L, D]."""
        half = x.shape[2] // 2
        swapped = torch.cat([x[:, :, half:], x[:, :, :half]], 2)
        return x * self.cos + swapped * self.sin


@dataclass(frozen=True, slots=True)
class Past:
    """Keys, rotated, and values [kv_heads, P, D] of the tokens before the first one that is run, in one layer."""

    keys: torch.Tensor
    values: torch.Tensor


class TextAttention(nn.Module):
    """`Qwen3VLTextAttention`; the query heads of one key/value head are folded into its rows."""

    def __init__(self, cfg: TextConfig, form: Form) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = cfg.num_heads, cfg.num_kv_heads, cfg.head_dim
        self.q_proj = nn.Linear(cfg.hidden_size, cfg.num_heads * cfg.head_dim, bias=False)
        self.k_proj = nn.Linear(cfg.hidden_size, cfg.num_kv_heads * cfg.head_dim, bias=False)
        self.v_proj = nn.Linear(cfg.hidden_size, cfg.num_kv_heads * cfg.head_dim, bias=False)
        self.o_proj = nn.Linear(cfg.num_heads * cfg.head_dim, cfg.hidden_size, bias=False)
        self.q_norm = RMSNorm(cfg.head_dim, cfg.rms_norm_eps, form)
        self.k_norm = RMSNorm(cfg.head_dim, cfg.rms_norm_eps, form)

    def by_head(self, rows: torch.Tensor, heads: int, norm: RMSNorm | None) -> torch.Tensor:
        """[1, L, H*D] -> [H, L, D], normalised per head where a norm is given."""
        length = rows.shape[1]
        if norm is not None:
            rows = norm(rows.view(1, length * heads, self.head_dim))
        return rows.view(length, heads, self.head_dim).transpose(0, 1)

    def past(self, x: torch.Tensor, rotary: Rotary) -> Past:
        """What tokens [1, L, D] leave for those after them."""
        keys = rotary(self.by_head(self.k_proj(x), self.kv_heads, self.k_norm))
        return Past(keys, self.by_head(self.v_proj(x), self.kv_heads, None))

    def forward(
        self, x: torch.Tensor, rotary: Rotary, causal: torch.Tensor, before: Past | None = None
    ) -> torch.Tensor:
        length = x.shape[1]
        queries = rotary(self.by_head(self.q_proj(x), self.heads, self.q_norm))
        own = self.past(x, rotary)
        keys, values = own.keys, own.values
        if before is not None:
            keys, values = torch.cat([before.keys, keys], 1), torch.cat([before.values, values], 1)
        queries = queries.reshape(self.kv_heads, -1, self.head_dim)
        scores = torch.bmm(queries, keys.transpose(1, 2)) * self.head_dim**-0.5
        scores = scores.view(self.heads, length, -1) + causal
        weights = scores.softmax(-1).view(self.kv_heads, -1, keys.shape[1])
        mixed = torch.bmm(weights, values).view(self.heads, length, self.head_dim)
        return self.o_proj(mixed.transpose(0, 1).reshape(1, length, -1))


class TextMLP(nn.Module):
    """`Qwen3VLTextMLP` (SwiGLU)."""

    def __init__(self, cfg: TextConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(cfg.hidden_size, cfg.intermediate_size, bias=False)
        self.up_proj = nn.Linear(cfg.hidden_size, cfg.intermediate_size, bias=False)
        self.down_proj = nn.Linear(cfg.intermediate_size, cfg.hidden_size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class DecoderLayer(nn.Module):
    """`Qwen3VLTextDecoderLayer`.

    `divisor`: what the residual stream that it takes and gives is divided by, so that fp16 can hold it
    (`export.fp16_range`).
    """

    def __init__(self, cfg: TextConfig, form: Form) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(cfg.hidden_size, cfg.rms_norm_eps, form)
        self.self_attn = TextAttention(cfg, form)
        self.post_attention_layernorm = RMSNorm(cfg.hidden_size, cfg.rms_norm_eps, form)
        self.mlp = TextMLP(cfg)
        self.divisor = 1.0

    def forward(self, x: torch.Tensor, rotary: Rotary, causal: torch.Tensor, *before: Past) -> torch.Tensor:
        x = x + self.self_attn(self.input_layernorm(x), rotary, causal, *before)
        return x + self.mlp(self.post_attention_layernorm(x))


class TextTower(nn.Module):
    """The decoder layers; token embeddings are looked up on the host, the final norm is not used."""

    def __init__(self, cfg: TextConfig, form: Form) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(cfg, form) for _ in range(cfg.num_layers))
        self.cfg, self.mask = cfg, form.mask

    def decoder_layers(self) -> list[DecoderLayer]:
        """The layers, from the first."""
        return cast("list[DecoderLayer]", list(self.layers))


class TextEncoder(Foldable):
    """One mode of the tower. Several modes share the same tower and hence its weights."""

    cos: torch.Tensor
    sin: torch.Tensor
    causal: torch.Tensor

    def __init__(self, tower: TextTower, layout: TextLayout) -> None:
        super().__init__()
        self.tower = tower
        self.layout = layout

    def fold(self) -> None:
        cos, sin = rotary_table(self.tower.cfg, self.layout)
        length, start = self.layout.length, self.layout.start
        self.register_buffer("cos", cos[start:])
        self.register_buffer("sin", sin[start:])
        self.register_buffer("causal", torch.full((1, length, length), -self.tower.mask).triu(1)[:, start:])

    @torch.no_grad()
    def remember(self, prefix: torch.Tensor) -> None:
        """Run the prefix [1, drop, D] once and keep its keys and values.

        The tower's layers must have their final weights: quantised ones leave other keys.
        """
        cos, sin = rotary_table(self.tower.cfg, self.layout)
        count = self.layout.drop
        rotary = Rotary(cos[:count], sin[:count])
        causal = torch.full((1, count, count), -self.tower.mask).triu(1)
        x, divisor = prefix, 1.0
        for index, layer in enumerate(self.tower.decoder_layers()):
            x = times(x, divisor / layer.divisor)
            divisor = layer.divisor
            left = layer.self_attn.past(layer.input_layernorm(x), rotary)
            self.register_buffer(f"keys_{index}", left.keys.contiguous())
            self.register_buffer(f"values_{index}", left.values.contiguous())
            x = layer(x, rotary, causal)

    def before(self, index: int) -> tuple[Past, ...]:
        """What the prefix left in a layer; nothing where it is run, so that blocks are called as published."""
        if not self.layout.remembered:
            return ()
        return (Past(self.get_buffer(f"keys_{index}"), self.get_buffer(f"values_{index}")),)

    def forward(self, embeddings: torch.Tensor, deepstack: torch.Tensor | None = None) -> torch.Tensor:
        """One prompt.

        Args:
            embeddings: [1, L, D] token embeddings, without a remembered prefix; in edit mode the image rows hold the
                vision tower's tokens.
            deepstack: [K, N, D] the vision tower's early features, added to the image rows after the first K layers.

        Returns:
            prompt states [1, L - drop, D].
        """
        rotary = Rotary(self.cos, self.sin)
        x, divisor = embeddings, 1.0
        for index, layer in enumerate(self.tower.decoder_layers()):
            x = layer(times(x, divisor / layer.divisor), rotary, self.causal, *self.before(index))
            divisor = layer.divisor
            if deepstack is not None and index < deepstack.shape[0]:
                x = self.add_to_image(x, times(deepstack[index : index + 1], 1 / divisor))
        return times(x if self.layout.remembered else x[:, self.layout.drop :, :], divisor)

    def add_to_image(self, x: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        if self.layout.image is None:
            raise ValueError("this layout has no image tokens to add deepstack features to")
        start, stop = (place - self.layout.start for place in self.layout.image)
        return torch.cat([x[:, :start], x[:, start:stop] + features, x[:, stop:]], 1)


def times(x: torch.Tensor, factor: float) -> torch.Tensor:
    """x times a number, without an operator where that is 1."""
    return x if factor == 1 else x * factor


def rotary_table(cfg: TextConfig, layout: TextLayout) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and signed sin [L, D] of interleaved M-RoPE: frequencies take turns in following time, height and width."""
    positions = torch.from_numpy(mrope_positions(layout.length, layout.image, layout.grid))
    half = cfg.head_dim // 2
    frequencies = 1.0 / (cfg.rope_theta ** (torch.arange(0, cfg.head_dim, 2, dtype=torch.float32) / cfg.head_dim))
    axis = torch.zeros(half, dtype=torch.int64)
    for offset in (1, 2):
        axis[offset : cfg.mrope_section[offset] * 3 : 3] = offset
    angles = positions.float()[axis].t() * frequencies
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([cos, cos], 1), torch.cat([-sin, sin], 1)
