"""Checkpoints on disk for tests: one tiny synthetic one per run, copies of it to be damaged, small tensor files."""

import json
import os
import shutil
import struct
from functools import cache
from pathlib import Path
from typing import Any

import torch
from run_folder import made_once
from safetensors.torch import save_file

from dreamlite_mobile.checkpoint import Checkpoint
from dreamlite_mobile.config import DreamLiteConfig
from dreamlite_mobile.configfiles import write_config_files
from dreamlite_mobile.synthetic import make_checkpoint
from dreamlite_mobile.tensorfiles import read_header

UNET_FILE = "unet/diffusion_pytorch_model.safetensors"
TEXT_FILE = "text_encoder/model.safetensors"


@cache
def tiny_checkpoint() -> Path:
    """The tiny configuration with seed 0. Shared: do not change it."""
    return made_once("tiny", lambda out: make_checkpoint("tiny", 0, out))


def copy_of_tiny(folder: Path) -> Path:
    """A copy whose files may be replaced or removed, but not written into: they are hard links."""
    return Path(shutil.copytree(tiny_checkpoint(), folder / "copy", copy_function=os.link))


def change_json(file: Path, *path: str, value: Any) -> None:
    """Set one value of a JSON file, breaking its hard link."""
    document = json.loads(file.read_text())
    node = document
    for key in path[:-1]:
        node = node.setdefault(key, {})
    node[path[-1]] = value
    replace_file(file, json.dumps(document).encode())


def replace_file(file: Path, data: bytes) -> None:
    file.unlink(missing_ok=True)
    file.write_bytes(data)


def change_tensors(file: Path, **tensors: torch.Tensor | None) -> None:
    """Replace, add or (None) remove tensors of a safetensors file."""
    from safetensors.torch import load_file

    stored = load_file(file)
    changed = {name: tensor for name, tensor in {**stored, **tensors}.items() if tensor is not None}
    file.unlink()
    save_file(changed, file)


def config_folder(folder: Path, config: DreamLiteConfig) -> Path:
    """A folder with configuration files only."""
    write_config_files(config, folder)
    return folder


def raw_tensor_file(file: Path, header: bytes, data: bytes, length: int | None = None) -> Path:
    """A safetensors file of exactly these bytes; `length` lies about the header's."""
    file.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + data)
    return file


def checkpoint_of(file: Path, config: DreamLiteConfig) -> Checkpoint:
    """A checkpoint whose U-Net is the given file, whatever it holds."""
    return Checkpoint(file.parent, config, file, {"unet": read_header(file).entries})
