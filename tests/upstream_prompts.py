"""Upstream's prompt path as an oracle: DreamLiteMobilePipeline.encode_prompt with a text encoder that echoes ids."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from diffusers import DreamLiteMobilePipeline
from PIL import Image
from transformers import Qwen2Tokenizer, Qwen2VLImageProcessor, Qwen3VLConfig, Qwen3VLModel, Qwen3VLProcessor
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor

from dreamlite_mobile.config import VisionConfig
from dreamlite_mobile.prompt import Mode, PromptConfig, PromptEncoder


@dataclass
class Echo:
    """Stands for the text encoder: its hidden states are the token ids, and it keeps what it was given."""

    seen: dict[str, torch.Tensor] = field(default_factory=dict)

    def __call__(self, output_hidden_states: bool, **inputs: torch.Tensor) -> SimpleNamespace:
        assert output_hidden_states
        self.seen = inputs
        return SimpleNamespace(hidden_states=[inputs["input_ids"][..., None].double()])


class UpstreamPrompts:
    """What upstream makes of a prompt, with the tokenizer file of `folder` and the pictures of `vision`."""

    def __init__(self, folder: Path, vision: VisionConfig, encoder: PromptEncoder) -> None:
        self.tokenizer = Qwen2Tokenizer.from_pretrained(folder)
        self.processor = Qwen3VLProcessor(image_processor(vision), self.tokenizer, Qwen3VLVideoProcessor())
        self.echo = Echo()
        self.pipeline = DreamLiteMobilePipeline(None, self.tokenizer, self.processor, None, None, None)
        self.pipeline.text_encoder = self.echo
        # Upstream has the published drop counts as constants; another vocabulary has its own.
        self.pipeline.prompt_template_encode_generate_start_idx = encoder.generate_shape.drop
        self.pipeline.prompt_template_encode_edit_start_idx = encoder.edit_shape.drop

    def kept_ids(self, mode: Mode, prompt: str) -> np.ndarray:
        """The ids whose hidden states reach the U-Net; `echo.seen` holds everything the text encoder was given."""
        wording = PromptConfig().generate_wording if mode == "generate" else PromptConfig().edit_wording
        image = Image.new("RGB", (700, 460), "teal") if mode == "edit" else None
        before, after = wording.split("{}")
        embeds, mask = self.pipeline.encode_prompt(
            mode, [before + prompt + after], torch.device("cpu"), torch.float64, image=image, max_sequence_length=200
        )
        assert mask.all()
        return embeds[0, :, 0].numpy().astype(np.int64)

    def positions(self) -> np.ndarray:
        """Rotary positions [3, length] of what was encoded last."""
        with torch.device("meta"):
            model = Qwen3VLModel(small_config())
        seen = self.echo.seen
        found, _ = model.get_rope_index(
            seen["input_ids"], seen["mm_token_type_ids"], seen["image_grid_thw"], None, seen["attention_mask"]
        )
        return found[:, 0].numpy()


def image_processor(vision: VisionConfig) -> Qwen2VLImageProcessor:
    """The published `preprocessor_config.json` of Qwen3-VL, with the patch size of `vision`."""
    return Qwen2VLImageProcessor(
        patch_size=vision.patch_size,
        temporal_patch_size=vision.temporal_patch_size,
        merge_size=vision.spatial_merge_size,
        size={"shortest_edge": 65536, "longest_edge": 16777216},
        image_mean=list(vision.image_mean),
        image_std=list(vision.image_std),
    )


def small_config() -> Qwen3VLConfig:
    text = {"num_hidden_layers": 1, "hidden_size": 32, "intermediate_size": 32, "vocab_size": 64}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}
    vision = {"depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32}
    return Qwen3VLConfig(text_config=text | heads, vision_config=vision | {"deepstack_visual_indexes": [0]})
