"""What a DreamLite checkpoint is made of. Dataclass defaults are the published DreamLite-mobile.

Sources: the `config.json` files of the published checkpoint (diffusers folder layout), the paper
arXiv:2603.28713, and the upstream classes `DreamLiteUNetModel`, `AutoencoderTiny` (diffusers 0.42) and
`Qwen3VLForConditionalGeneration` (transformers 5.23, Qwen3-VL-2B).
"""

from dataclasses import dataclass, field, replace
from typing import Literal

BlockKind = Literal["full", "cross", "plain"]
"""full: self- and cross-attention; cross: cross-attention only; plain: resnets only."""


@dataclass(frozen=True, slots=True)
class UNetConfig:
    """`DreamLiteUNetModel`: 389,968,388 parameters with these defaults. Levels run from high to low resolution."""

    in_channels: int = 4
    out_channels: int = 4
    block_out_channels: tuple[int, ...] = (256, 512, 896)
    down_kinds: tuple[BlockKind, ...] = ("cross", "cross", "full")
    up_kinds: tuple[BlockKind, ...] = ("full", "cross", "plain")
    layers_per_block: tuple[int, ...] = (2, 2, 2)
    num_heads: tuple[int, ...] = (4, 8, 14)
    transformer_layers: tuple[int, ...] = (1, 2, 4)
    num_mid_layers: int = 1
    num_kv_heads: int = 1
    cross_attention_dim: int = 2304
    encoder_hid_dim: int = 2048
    ff_mult: int = 3
    norm_num_groups: int = 32
    norm_eps: float = 1e-5
    addition_time_embed_dim: int = 256
    projection_class_embeddings_input_dim: int = 512
    flip_sin_to_cos: bool = True
    freq_shift: float = 0.0

    @property
    def time_embed_dim(self) -> int:
        """Width of the step embedding (upstream: four times the first block)."""
        return 4 * self.block_out_channels[0]

    @property
    def spatial_factor(self) -> int:
        """Latent height and width must be multiples of this."""
        return int(2 ** (len(self.block_out_channels) - 1))


@dataclass(frozen=True, slots=True)
class TextConfig:
    """The Qwen3-VL-2B text tower (`Qwen3VLTextModel`); rotary positions are interleaved M-RoPE."""

    vocab_size: int = 151936
    hidden_size: int = 2048
    intermediate_size: int = 6144
    num_layers: int = 28
    num_heads: int = 16
    num_kv_heads: int = 8
    head_dim: int = 128
    rms_norm_eps: float = 1e-6
    rope_theta: float = 5_000_000.0
    mrope_section: tuple[int, int, int] = (24, 20, 20)
    image_token_id: int = 151655
    vision_start_token_id: int = 151652
    vision_end_token_id: int = 151653


@dataclass(frozen=True, slots=True)
class VisionConfig:
    """The Qwen3-VL-2B vision tower (`Qwen3VLVisionModel`) on one static square picture."""

    image_size: int = 512
    in_channels: int = 3
    depth: int = 24
    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_heads: int = 16
    patch_size: int = 16
    temporal_patch_size: int = 2
    spatial_merge_size: int = 2
    out_hidden_size: int = 2048
    num_position_embeddings: int = 2304
    deepstack_layers: tuple[int, ...] = (5, 11, 17)
    rope_theta: float = 10_000.0
    hidden_act: Literal["gelu_pytorch_tanh", "gelu", "silu"] = "gelu_pytorch_tanh"
    image_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    image_std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size

    @property
    def num_patches(self) -> int:
        return self.grid**2

    @property
    def num_tokens(self) -> int:
        """Image tokens after merging: what the text tower sees."""
        return self.num_patches // self.spatial_merge_size**2

    @property
    def patch_dim(self) -> int:
        """Values of one patch; the temporal axis is folded into the weights (both frames are the same picture)."""
        return self.in_channels * self.patch_size**2


@dataclass(frozen=True, slots=True)
class VaeConfig:
    """`AutoencoderTiny` (TAESD family)."""

    in_channels: int = 3
    out_channels: int = 3
    latent_channels: int = 4
    encoder_channels: int = 64
    decoder_channels: int = 64
    num_encoder_blocks: tuple[int, ...] = (1, 3, 3, 3)
    num_decoder_blocks: tuple[int, ...] = (3, 3, 3, 1)
    act_fn: Literal["relu", "silu", "gelu", "mish"] = "relu"
    scaling_factor: float = 1.0
    shift_factor: float = 0.0

    @property
    def scale(self) -> int:
        """Picture pixels per latent along one side."""
        return int(2 ** (len(self.num_encoder_blocks) - 1))


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """`FlowMatchEulerDiscreteScheduler` with dynamic exponential shift."""

    num_train_timesteps: int = 1000
    base_image_seq_len: int = 256
    max_image_seq_len: int = 4096
    base_shift: float = 0.5
    max_shift: float = 1.15
    shift: float = 1.0
    use_dynamic_shifting: bool = True


@dataclass(frozen=True, slots=True)
class DreamLiteConfig:
    """Everything a checkpoint folder says about itself."""

    unet: UNetConfig = field(default_factory=UNetConfig)
    text: TextConfig = field(default_factory=TextConfig)
    vision: VisionConfig = field(default_factory=VisionConfig)
    vae: VaeConfig = field(default_factory=VaeConfig)
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)

    @property
    def size_multiple(self) -> int:
        """Picture width and height must be multiples of this (32 for the published model)."""
        return self.vae.scale * self.unet.spatial_factor


MOBILE = DreamLiteConfig()
"""The published DreamLite-mobile."""

TINY = DreamLiteConfig(
    unet=UNetConfig(
        block_out_channels=(32, 64, 128),
        layers_per_block=(1, 1, 1),
        num_heads=(2, 4, 8),
        transformer_layers=(1, 1, 1),
        cross_attention_dim=128,
        encoder_hid_dim=128,
        addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=64,
    ),
    text=TextConfig(
        vocab_size=1024,
        hidden_size=128,
        intermediate_size=256,
        num_layers=4,
        num_heads=4,
        num_kv_heads=2,
        head_dim=32,
        mrope_section=(6, 5, 5),
        image_token_id=1020,
        vision_start_token_id=1017,
        vision_end_token_id=1018,
    ),
    vision=VisionConfig(
        depth=3,
        hidden_size=64,
        intermediate_size=128,
        num_heads=4,
        patch_size=32,
        out_hidden_size=128,
        num_position_embeddings=144,
        deepstack_layers=(0, 1),
    ),
    vae=VaeConfig(
        encoder_channels=32,
        decoder_channels=32,
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
    ),
)
"""The same classes as small as they go: what tests export, since a wide network proves no more and takes longer."""

EMBEDDED = replace(
    TINY,
    unet=replace(TINY.unet, block_out_channels=(64, 96, 160), num_heads=(4, 6, 10), norm_num_groups=8),
)
"""The embedded checkpoint, which is trained to draw.

Its U-Net is wide where the latents are large, and its norms' groups are 8 channels as in the published model: with
`TINY`'s, one channel each at the first level, norms take away what a channel says of the whole picture (measured after
350 steps of training: loss 0.43 with one channel, 0.41 with eight, 0.36 with eight and these widths).
"""

CONFIGS = {"mobile": MOBILE, "tiny": TINY, "embedded": EMBEDDED}
