"""Synthetic checkpoints: seeded weights for any of our configurations, in the layout that diffusers itself loads.

Weights are scaled so that activations stay finite and lively through every network: around 1/sqrt(fan-in), branches
that are added to a residual stream smaller with its depth, norm weights near 1. Every tensor has a generator of its
own, seeded by checkpoint seed and tensor name, so order and shards do not matter and a seed gives the same bytes.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import partial
from math import prod
from pathlib import Path

import numpy as np

from dreamlite_mobile.config import CONFIGS, DreamLiteConfig
from dreamlite_mobile.configfiles import write_config_files
from dreamlite_mobile.errors import ConfigError, OutputError, unknown_name
from dreamlite_mobile.files import staged_folder
from dreamlite_mobile.networks import expected_tensors
from dreamlite_mobile.progress import Advance
from dreamlite_mobile.prompt import PromptConfig
from dreamlite_mobile.synthetic_weights import Recipe, recipe
from dreamlite_mobile.tensorfiles import TensorPlan, write_tensors
from dreamlite_mobile.tiny.vocabulary import CONTROL_TOKENS, tokenizer_config, train_tokenizer

SHARD_BYTES = 2_000_000_000
PIECE_VALUES = 1 << 22
"""Values generated at a time; part of what a seed means, since a generator's stream is cut here."""

STEMS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
MARKER = "model_index.json"


def make_checkpoint(
    config_name: str, seed: int, out: Path, *, progress: Advance | None = None, force: bool = False
) -> Path:
    """Write a float16 checkpoint of the named configuration with seeded weights.

    It is staged beside `out` and renamed when complete: a killed run leaves nothing that looks like a checkpoint, and
    the next one to the same place cleans up.

    Args:
        config_name: a name in `CONFIGS`.
        seed: any integer from 0 to 2**63 - 1; equal seeds give equal bytes.
        out: the folder to make; it may exist if it is empty.
        progress: called with the number of weights written since the last call; `count_weights` gives the total.
        force: replace a checkpoint that is already there.

    Returns:
        `out`.

    Raises:
        ConfigError: an unknown configuration or a seed out of range.
        OutputError: the place cannot be written, or holds something else.
    """
    return write_checkpoint(named_config(config_name), seed, out, progress=progress, force=force)


def write_checkpoint(
    config: DreamLiteConfig, seed: int, out: Path, *, progress: Advance | None = None, force: bool = False
) -> Path:
    """The same for any configuration.

    Raises:
        ConfigError: a seed out of range. OutputError: as above.
    """
    if not 0 <= seed < 2**63:
        raise ConfigError(f"seed = {seed}; supported: 0 to {2**63 - 1}")
    out = Path(out)
    check_target(out, force)
    with staged_folder(out, replace=out.is_dir()) as folder:
        write_config_files(config, folder)
        _write_tokenizer(config, folder)
        for subfolder, shapes in expected_tensors(config).items():
            plans = []
            for name, shape in sorted(shapes.items()):
                how = recipe(subfolder, name, shape, config)
                pieces = partial(_pieces, f"{seed}/{subfolder}/{name}", prod(shape), how, progress)
                plans.append(TensorPlan(name, "F16", shape, pieces))
            write_component(folder / subfolder, STEMS[subfolder], plans, {"format": "pt", "seed": str(seed)})
    return out


def count_weights(config_name: str) -> int:
    """Weights in a checkpoint of the named configuration."""
    folders = expected_tensors(named_config(config_name)).values()
    return sum(prod(shape) for shapes in folders for shape in shapes.values())


def named_config(name: str) -> DreamLiteConfig:
    """The configuration of that name, or a ConfigError that lists the known ones."""
    if name not in CONFIGS:
        raise ConfigError(unknown_name("configuration", name, CONFIGS))
    return CONFIGS[name]


def write_component(
    folder: Path, stem: str, plans: Sequence[TensorPlan], metadata: dict[str, str], shard_bytes: int = SHARD_BYTES
) -> None:
    """Write tensors as one safetensors file, or as shards of at most `shard_bytes` with an index, named as upstream."""
    shards = _shards(plans, shard_bytes)
    if len(shards) == 1:
        write_tensors(folder / f"{stem}.safetensors", plans, metadata)
        return
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = f"{stem}-{number:05}-of-{len(shards):05}.safetensors"
        write_tensors(folder / file, shard, metadata)
        weight_map |= {plan.name: file for plan in shard}
    index = {"metadata": {"total_size": sum(plan.bytes for plan in plans)}, "weight_map": weight_map}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _shards(plans: Sequence[TensorPlan], shard_bytes: int) -> list[list[TensorPlan]]:
    shards: list[list[TensorPlan]] = [[]]
    used = 0
    for plan in plans:
        if shards[-1] and used + plan.bytes > shard_bytes:
            shards.append([])
            used = 0
        shards[-1].append(plan)
        used += plan.bytes
    return shards


def check_target(out: Path, force: bool) -> None:
    """Only an empty folder, or with force a checkpoint, may be replaced (else OutputError): force eats nothing else."""
    try:
        free = not out.exists() or (out.is_dir() and not any(out.iterdir()))
        is_checkpoint = (out / MARKER).is_file()
    except OSError as error:
        raise OutputError(f"{out} cannot be used: {error.strerror or error}; name another place") from error
    if free:
        return
    if not is_checkpoint:
        raise OutputError(f"{out} exists and is no checkpoint (no {MARKER}); name a place that does not exist")
    if not force:
        raise OutputError(f"{out} holds a checkpoint already; pass --force to replace it, or name another place")


def _write_tokenizer(config: DreamLiteConfig, folder: Path) -> None:
    control_start = config.text.image_token_id - CONTROL_TOKENS.index("<|image_pad|>")
    cfg = PromptConfig()
    texts = (cfg.generate_template, cfg.edit_template, cfg.generate_wording, cfg.edit_wording)
    tokenizer = train_tokenizer(texts, control_start)
    settings = json.dumps(tokenizer_config(), indent=2) + "\n"
    for name in ("tokenizer", "processor"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
        (folder / name / "tokenizer_config.json").write_text(settings, encoding="utf-8")


def _pieces(seed: str, left: int, how: Recipe, progress: Advance | None) -> Iterator[bytes]:
    """The float16 bytes of a tensor with `left` values, little-endian, a few million values at a time."""
    digest = hashlib.sha256(seed.encode()).digest()
    generator = np.random.Generator(np.random.SFC64(int.from_bytes(digest[:16], "little")))
    while left:
        count = min(left, PIECE_VALUES)
        values = generator.standard_normal(count, dtype=np.float32)
        values *= np.float32(how.std)
        values += np.float32(how.mean)
        yield values.astype("<f2").tobytes()
        if progress is not None:
            progress(count)
        left -= count
