"""The token table of a bundle: in the checkpoint's own numbers, in fp16, or as int8 rows with one scale each.

It is read from the memory-mapped checkpoint and written some rows at a time.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

import torch

from dreamlite_mobile.bundle_fields import TableDtype
from dreamlite_mobile.checkpoint import EmbeddingRows
from dreamlite_mobile.errors import ConfigError, ExportError, unknown_name
from dreamlite_mobile.tensorfiles import finite, little_endian

Storage = Literal["stored", "fp16", "int8"]
STORAGES: tuple[Storage, ...] = ("stored", "fp16", "int8")
LARGEST_CODE = 127


def storage(name: str) -> Storage:
    """The named way to store the table; ConfigError listing the known ones otherwise."""
    if name not in STORAGES:
        raise ConfigError(f"--embeddings: {unknown_name('storage', name, STORAGES)}")
    return name


def table_dtype(rows: EmbeddingRows, how: Storage) -> TableDtype:
    """What the numbers of the table will be."""
    dtypes: dict[Storage, TableDtype] = {"stored": rows.dtype, "fp16": "float16", "int8": "int8"}
    return dtypes[how]


def write_rows(rows: EmbeddingRows, how: Storage, path: Path) -> TableDtype:
    """Write the table, and after rows of int8 their scales; gives what its numbers are.

    Raises:
        CheckpointError: a row is not finite. ExportError: one that float16 cannot hold.
    """
    with path.open("wb") as file:
        if how == "int8":
            scales = [write_codes(block, file) for block in rows.blocks()]
            file.write(little_endian(torch.cat(scales)))
        else:
            file.writelines(rows.chunks() if how == "stored" else map(little_endian, halves(rows)))
    return table_dtype(rows, how)


def write_codes(block: torch.Tensor, file: BinaryIO) -> torch.Tensor:
    """Write rows [n, D] as int8; gives their scales [n], float32."""
    codes, scales = quantised_rows(block)
    file.write(little_endian(codes))
    return scales


def quantised_rows(block: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows [n, D] -> int8 codes [n, D] and float32 scales [n]: the largest of each row becomes 127 (or -127)."""
    values = block.float()
    scales = values.abs().amax(1) / LARGEST_CODE
    divisors = torch.where(scales > 0, scales, 1.0)
    codes = (values / divisors[:, None]).round().clamp(-LARGEST_CODE, LARGEST_CODE)
    return codes.to(torch.int8), scales


def halves(rows: EmbeddingRows) -> Iterator[torch.Tensor]:
    """The table in float16, block by block."""
    for block in rows.blocks():
        half = block.to(torch.float16)
        if not finite(half.float()):
            raise ExportError(
                f"--embeddings fp16: {rows.entry.file} holds token embeddings of up to {block.abs().max().item():g}, "
                "float16 ends at 65504; take int8, or stored"
            )
        yield half
