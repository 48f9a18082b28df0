"""A complete, consistent bundle of a few hundred kilobytes whose programs are placeholders."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from dreamlite_mobile.bundle import BundleWriter
from dreamlite_mobile.bundle_config import config_to_json
from dreamlite_mobile.bundle_programs import ComponentEntry, Delegates, MethodEntry, TensorSpec
from dreamlite_mobile.bundle_schema import (
    SCHEMA_VERSION,
    CheckpointIdentity,
    EmbeddingsEntry,
    FileEntry,
    Manifest,
    ModePrompt,
    Needs,
    PromptEntry,
    SchedulerEntry,
    SizeEntry,
    StepTable,
    ToolVersions,
    VaeEntry,
    VisionEntry,
)
from dreamlite_mobile.components import Geometry, Size, component_specs, size_suffix
from dreamlite_mobile.config import TINY

CONFIG = replace(
    TINY,
    unet=replace(TINY.unet, block_out_channels=(8, 16, 32), encoder_hid_dim=16),
    text=replace(TINY.text, hidden_size=16),
    vision=replace(TINY.vision, out_hidden_size=16),
)
WIDTH, HEIGHT = 96, 64
GEOMETRY = Geometry(CONFIG, WIDTH, HEIGHT, drop_generate=6, drop_edit=9, states_generate=20, states_edit=90)
TOKENIZER, EMBEDDINGS, STEPS = "tokenizer.json", "tables/embeddings.bin", "tables/steps.bin"


def method_entry(file: str, method: Any) -> MethodEntry:
    """The manifest's form of a component spec."""
    inputs = tuple(TensorSpec(name=spec.name, shape=spec.shape) for spec in method.inputs)
    outputs = tuple(TensorSpec(name=spec.name, shape=spec.shape) for spec in method.outputs)
    return MethodEntry(file=file, inputs=inputs, outputs=outputs, delegates=Delegates(count=1))


def components(further: tuple[Size, ...] = ()) -> dict[str, ComponentEntry]:
    """Every component, one `.pte` each, for WIDTH x HEIGHT and further sizes."""
    return {
        name: ComponentEntry(
            files=(f"{name}.pte",),
            precision="fp32",
            methods={key: method_entry(f"{name}.pte", method) for key, method in spec.methods.items()},
        )
        for name, spec in component_specs(replace(GEOMETRY, further=further)).items()
    }


def prompt() -> PromptEntry:
    """Prompt constants that agree with CONFIG and GEOMETRY."""
    vision, text = CONFIG.vision, CONFIG.text
    modes = {
        "generate": ModePrompt(
            template="system {} end", wording="[G]: {}", drop_tokens=6, input_length=26, sequence_length=20,
            max_prompt_tokens=20,
        ),
        "edit": ModePrompt(
            template="see {} end", wording="[E]: {}", drop_tokens=9, input_length=99, sequence_length=90,
            max_prompt_tokens=26,
        ),
    }  # fmt: skip
    return PromptEntry(
        tokenizer=TOKENIZER,
        state_width=text.hidden_size,
        modes=modes,
        image_token_id=text.image_token_id,
        vision_start_token_id=text.vision_start_token_id,
        vision_end_token_id=text.vision_end_token_id,
        pad_token_id=0,
        vision=VisionEntry(
            picture_size=vision.image_size,
            patch_size=vision.patch_size,
            merge_size=vision.spatial_merge_size,
            mean=vision.image_mean,
            std=vision.image_std,
            deepstack_count=len(vision.deepstack_layers),
        ),
    )


def size_entry(size: Size) -> SizeEntry:
    """A size with two sigma tables."""
    return SizeEntry(
        width=size[0],
        height=size[1],
        sigmas={4: (1.0, 0.9, 0.7, 0.4, 0.0), 1: (1.0, 0.0)},
        step_embeddings=StepTable(file=step_file(size), columns=CONFIG.unet.time_embed_dim),
    )


def step_file(size: Size) -> str:
    """Where the step embeddings of a size lie."""
    return STEPS if size == (WIDTH, HEIGHT) else f"tables/steps{size_suffix(size, (WIDTH, HEIGHT))}.bin"


def manifest(files: dict[str, FileEntry], further: tuple[Size, ...] = ()) -> Manifest:
    """A consistent manifest over the given files."""
    schedule, vae = CONFIG.scheduler, CONFIG.vae
    return Manifest(
        schema_version=SCHEMA_VERSION,
        tools=ToolVersions(dreamlite_mobile="0.1.0", python="3.11.7", torch="2.13.0", executorch="1.5.1"),
        checkpoint=CheckpointIdentity(source="tiny", sha256="ab" * 32, config=config_to_json(CONFIG)),
        backend="xnnpack",
        target="cpu",
        sizes=tuple(map(size_entry, ((WIDTH, HEIGHT), *further))),
        modes=("generate", "edit"),
        components=components(further),
        prompt=prompt(),
        embeddings=EmbeddingsEntry(
            file=EMBEDDINGS, rows=CONFIG.text.vocab_size, columns=CONFIG.text.hidden_size, dtype="float16"
        ),
        scheduler=SchedulerEntry(
            num_train_timesteps=schedule.num_train_timesteps,
            base_image_seq_len=schedule.base_image_seq_len,
            max_image_seq_len=schedule.max_image_seq_len,
            base_shift=schedule.base_shift,
            max_shift=schedule.max_shift,
            shift=schedule.shift,
            use_dynamic_shifting=schedule.use_dynamic_shifting,
            default_steps=4,
        ),
        vae=VaeEntry(
            scale=vae.scale,
            latent_channels=vae.latent_channels,
            scaling_factor=vae.scaling_factor,
            shift_factor=vae.shift_factor,
        ),
        noise="philox4x32-10",
        licence="Apache-2.0",
        needs=Needs(executorch="1.5.1"),
        files=files,
    )


def add_files(writer: BundleWriter, further: tuple[Size, ...] = ()) -> None:
    """Placeholder programs, tokenizer and tables of the right sizes."""
    for name in components():
        writer.add_bytes(f"{name}.pte", name.encode() * 40)
    writer.add_bytes(TOKENIZER, b"{}")
    writer.add_bytes(EMBEDDINGS, bytes(CONFIG.text.vocab_size * CONFIG.text.hidden_size * 2))
    for size in ((WIDTH, HEIGHT), *further):
        writer.add_bytes(step_file(size), bytes(1275 * CONFIG.unet.time_embed_dim * 4))


def write_bundle(target: Path, *, replace: bool = False, further: tuple[Size, ...] = ()) -> Path:
    """Write the bundle and return its folder."""
    with BundleWriter(target, replace=replace) as writer:
        add_files(writer, further)
        writer.finish(manifest(writer.files, further))
    return target


def sign(folder: Path) -> None:
    """Make the digest match a manifest that a test has changed, so that the checks behind it are reached."""
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    (folder / "manifest.sha256").write_text(f"{digest}  manifest.json\n")


def change_manifest(folder: Path, data: object) -> None:
    """Replace the manifest by other JSON, signed."""
    (folder / "manifest.json").write_text(json.dumps(data))
    sign(folder)


def manifest_data(folder: Path) -> dict[str, Any]:
    """The manifest as plain data."""
    data: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return data
