"""Safetensors files: headers read strictly, tensors memory-mapped, files written one piece at a time.

Format: 8 bytes little-endian header length N, N bytes of JSON (name -> dtype, shape, data_offsets into what follows;
optionally `__metadata__`, strings by name), then the tensors one after the other without gaps.
"""

import json
import math
import mmap
import os
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from dreamlite_mobile.errors import CheckpointError

FLOATS: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
"""What weights may be stored as."""

ITEM_BYTES = {name: dtype.itemsize for name, dtype in FLOATS.items()} | {
    "F8_E8M0": 1,
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "U16": 2,
    "I16": 2,
    "U32": 4,
    "I32": 4,
    "U64": 8,
    "I64": 8,
    "C64": 8,
}

LONGEST_HEADER = 100_000_000
"""The limit of the safetensors library."""


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One stored tensor: where its bytes stand (absolute offsets) and how to read them."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Header:
    """A file's tensors in the order of its header."""

    entries: dict[str, TensorEntry]


def read_header(file: Path) -> Header:
    """Read and check a safetensors header; no tensor is read.

    Raises:
        CheckpointError: the file is missing, truncated or not what the format demands, in one line.
    """
    try:
        with file.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            raw = _header_bytes(file, stream.read(8), size, stream.read)
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror or error}") from error
    return Header(_entries(file, raw, size - 8 - len(raw)))


def _damaged(file: Path, fault: str) -> CheckpointError:
    return CheckpointError(f"{file} is damaged: {fault}; copy it from the source of the checkpoint again")


def _header_bytes(file: Path, prefix: bytes, size: int, read: Callable[[int], bytes]) -> bytes:
    if len(prefix) < 8:
        raise _damaged(file, f"{size} bytes, but a safetensors file begins with 8 that hold the header's length")
    (length,) = struct.unpack("<Q", prefix)
    if length > LONGEST_HEADER:
        raise _damaged(file, f"its header claims {length} bytes; supported: at most {LONGEST_HEADER}")
    if length > size - 8:
        raise _damaged(file, f"its header claims {length} bytes, the file ends after {size - 8}")
    raw = read(length)
    if len(raw) < length:
        raise _damaged(file, f"its header of {length} bytes ends after {len(raw)}")
    return raw


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1}) if len(names) < 10_000 else ["..."]
        raise ValueError(f"named twice: {', '.join(twice)}")
    return values


def _entries(file: Path, raw: bytes, data_bytes: int) -> dict[str, TensorEntry]:
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise _damaged(file, f"its header is not valid JSON ({error})") from None
    if not isinstance(header, dict):
        raise _damaged(file, "its header is not a JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _damaged(file, "its __metadata__ does not map names to strings")
    data_start = 8 + len(raw)
    entries = {name: _entry(file, name, fields, data_start) for name, fields in header.items()}
    _check_contiguous(file, entries, data_start, data_bytes)
    return entries


def _entry(file: Path, name: str, fields: object, data_start: int) -> TensorEntry:
    if not isinstance(fields, dict) or fields.keys() != {"dtype", "shape", "data_offsets"}:
        raise _damaged(file, f"its header does not give dtype, shape and data_offsets of {name!r}")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise _damaged(file, f"dtype, shape or data_offsets of {name!r} are malformed")
    if offsets[1] < offsets[0]:
        raise _damaged(file, f"{name!r} ends before it begins (data_offsets {offsets})")
    values = math.prod(shape)
    if dtype in ITEM_BYTES and values * ITEM_BYTES[dtype] != offsets[1] - offsets[0]:
        raise _damaged(
            file,
            f"{name!r} is {dtype} {shape}, {values * ITEM_BYTES[dtype]} bytes, but its data_offsets {offsets} hold "
            f"{offsets[1] - offsets[0]}",
        )
    return TensorEntry(file, dtype, tuple(shape), data_start + offsets[0], data_start + offsets[1])


def _are_counts(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, int) and not isinstance(item, bool) and 0 <= item < 2**63 for item in value
    )


def _check_contiguous(file: Path, entries: dict[str, TensorEntry], start: int, data_bytes: int) -> None:
    """The tensors must tile the data from first byte to last, without gaps or overlaps."""
    expected = start
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].stop)):
        if entry.start != expected:
            fault = "overlaps the tensor before it" if entry.start < expected else "leaves a gap before it"
            raise _damaged(file, f"{name!r} {fault} (it begins at byte {entry.start}, expected {expected})")
        expected = entry.stop
    if expected > start + data_bytes:
        raise _damaged(file, f"truncated: its tensors need {expected - start} bytes, {data_bytes} are there")
    if expected < start + data_bytes:
        raise _damaged(file, f"its tensors end at {expected - start} of {data_bytes} data bytes")


class MappedFile:
    """A safetensors file in memory-mapped form. Tensors read from it stay valid after this object is gone."""

    def __init__(self, file: Path) -> None:
        try:
            with file.open("rb") as stream:
                # a private mapping: torch may think it can write, the file never changes
                self._map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{file} cannot be memory-mapped: {error}") from error
        self._file = file

    def float32(self, entry: TensorEntry) -> torch.Tensor:
        """The tensor in float32: a view of the file where it is stored so (and aligned), converted otherwise."""
        return self.stored(entry).to(torch.float32)

    def stored(self, entry: TensorEntry) -> torch.Tensor:
        """The tensor as stored, a view of the file where its bytes are aligned to its dtype."""
        dtype = FLOATS[entry.dtype]
        if entry.stop > len(self._map):
            raise _damaged(self._file, f"it was cut to {len(self._map)} bytes since its header was read")
        if entry.start == entry.stop:
            return torch.empty(entry.shape, dtype=dtype)
        if entry.start % dtype.itemsize:
            return torch.frombuffer(bytearray(self._map[entry.start : entry.stop]), dtype=dtype).view(entry.shape)
        count = (entry.stop - entry.start) // dtype.itemsize
        return torch.frombuffer(self._map, dtype=dtype, count=count, offset=entry.start).view(entry.shape)

    def release(self, entry: TensorEntry) -> None:
        """Let go of the pages of a tensor that has been read; reading it again fetches them again."""
        if entry.start < entry.stop:
            start = entry.start // mmap.PAGESIZE * mmap.PAGESIZE
            self._map.madvise(mmap.MADV_DONTNEED, start, entry.stop - start)


@dataclass(frozen=True, slots=True)
class TensorPlan:
    """A tensor to be written: `pieces()` yields its little-endian bytes in order."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    pieces: Callable[[], Iterable[bytes | memoryview]]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


def write_tensors(file: Path, plans: Sequence[TensorPlan], metadata: dict[str, str]) -> None:
    """Write a safetensors file; no more than one piece of one tensor is in memory.

    Raises:
        OSError: the file cannot be written.
        ValueError: a tensor's pieces do not add up to its shape.
    """
    header: dict[str, object] = {"__metadata__": metadata}
    offset = 0
    for plan in plans:
        stop = offset + plan.bytes
        header[plan.name] = {"dtype": plan.dtype, "shape": list(plan.shape), "data_offsets": [offset, stop]}
        offset = stop
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", len(raw)) + raw)
        for plan in plans:
            written = sum(stream.write(piece) for piece in plan.pieces())
            if written != plan.bytes:
                raise ValueError(f"{plan.name}: {written} bytes given for a tensor of {plan.bytes}")


def little_endian(tensor: torch.Tensor) -> bytes:
    """The bytes of a tensor's numbers, row by row."""
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


def finite(tensor: torch.Tensor) -> bool:
    """Whether every value is finite, in one pass and without a second tensor (`isfinite` would make two)."""
    if not tensor.numel():
        return True
    low, high = torch.aminmax(tensor)  # both carry NaN along
    return math.isfinite(float(low)) and math.isfinite(float(high))
