"""Tables of a bundle, memory-mapped: token embeddings and step embeddings."""

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dreamlite_mobile.bundle_fields import MAX_STEPS, TableDtype
from dreamlite_mobile.bundle_schema import SCALE_BYTES, STEP_ROWS, EmbeddingsEntry, StepTable
from dreamlite_mobile.errors import BundleError, ConfigError, PromptError
from dreamlite_mobile.runtime import Array

_STORED = {"float32": "<f4", "float16": "<f2", "bfloat16": "<u2", "int8": "<i1"}


class EmbeddingTable:
    """Rows [rows, columns] of raw little-endian numbers, looked up as float32. After rows of int8 come their scales."""

    def __init__(self, path: Path, rows: int, columns: int, dtype: TableDtype) -> None:
        """BundleError when the file is missing or has another size."""
        self._dtype = dtype
        scales = rows * SCALE_BYTES if dtype == "int8" else 0
        self._table = _open(path, rows, columns, _STORED[dtype], scales)
        self._scales: NDArray[np.float32] | None = None
        if scales:
            self._scales = np.fromfile(path, "<f4", offset=rows * columns)

    @classmethod
    def of(cls, path: Path, entry: EmbeddingsEntry) -> Self:
        """The table a manifest describes."""
        return cls(path, entry.rows, entry.columns, entry.dtype)

    def lookup(self, ids: NDArray[np.integer[Any]]) -> Array:
        """ids [L] of any integer type -> float32 [L, columns]. PromptError for an id outside the table."""
        ids = np.asarray(ids)
        if not np.issubdtype(ids.dtype, np.integer):
            raise PromptError(f"token ids have dtype {ids.dtype}, expected integers")
        outside = ids[(ids < 0) | (ids >= len(self._table))]
        if outside.size:
            raise PromptError(
                f"token id {outside.flat[0]} is outside the embedding table of {len(self._table)} rows: "
                "the tokenizer does not belong to this model"
            )
        rows = np.asarray(self._table[ids])
        if self._scales is not None:
            scaled: Array = rows * self._scales[ids][:, None]
            return scaled
        if self._dtype == "bfloat16":
            widened: NDArray[np.uint32] = np.left_shift(rows, 16, dtype=np.uint32)
            return widened.view(np.float32)
        return rows.astype(np.float32)


class StepEmbeddings:
    """The embedding of every step of every schedule of 1 to 50 steps: float32 [1275, columns]."""

    def __init__(self, path: Path, columns: int) -> None:
        """BundleError when the file is missing or has another size."""
        self._table = _open(path, STEP_ROWS, columns, "<f4")

    @classmethod
    def of(cls, path: Path, entry: StepTable) -> Self:
        """The table a manifest describes."""
        return cls(path, entry.columns)

    def row(self, steps: int, index: int) -> Array:
        """Step `index` (from 0) of a schedule of `steps`: float32 [1, columns], the caller's own."""
        if not 1 <= steps <= MAX_STEPS or not 0 <= index < steps:
            raise ConfigError(f"step {index} of {steps}: steps must be in 1...{MAX_STEPS} and the step below it")
        position = steps * (steps - 1) // 2 + index
        return self._table[position : position + 1].astype(np.float32)


def _open(path: Path, rows: int, columns: int, stored: str, more: int = 0) -> NDArray[Any]:
    """The table at the start of a file in which `more` bytes follow."""
    expected = rows * columns * np.dtype(stored).itemsize + more
    try:
        found = path.stat().st_size
        if found != expected:
            raise BundleError(
                f"{path}: {found} bytes, expected {expected} ({rows} x {columns}). Copy or export the bundle again."
            )
        return np.memmap(path, dtype=stored, mode="r", shape=(rows, columns))
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}. Copy or export the bundle again.") from error
