"""The published classes at the embedded configuration, for training: made, run in batches, saved as a checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn

from dreamlite_mobile.config import DreamLiteConfig
from dreamlite_mobile.errors import CheckpointError
from dreamlite_mobile.prompt import PromptConfig, PromptEncoder, PromptLayout
from dreamlite_mobile.synthetic import STEMS, make_checkpoint
from dreamlite_mobile.tiny.drafts import Drafts
from dreamlite_mobile.tiny.facts import ANSWERS
from dreamlite_mobile.tiny.world import Pixels

NETWORKS = ("vae", "text_encoder", "unet")


@dataclass(slots=True)
class Models:
    """`AutoencoderTiny`, `Qwen3VLForConditionalGeneration` (final norm taken out) and `DreamLiteUNetModel`.

    `reader` asks the text tower's states for facts while it learns to read, `drafts` the U-Net's features for the
    layout while it learns to draw; they are no part of a checkpoint.
    """

    folder: Path
    config: DreamLiteConfig
    prompts: PromptEncoder
    vae: Any
    text_encoder: Any
    unet: Any
    reader: nn.Linear
    drafts: Drafts
    final_norm: nn.Module
    device: torch.device

    def networks(self) -> dict[str, nn.Module]:
        """Everything that is trained."""
        return {name: getattr(self, name) for name in (*NETWORKS, "reader", "drafts")}


@dataclass(frozen=True, slots=True)
class Words:
    """A batch of prompts as the U-Net takes them: states [B, S, D], mask [B, S]."""

    states: torch.Tensor
    mask: torch.Tensor


def create(folder: Path, seed: int, device: torch.device) -> Models:
    """Networks with their classes' own initial weights, over the configuration files of a synthetic checkpoint."""
    from diffusers import AutoencoderTiny, DreamLiteUNetModel
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    from dreamlite_mobile.checkpoint import open_checkpoint

    if not folder.is_dir():
        make_checkpoint("embedded", seed, folder)
    checkpoint = open_checkpoint(folder)
    torch.manual_seed(seed)
    make_vae: Any = AutoencoderTiny.from_config
    make_unet: Any = DreamLiteUNetModel.from_config
    vae = make_vae(AutoencoderTiny.load_config(folder / "vae"))
    unet = make_unet(DreamLiteUNetModel.load_config(folder / "unet"))
    qwen = Qwen3VLForConditionalGeneration(Qwen3VLConfig.from_pretrained(folder / "text_encoder"))
    language = qwen.model.language_model
    norm, language.norm = language.norm, nn.Identity()
    qwen.model.visual.patch_embed.proj.__class__ = PatchLinear
    enliven(qwen)
    prompts = PromptEncoder(checkpoint.tokenizer, PromptConfig(image_tokens=checkpoint.config.vision.num_tokens))
    reader = nn.Linear(checkpoint.config.text.hidden_size, ANSWERS)
    drafts = Drafts(checkpoint.config.unet.block_out_channels)
    made = Models(folder, checkpoint.config, prompts, vae, qwen, unet, reader, drafts, norm, device)
    for network in made.networks().values():
        network.float().to(device).requires_grad_(False)
    for network in (vae, unet):
        network.to(memory_format=torch.channels_last)  # a fifth faster on a CPU
    return made


@torch.no_grad()
def enliven(text_encoder: nn.Module) -> None:
    """Larger initial weights than transformers' 0.02, which suits thousands of channels: words come out 0.07 small.

    What stands for words must outweigh what layers add: else all prompts look alike to the U-Net, which learns to take
    them for a constant, and the tower to be one. The output matrix, tied to the embeddings, is not to be touched.
    """
    for name, module in text_encoder.named_modules():
        if isinstance(module, nn.Embedding):
            module.weight.normal_(std=1.0)
        elif isinstance(module, nn.Linear) and name != "lm_head":
            module.weight.normal_(std=0.5 * module.in_features**-0.5)


FINAL_NORM = "model.language_model.norm.weight"
TIED = {"lm_head.weight"}
"""Equal to the embeddings, and not stored."""


def load(models: Models, folder: Path) -> None:
    """The weights of a checkpoint that `save` wrote.

    Raises:
        CheckpointError: its tensors are not those of the embedded configuration.
    """
    for name in NETWORKS:
        stored = load_file(folder / name / f"{STEMS[name]}.safetensors", str(models.device))
        stored.pop(FINAL_NORM, None)
        wanted = {key: value.shape for key, value in models.networks()[name].state_dict().items()}
        wrong = [key for key in {*wanted, *stored} - TIED if key not in stored or stored[key].shape != wanted.get(key)]
        if wrong:
            raise CheckpointError(f"{folder / name}: not of the embedded configuration: {', '.join(sorted(wrong)[:4])}")
        models.networks()[name].load_state_dict(stored, strict=False)


def save(models: Models) -> Path:
    """Write the networks into their checkpoint folder, fp16, under the published names."""
    names = {"text_encoder": {FINAL_NORM: models.final_norm.weight}}
    for name in NETWORKS:
        network = models.networks()[name]
        stored = {key: value for key, value in network.state_dict().items() if not key.startswith("lm_head")}
        stored |= names.get(name, {})
        halves = {key: value.detach().to("cpu", torch.float16).contiguous() for key, value in stored.items()}
        save_file(halves, models.folder / name / f"{STEMS[name]}.safetensors", {"format": "pt"})
    return models.folder


def encode(vae: Any, pixels: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 [B, H, W, 3] -> latents [B, 4, h, w]."""
    return vae.encode(to_unit(pixels, next(vae.parameters()).device)).latents


def to_unit(pixels: NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


def decode(models: Models, latents: torch.Tensor) -> NDArray[np.uint8]:
    """Latents [B, 4, h, w] -> uint8 [B, H, W, 3]."""
    images = models.vae.decode(latents).sample.clamp(-1, 1)
    return ((images + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def read_words(models: Models, texts: Sequence[str], sources: Sequence[Pixels] | None = None) -> Words:
    """The text tower over a batch, right-padded to its longest prompt; with sources, the vision tower as well."""
    frame = models.prompts.generate if sources is None else models.prompts.edit
    layouts: list[PromptLayout] = [frame(text) for text in texts]
    shape = models.prompts.generate_shape if sources is None else models.prompts.edit_shape
    longest = max(layout.valid for layout in layouts)
    ids = torch.from_numpy(np.stack([layout.ids[:longest] for layout in layouts])).to(models.device)
    mask = (torch.arange(longest) < torch.tensor([layout.valid for layout in layouts])[:, None]).to(models.device)
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask.long(), "use_cache": False}
    if sources is not None:
        inputs |= vision_inputs(models, sources)
        inputs["mm_token_type_ids"] = (ids == models.prompts.image_token_id).int()
    states = models.text_encoder.model(**inputs).last_hidden_state
    return Words(states[:, shape.drop :], mask[:, shape.drop :].long())


class PatchLinear(nn.Conv3d):
    """The vision tower's patch convolution as the matrix product that it is; its backward pass is 20 times faster."""

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(patches.flatten(1), self.weight.flatten(1), self.bias)


def vision_inputs(models: Models, sources: Sequence[Pixels]) -> dict[str, torch.Tensor]:
    """What the vision tower takes: every patch repeated for each frame of time.

    The same patches as `images.vision_patches`, resized by a bicubic filter instead of LANCZOS, in one go: as products
    with the filter's matrix, twice as fast on a CPU as `interpolate` on pictures.
    """
    cfg = models.config.vision
    blocks, merge, patch = cfg.grid // cfg.spatial_merge_size, cfg.spatial_merge_size, cfg.patch_size
    pixels = torch.from_numpy(np.stack(sources)).to(models.device).permute(0, 3, 1, 2).float()
    rows, columns = (bicubic(side, cfg.image_size, models.device) for side in pixels.shape[2:])
    large = (rows @ pixels @ columns.T).clamp(0, 255)
    mean, std = (
        torch.tensor(values, device=models.device).view(-1, 1, 1) * 255 for values in (cfg.image_mean, cfg.image_std)
    )
    tiles = ((large - mean) / std).reshape(-1, cfg.in_channels, blocks, merge, patch, blocks, merge, patch)
    ordered = tiles.permute(0, 2, 5, 3, 6, 1, 4, 7).reshape(-1, cfg.in_channels, 1, patch * patch)
    frames = ordered.repeat(1, 1, cfg.temporal_patch_size, 1).flatten(1)
    grid = torch.tensor([[1, cfg.grid, cfg.grid]] * len(sources), device=models.device)
    return {"pixel_values": frames, "image_grid_thw": grid}


def bicubic(side: int, larger: int, device: torch.device) -> torch.Tensor:
    """The matrix [larger, side] that resizes a row of pixels."""
    spread = nn.functional.interpolate(torch.eye(side, device=device)[None, None], (larger, side), mode="bicubic")
    return spread[0, 0]


def velocity(
    unet: nn.Module, latents: torch.Tensor, condition: torch.Tensor | None, sigma: torch.Tensor, words: Words, side: int
) -> torch.Tensor:
    """Velocity [B, 4, h, w] of the target half at noise levels sigma [B]; without a condition it stands alone."""
    pair = latents if condition is None else torch.cat([latents, condition], 3)
    sizes = torch.full((len(latents), 2), float(side), device=latents.device)
    found = unet(
        pair,
        timestep=sigma * 1000,
        encoder_hidden_states=words.states,
        encoder_attention_mask=words.mask,
        added_cond_kwargs={"time_ids": sizes},
        return_dict=False,
    )[0]
    return found[..., : latents.shape[3]]
