"""The Qwen3-VL vision tower (`Qwen3VLVisionModel`, transformers 5.23) on one picture of a fixed size.

Position tables are constants. The temporal axis is folded into the patch weights: DreamLite shows one still picture,
which upstream repeats for both frames.
"""

import torch
import torch.nn.functional as F
from torch import nn

from dreamlite_mobile.config import VisionConfig
from dreamlite_mobile.networks.form import Foldable, Form, linear_of
from dreamlite_mobile.networks.layers import LayerNorm, gelu, gelu_tanh
from dreamlite_mobile.networks.text import Rotary


class PatchEmbed(Foldable):
    """`Qwen3VLVisionPatchEmbed` as a matrix product over flattened patches."""

    def __init__(self, cfg: VisionConfig) -> None:
        super().__init__()
        kernel = (cfg.temporal_patch_size, cfg.patch_size, cfg.patch_size)
        self.proj = nn.Conv3d(cfg.in_channels, cfg.hidden_size, kernel, stride=kernel)

    def fold(self) -> None:
        weight = self.proj.weight.data.sum(2)
        bias = self.proj.bias
        assert bias is not None
        self.linear = linear_of(weight.reshape(len(weight), -1), bias.data)
        del self.proj

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        return self.linear(patches)


class VisionAttention(Foldable):
    """`Qwen3VLVisionAttention` over all patches of the one picture."""

    def __init__(self, cfg: VisionConfig) -> None:
        super().__init__()
        self.heads, self.head_dim = cfg.num_heads, cfg.hidden_size // cfg.num_heads
        self.qkv = nn.Linear(cfg.hidden_size, 3 * cfg.hidden_size)
        self.proj = nn.Linear(cfg.hidden_size, cfg.hidden_size)

    def fold(self) -> None:
        width = self.qkv.in_features
        weights, biases = torch.split(self.qkv.weight.data, width), torch.split(self.qkv.bias.data, width)
        self.q, self.k, self.v = (linear_of(w, b) for w, b in zip(weights, biases, strict=True))
        del self.qkv

    def by_head(self, rows: torch.Tensor) -> torch.Tensor:
        """[1, P, H*D] -> [H, P, D]."""
        return rows.view(rows.shape[1], self.heads, self.head_dim).transpose(0, 1)

    def forward(self, x: torch.Tensor, rotary: Rotary) -> torch.Tensor:
        queries, keys = rotary(self.by_head(self.q(x))), rotary(self.by_head(self.k(x)))
        scores = torch.bmm(queries, keys.transpose(1, 2)) * self.head_dim**-0.5
        mixed = torch.bmm(scores.softmax(-1), self.by_head(self.v(x)))
        return self.proj(mixed.transpose(0, 1).reshape(1, x.shape[1], -1))


class VisionMLP(nn.Module):
    """`Qwen3VLVisionMLP`."""

    def __init__(self, cfg: VisionConfig, form: Form) -> None:
        super().__init__()
        self.linear_fc1 = nn.Linear(cfg.hidden_size, cfg.intermediate_size)
        self.linear_fc2 = nn.Linear(cfg.intermediate_size, cfg.hidden_size)
        self.act, self.form = cfg.hidden_act, form

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.linear_fc1(x)
        if self.act == "gelu_pytorch_tanh":
            x = gelu_tanh(x, self.form)
        else:
            x = gelu(x, self.form) if self.act == "gelu" else F.silu(x)
        return self.linear_fc2(x)


class VisionBlock(nn.Module):
    """`Qwen3VLVisionBlock`."""

    def __init__(self, cfg: VisionConfig, form: Form) -> None:
        super().__init__()
        self.norm1 = LayerNorm(cfg.hidden_size, 1e-6, form)
        self.norm2 = LayerNorm(cfg.hidden_size, 1e-6, form)
        self.attn = VisionAttention(cfg)
        self.mlp = VisionMLP(cfg, form)

    def forward(self, x: torch.Tensor, rotary: Rotary) -> torch.Tensor:
        x = x + self.attn(self.norm1(x), rotary)
        return x + self.mlp(self.norm2(x))


class PatchMerger(nn.Module):
    """`Qwen3VLVisionPatchMerger`: each square of patches becomes one token; deepstack mergers norm after merging."""

    def __init__(self, cfg: VisionConfig, form: Form, norm_merged: bool) -> None:
        super().__init__()
        self.merged = cfg.hidden_size * cfg.spatial_merge_size**2
        self.norm_merged, self.form = norm_merged, form
        self.norm = LayerNorm(self.merged if norm_merged else cfg.hidden_size, 1e-6, form)
        self.linear_fc1 = nn.Linear(self.merged, self.merged)
        self.linear_fc2 = nn.Linear(self.merged, cfg.out_hidden_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[1, P, C] -> [1, N, D]."""
        if self.norm_merged:
            x = self.norm(x.view(1, -1, self.merged))
        else:
            x = self.norm(x).view(1, -1, self.merged)
        return self.linear_fc2(gelu(self.linear_fc1(x), self.form))


class VisionEncoder(Foldable):
    """The whole tower."""

    cos: torch.Tensor
    sin: torch.Tensor
    positions: torch.Tensor

    def __init__(self, cfg: VisionConfig, form: Form) -> None:
        super().__init__()
        self.cfg = cfg
        self.patch_embed = PatchEmbed(cfg)
        self.pos_embed = nn.Embedding(cfg.num_position_embeddings, cfg.hidden_size)
        self.blocks = nn.ModuleList(VisionBlock(cfg, form) for _ in range(cfg.depth))
        self.merger = PatchMerger(cfg, form, norm_merged=False)
        self.deepstack_merger_list = nn.ModuleList(
            PatchMerger(cfg, form, norm_merged=True) for _ in cfg.deepstack_layers
        )

    def fold(self) -> None:
        cos, sin = rotary_table(self.cfg)
        self.register_buffer("cos", cos)
        self.register_buffer("sin", sin)
        self.register_buffer("positions", resampled_positions(self.pos_embed.weight.data, self.cfg))
        del self.pos_embed

    def forward(self, patches: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """patches [P, 3*p*p] in merge order -> image tokens [N, D] and deepstack features [K, N, D]."""
        rotary = Rotary(self.cos, self.sin)
        x = (self.patch_embed(patches) + self.positions).view(1, self.cfg.num_patches, self.cfg.hidden_size)
        features: list[torch.Tensor] = []
        for index, block in enumerate(self.blocks):
            x = block(x, rotary)
            if index in self.cfg.deepstack_layers:
                features.append(self.deepstack_merger_list[len(features)](x))
        tokens = self.merger(x).view(self.cfg.num_tokens, self.cfg.out_hidden_size)
        return tokens, torch.cat(features, 0)


def merge_order(cfg: VisionConfig) -> torch.Tensor:
    """Row and column [2, P] of each patch in the order of the sequence: square by square, row by row inside one."""
    side, merge = cfg.grid, cfg.spatial_merge_size
    cells = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij"))
    cells = cells.view(2, side // merge, merge, side // merge, merge)
    return cells.permute(0, 1, 3, 2, 4).reshape(2, -1)


def rotary_table(cfg: VisionConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and signed sin [P, D]: half of the frequencies follow the row, half the column."""
    quarter = cfg.hidden_size // cfg.num_heads // 2
    frequencies = 1.0 / (cfg.rope_theta ** (torch.arange(0, quarter, 2, dtype=torch.float32) / quarter))
    rows, columns = merge_order(cfg).float()
    angles = torch.cat([rows[:, None] * frequencies, columns[:, None] * frequencies], 1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([cos, cos], 1), torch.cat([-sin, sin], 1)


def resampled_positions(table: torch.Tensor, cfg: VisionConfig) -> torch.Tensor:
    """The learned square grid of positions, bilinearly resampled (corners aligned) to the picture's: [P, C]."""
    side = round(len(table) ** 0.5)
    grid = table.view(side, side, -1).permute(2, 0, 1).unsqueeze(0)
    resampled = F.interpolate(grid, size=(cfg.grid, cfg.grid), mode="bilinear", align_corners=True)[0]
    rows, columns = merge_order(cfg)
    return resampled[:, rows, columns].t().contiguous()
