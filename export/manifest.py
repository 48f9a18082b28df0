"""The manifest of a bundle from what was exported."""

import importlib.metadata
import platform
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dreamlite_mobile import __version__
from dreamlite_mobile.bundle_config import config_to_json
from dreamlite_mobile.bundle_fields import Backend, Mode
from dreamlite_mobile.bundle_programs import ComponentEntry
from dreamlite_mobile.bundle_schema import (
    SCHEMA_VERSION,
    CheckpointIdentity,
    EmbeddingsEntry,
    FileEntry,
    Manifest,
    ModePrompt,
    PromptEntry,
    SchedulerEntry,
    SizeEntry,
    StepTable,
    ToolVersions,
    VaeEntry,
    VisionEntry,
)
from dreamlite_mobile.components import Geometry, Size, size_suffix
from dreamlite_mobile.config import DreamLiteConfig
from dreamlite_mobile.noise import NAME as NOISE
from dreamlite_mobile.prompt import PromptConfig, PromptEncoder
from dreamlite_mobile.scheduler import MAX_STEPS, sigma_table

if TYPE_CHECKING:
    from export.backends import Exporter

TOKENIZER = "tokenizer.json"
EMBEDDINGS = "embeddings.bin"
DEFAULT_STEPS = 4
LICENCE = (
    "The code is Apache-2.0. The published DreamLite-mobile weights are CC BY-NC 4.0 (no commercial use); "
    "a bundle carries the licence of the checkpoint it was made from."
)


def tool_versions() -> ToolVersions:
    """The installed versions of what takes part in an export."""
    names = ("torch", "executorch", "torchao", "onnx", "onnxruntime", "coremltools")
    found = {name: importlib.metadata.version(name) for name in names}
    return ToolVersions(dreamlite_mobile=__version__, python=platform.python_version(), **found)


def prompt_entry(encoder: PromptEncoder, geometry: Geometry, modes: list[Mode]) -> PromptEntry:
    """Everything between a prompt and the text encoder."""
    cfg, text, vision = encoder.cfg, geometry.config.text, geometry.config.vision
    return PromptEntry(
        tokenizer=TOKENIZER,
        state_width=text.hidden_size,
        modes={mode: mode_prompt(mode, cfg, geometry) for mode in modes},
        image_token_id=text.image_token_id,
        vision_start_token_id=text.vision_start_token_id,
        vision_end_token_id=text.vision_end_token_id,
        pad_token_id=encoder.pad_id,
        vision=VisionEntry(
            picture_size=vision.image_size,
            patch_size=vision.patch_size,
            merge_size=vision.spatial_merge_size,
            mean=vision.image_mean,
            std=vision.image_std,
            deepstack_count=len(vision.deepstack_layers),
        ),
    )


def mode_prompt(mode: Mode, cfg: PromptConfig, geometry: Geometry) -> ModePrompt:
    generate = mode == "generate"
    return ModePrompt(
        template=cfg.generate_template if generate else cfg.edit_template,
        wording=cfg.generate_wording if generate else cfg.edit_wording,
        drop_tokens=geometry.drop(mode),
        input_length=geometry.text_length(mode),
        sequence_length=geometry.states(mode),
        max_prompt_tokens=cfg.max_prompt_tokens if generate else cfg.edit_text_tokens,
        prefix_tokens=geometry.prefix(mode),
    )


def step_table_file(geometry: Geometry, size: Size) -> str:
    """Where a bundle keeps the step embeddings of one of its sizes."""
    return f"step_embeddings{size_suffix(size, geometry.sizes[0])}.bin"


def size_entry(geometry: Geometry, size: Size, with_steps: bool) -> SizeEntry:
    """The sigma tables of every step count, and where the step embeddings lie."""
    config, (width, height) = geometry.config, size
    sigmas = {
        steps: tuple(float(sigma) for sigma in sigma_table(steps, width, height, config.vae.scale, config.scheduler))
        for steps in range(1, MAX_STEPS + 1)
    }
    file = step_table_file(geometry, size)
    table = StepTable(file=file, columns=config.unet.time_embed_dim) if with_steps else None
    return SizeEntry(width=width, height=height, sigmas=sigmas, step_embeddings=table)


def scheduler_entry(config: DreamLiteConfig) -> SchedulerEntry:
    cfg = config.scheduler
    return SchedulerEntry(
        num_train_timesteps=cfg.num_train_timesteps,
        base_image_seq_len=cfg.base_image_seq_len,
        max_image_seq_len=cfg.max_image_seq_len,
        base_shift=cfg.base_shift,
        max_shift=cfg.max_shift,
        shift=cfg.shift,
        use_dynamic_shifting=cfg.use_dynamic_shifting,
        default_steps=DEFAULT_STEPS,
    )


def build_manifest(
    *,
    backend: Backend,
    exporter: "Exporter",
    geometry: Geometry,
    modes: list[Mode],
    encoder: PromptEncoder,
    components: dict[str, ComponentEntry],
    embeddings: EmbeddingsEntry | None,
    source: CheckpointIdentity,
    documents: Sequence[str],
    files: dict[str, FileEntry],
) -> Manifest:
    """The manifest; pydantic's ValidationError if the pieces do not fit together."""
    tools, vae = tool_versions(), geometry.config.vae
    return Manifest(
        schema_version=SCHEMA_VERSION,
        tools=tools,
        checkpoint=source,
        backend=backend,
        target=exporter.target,
        sizes=tuple(size_entry(geometry, size, "unet" in components) for size in geometry.sizes),
        modes=tuple(modes),
        components=components,
        prompt=prompt_entry(encoder, geometry, modes),
        embeddings=embeddings,
        scheduler=scheduler_entry(geometry.config),
        vae=VaeEntry(
            scale=vae.scale,
            latent_channels=vae.latent_channels,
            scaling_factor=vae.scaling_factor,
            shift_factor=vae.shift_factor,
        ),
        noise=NOISE,
        licence=LICENCE,
        needs=exporter.needs(tools),
        htp=exporter.htp,
        coreml=exporter.coreml,
        documents=tuple(documents),
        files=files,
    )


def checkpoint_identity(source: str, revision: str | None, digest: str, config: DreamLiteConfig) -> CheckpointIdentity:
    return CheckpointIdentity(source=source, revision=revision, sha256=digest, config=config_to_json(config))
