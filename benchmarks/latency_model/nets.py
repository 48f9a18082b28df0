"""The networks of the measurements, rebuilt from their published configurations without weights, to count their work.

Sources of the configurations: the model folders of github.com/quic/ai-hub-models at v0.46.1 (class, input shape), and
the `config.json` of the checkpoints that they name. Attention is counted as one product for all heads, which is
the same work as the one product per head that Qualcomm's own rewriting gives.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import nn

from dreamlite_mobile.latency.work import Work, count, fake_tensors

Run = Callable[[], object]
EAGER = {"attn_implementation": "eager"}


@dataclass(frozen=True, slots=True)
class Net:
    """How to build one network and run it once; what its shapes are taken from."""

    build: Callable[[], tuple[nn.Module, Run]]
    shapes: str


def plain(module: nn.Module, *shape: int) -> tuple[nn.Module, Run]:
    """A network of one picture."""
    return module, lambda: module(torch.empty(shape))


def tokens(length: int) -> torch.Tensor:
    return torch.zeros(1, length, dtype=torch.long)


def torchvision_net(name: str) -> Net:
    """Of torchvision, ImageNet's 224 x 224."""

    def build() -> tuple[nn.Module, Run]:
        import torchvision.models

        return plain(getattr(torchvision.models, name)(weights=None), 1, 3, 224, 224)

    return Net(build, "1 x 3 x 224 x 224")


def fcn_resnet50() -> tuple[nn.Module, Run]:
    from torchvision.models.segmentation import fcn_resnet50

    return plain(fcn_resnet50(weights=None, weights_backbone=None, aux_loss=False), 1, 3, 520, 520)


def carvana_unet() -> tuple[nn.Module, Run]:
    return plain(PlainUNet(), 1, 3, 640, 1280)


class PlainUNet(nn.Module):
    """Ronneberger's U-Net with padded convolutions, widths 64 to 1,024, transposed convolutions upwards."""

    def __init__(self) -> None:
        super().__init__()
        widths = (64, 128, 256, 512, 1024)
        self.down = nn.ModuleList(pair(before, after) for before, after in zip((3, *widths), widths, strict=False))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(2 * width, width, 2, stride=2) for width in widths[-2::-1])
        self.merge = nn.ModuleList(pair(2 * width, width) for width in widths[-2::-1])
        self.out = nn.Conv2d(64, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            kept.append(x)
        for up, merge, skip in zip(self.ups, self.merge, kept[-2::-1], strict=True):
            x = merge(torch.cat([skip, up(x)], 1))
        return self.out(x)


def pair(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.Conv2d(after, after, 3, padding=1), nn.ReLU()
    )


def srvgg() -> tuple[nn.Module, Run]:
    """32 convolutions of 64 channels, then 4 x 4 pixels from each."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, padding=1), nn.ReLU()]
    for _ in range(32):
        layers += [nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()]
    return plain(nn.Sequential(*layers, nn.Conv2d(64, 48, 3, padding=1), nn.PixelShuffle(4)), 1, 3, 128, 128)


class DenseBlock(nn.Module):
    """Five convolutions, each over everything before it; 64 channels that grow by 32."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ModuleList(nn.Conv2d(64 + 32 * i, 32 if i < 4 else 64, 3, padding=1) for i in range(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = [x]
        for step in self.steps:
            seen.append(step(torch.cat(seen, 1)))
        return x + seen[-1] * 0.2


def esrgan() -> tuple[nn.Module, Run]:
    """23 residual groups of three dense blocks, then twice nearest x2 and a convolution."""
    body = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), *(DenseBlock() for _ in range(69)))
    tail = nn.Sequential(
        nn.Upsample(scale_factor=2), nn.Conv2d(64, 64, 3, padding=1), nn.LeakyReLU(0.2),
        nn.Upsample(scale_factor=2), nn.Conv2d(64, 64, 3, padding=1), nn.LeakyReLU(0.2),
        nn.Conv2d(64, 64, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(64, 3, 3, padding=1),
    )  # fmt: skip
    return plain(nn.Sequential(body, nn.Conv2d(64, 64, 3, padding=1), tail), 1, 3, 128, 128)


def whisper_encoder(width: int, layers: int, heads: int, mels: int = 80) -> Net:
    """30 s of sound: 3,000 columns, 1,500 tokens."""

    def build() -> tuple[nn.Module, Run]:
        from transformers import WhisperConfig
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        config = WhisperConfig(
            d_model=width, encoder_layers=layers, encoder_attention_heads=heads, encoder_ffn_dim=4 * width,
            num_mel_bins=mels, **EAGER,
        )  # fmt: skip
        return plain(WhisperEncoder(config), 1, mels, 3000)

    return Net(build, f"1 x {mels} x 3000")


def bert(layers: int) -> Net:
    """BERT base and DistilBERT with their masked-language heads."""

    def build() -> tuple[nn.Module, Run]:
        from transformers import BertConfig, BertForMaskedLM

        net = BertForMaskedLM(BertConfig(num_hidden_layers=layers, **EAGER))
        return net, lambda: net(tokens(384))

    return Net(build, "384 tokens")


def clip_text(width: int, layers: int, heads: int) -> Net:
    def build() -> tuple[nn.Module, Run]:
        from transformers import CLIPTextConfig, CLIPTextModel

        net = CLIPTextModel(
            CLIPTextConfig(
                hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, num_attention_heads=heads,
                projection_dim=width, **EAGER,
            )
        )  # fmt: skip
        return net, lambda: net(tokens(77))

    return Net(build, "77 tokens")


def openai_clip() -> tuple[nn.Module, Run]:
    """ViT-B/16 with its text tower, both in one file."""
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

    vision = CLIPVisionConfig(hidden_size=768, intermediate_size=3072, patch_size=16, **EAGER)
    net = CLIPModel(CLIPConfig(text_config=CLIPTextConfig(**EAGER).to_dict(), vision_config=vision.to_dict(), **EAGER))
    return net, lambda: net(tokens(77), torch.empty(1, 3, 224, 224))


SD_UNET = {"1.5": {"cross_attention_dim": 768}, "2.1": {
    "cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True,
}}  # fmt: skip


def sd_unet(version: str) -> Net:
    def build() -> tuple[nn.Module, Run]:
        from diffusers import UNet2DConditionModel

        settings = SD_UNET[version]
        net = UNet2DConditionModel(**settings)
        states = torch.empty(1, 77, settings["cross_attention_dim"])
        return net, lambda: net(torch.empty(1, 4, 64, 64), torch.zeros(1), states)

    return Net(build, "1 x 4 x 64 x 64, 77 states")


def controlnet() -> tuple[nn.Module, Run]:
    from diffusers import ControlNetModel

    net = ControlNetModel(cross_attention_dim=768)
    picture = torch.empty(1, 3, 512, 512)
    return net, lambda: net(torch.empty(1, 4, 64, 64), torch.zeros(1), torch.empty(1, 77, 768), picture)


def sd_vae_decoder() -> tuple[nn.Module, Run]:
    from diffusers import AutoencoderKL

    widths = (128, 256, 512, 512)
    kinds = ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4
    vae = AutoencoderKL(
        block_out_channels=widths, down_block_types=kinds[0], up_block_types=kinds[1], layers_per_block=2
    )
    net = nn.Sequential(vae.post_quant_conv, vae.decoder)
    return plain(net, 1, 4, 64, 64)


def llm(
    width: int,
    inner: int,
    layers: int,
    heads: int,
    key_heads: int,
    head: int,
    vocabulary: int | None,
    context: int = 4096,
) -> Net:
    """The prompt processor of a language model: 128 tokens against a context, every token's logits; none without a
    vocabulary.

    Counted on the Llama class, whose work is that of Phi-3.5 too (the same projections, some of them side by side) and
    of Qwen2 but for the biases of three projections.
    """

    def build() -> tuple[nn.Module, Run]:
        from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, LlamaModel

        config = LlamaConfig(
            hidden_size=width, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
            num_key_value_heads=key_heads, head_dim=head, vocab_size=vocabulary or 1, tie_word_embeddings=False,
            **EAGER,
        )  # fmt: skip
        kind = LlamaForCausalLM if vocabulary is not None else LlamaModel
        net, cache = kind(config), DynamicCache()
        for layer in range(layers):
            past = torch.empty(1, key_heads, context - 128, head)
            cache.update(past, past, layer)
        places = torch.zeros(1, 128, dtype=torch.long)
        return net, lambda: net(tokens(128), past_key_values=cache, position_ids=places)

    return Net(build, f"128 tokens, context {context:,}{'' if vocabulary else ', no logits'}")


NETS: Mapping[str, Net] = {
    "resnet50": torchvision_net("resnet50"),
    "resnet101": torchvision_net("resnet101"),
    "wideresnet50": torchvision_net("wide_resnet50_2"),
    "densenet121": torchvision_net("densenet121"),
    "convnext_tiny": torchvision_net("convnext_tiny"),
    "convnext_base": torchvision_net("convnext_base"),
    "vit": torchvision_net("vit_b_16"),
    "fcn_resnet50": Net(fcn_resnet50, "1 x 3 x 520 x 520"),
    "unet_segmentation": Net(carvana_unet, "1 x 3 x 640 x 1280"),
    "real_esrgan_general_x4v3": Net(srvgg, "1 x 3 x 128 x 128"),
    "esrgan": Net(esrgan, "1 x 3 x 128 x 128"),
    "bert_base_uncased_hf": bert(12),
    "distil_bert_base_uncased_hf": bert(6),
    "openai_clip": Net(openai_clip, "1 x 3 x 224 x 224 and 77 tokens"),
    "whisper_tiny HfWhisperEncoder": whisper_encoder(384, 4, 6),
    "whisper_base HfWhisperEncoder": whisper_encoder(512, 6, 8),
    "whisper_small HfWhisperEncoder": whisper_encoder(768, 12, 12),
    "whisper_large_v3_turbo HfWhisperEncoder": whisper_encoder(1280, 32, 20, 128),
    "stable_diffusion_v1_5 text_encoder": clip_text(768, 12, 12),
    "stable_diffusion_v1_5 unet": sd_unet("1.5"),
    "stable_diffusion_v2_1 text_encoder": clip_text(1024, 23, 16),
    "stable_diffusion_v2_1 unet": sd_unet("2.1"),
    "stable_diffusion_v1_5 vae": Net(sd_vae_decoder, "1 x 4 x 64 x 64"),
    "controlnet_canny controlnet": Net(controlnet, "1 x 4 x 64 x 64, 77 states, 512 x 512"),
    "llama_v3_2_1b_instruct": llm(2048, 8192, 16, 32, 8, 64, 128256),
    "llama_v3_2_3b_instruct": llm(3072, 8192, 28, 24, 8, 128, 128256),
    "llama_v3_1_8b_instruct": llm(4096, 14336, 32, 32, 8, 128, 128256),
    "phi_3_5_mini_instruct": llm(3072, 8192, 32, 32, 32, 96, 32064),
    "qwen2_5_7b_instruct": llm(3584, 18944, 28, 28, 4, 128, 152064),
    "llama_v3_2_1b prefill": llm(2048, 8192, 16, 32, 8, 64, None, 2048),
    "llama_v3_1_8b prefill": llm(4096, 14336, 32, 32, 8, 128, None, 2048),
    "qwen2_0_5b prefill": llm(896, 4864, 24, 14, 2, 64, None, 2048),
    "qwen2_5_3b prefill": llm(2048, 11008, 36, 16, 2, 128, None, 2048),
}


def work_of(name: str) -> Work:
    """The work of one call of a network."""
    # This initialiser looks at values, which fake tensors have none of.
    with fake_tensors(), patch.object(nn.init, "trunc_normal_", lambda tensor, *_, **__: tensor):
        module, run = NETS[name].build()
        return count(module.eval(), run)
