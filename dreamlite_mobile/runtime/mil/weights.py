"""`weight.bin` of a package: blobs of numbers, each behind 64 bytes that say what they are.

Little-endian. The file begins with the number of blobs and version 2; a blob's own header holds a mark, the kind of
number, the size in bytes, where the numbers begin, and how many bits at the end are padding.
"""

import struct
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dreamlite_mobile.errors import BundleError

_MARK = 0xDEADBEEF
_VERSION = 2
_FILE_HEADER = struct.Struct("<II")
_BLOB_HEADER = struct.Struct("<IIQQQ")
_HEADER_BYTES = 64
_KINDS = {
    "fp16": 1,
    "fp32": 2,
    "uint8": 3,
    "int8": 4,
    "int16": 6,
    "uint16": 7,
    "int4": 8,
    "uint1": 9,
    "uint2": 10,
    "uint4": 11,
    "uint3": 12,
    "uint6": 13,
    "int32": 14,
    "uint32": 15,
}
"""The file's number of each kind that a blob can hold."""
STORED = {
    "fp16": "<f2",
    "fp32": "<f4",
    "fp64": "<f8",
    "bool": "?",
    "int8": "i1",
    "uint8": "u1",
    "int16": "<i2",
    "uint16": "<u2",
    "int32": "<i4",
    "uint32": "<u4",
    "int64": "<i8",
    "uint64": "<u8",
}
"""How whole-byte kinds lie in memory."""
BITS = {"uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "uint6": 6, "int4": 4}
"""Kinds that share bytes: the first value stands in the lowest bits."""


class WeightFile:
    """One opened `weight.bin`, memory-mapped."""

    def __init__(self, path: Path) -> None:
        """BundleError for a file that is missing or of another format."""
        self.path = path
        try:
            self._data: NDArray[np.uint8] = np.memmap(path, dtype=np.uint8, mode="r")
        except (OSError, ValueError) as error:
            raise BundleError(f"{path}: cannot be read: {error}. Copy or export the bundle again.") from error
        version = _FILE_HEADER.unpack(self._piece(0, _FILE_HEADER.size))[1]
        if version != _VERSION:
            raise BundleError(f"{path}: weight file of version {version}, this toolkit reads version {_VERSION}")

    def read(self, offset: int, kind: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """The blob whose header lies at `offset`, as an array of that shape; kinds below a byte come one a byte.

        Raises:
            BundleError: no blob there, another kind of number, or another count.
        """
        stored, size, begin, padding = self._header(offset)
        where = f"{self.path}: blob at {offset}"
        if stored != _KINDS.get(kind):
            raise BundleError(f"{where}: holds numbers of kind {stored}, the program expects {kind}")
        bits = prod(shape) * BITS.get(kind, 8 * np.dtype(STORED.get(kind, "u1")).itemsize)
        if 8 * size - padding != bits:
            raise BundleError(f"{where}: holds {8 * size - padding} bits, {kind} {list(shape)} needs {bits}")
        try:
            return unpacked(self._piece(begin, size), kind, shape)
        except (ValueError, KeyError, OverflowError) as error:
            raise BundleError(f"{where}: cannot be read as {kind} {list(shape)}: {error}") from error

    def span(self, offset: int) -> tuple[int, int]:
        """Where in the file the numbers of a blob begin and end; BundleError where there is no blob."""
        _, size, begin, _ = self._header(offset)
        return begin, begin + size

    def stored(self, offset: int) -> bytes:
        """The numbers of a blob as they lie in the file."""
        begin, end = self.span(offset)
        return self._piece(begin, end - begin)

    def _header(self, offset: int) -> tuple[int, int, int, int]:
        """Kind of number, bytes, where they begin, bits of padding."""
        mark, stored, size, begin, padding = _BLOB_HEADER.unpack(self._piece(offset, _BLOB_HEADER.size))
        if mark != _MARK:
            where = f"{self.path}: blob at {offset}"
            raise BundleError(f"{where}: there is none (mark {mark:#x}). Copy or export the bundle again.")
        return stored, size, begin, padding

    def _piece(self, begin: int, size: int) -> bytes:
        if begin + size > len(self._data):
            raise BundleError(f"{self.path}: {len(self._data)} bytes, something at {begin} needs {size} more")
        return self._data[begin : begin + size].tobytes()


def unpacked(data: bytes, kind: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Raw bytes as an array; kinds below a byte become int8 or uint8.

    Raises:
        ValueError: another number of bytes than the shape needs.
    """
    if kind not in BITS:
        return np.frombuffer(data, STORED[kind]).reshape(shape)
    width, count = BITS[kind], prod(shape)
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[: count * width].reshape(count, width)
    values = (bits << np.arange(width, dtype=np.uint8)).sum(1, dtype=np.uint8)
    if kind.startswith("int"):
        half = 1 << (width - 1)
        return ((values ^ half).astype(np.int8) - half).reshape(shape)
    return values.reshape(shape)
