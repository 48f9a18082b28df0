"""Protocol buffers as they lie in a file: numbered fields, nothing of their schema."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VARINT_BYTES = 10


class WireError(ValueError):
    """Bytes that are not a protocol buffer."""


def fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field number and value, in the order of the file: an integer, or the bytes of a text, list or message.

    Raises:
        WireError: a field that is cut off, or of a kind that no longer exists.
    """
    at, end = 0, len(data)
    while at < end:
        key, at = varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            length, at = varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise WireError(f"field {number} has wire type {kind}")
        if at + length > end:
            raise WireError(f"field {number} ends {at + length - end} bytes after its message")
        piece = data[at : at + length]
        at += length
        yield number, piece if kind == _BYTES else int.from_bytes(piece, "little")


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number of variable length at a position, and the position after it. WireError when it does not end."""
    value = 0
    for count in range(min(_VARINT_BYTES, len(data) - at)):
        byte = data[at + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value, at + count + 1
    raise WireError(f"a number at byte {at} does not end")


def message(value: int | memoryview) -> memoryview:
    """A field that must be a message, a text or a list."""
    if isinstance(value, int):
        raise WireError("found a number where a message is due")
    return value


def text(value: int | memoryview) -> str:
    """A field that must be a text; WireError when it is not UTF-8."""
    try:
        return bytes(message(value)).decode()
    except UnicodeDecodeError as error:
        raise WireError(f"a text is not UTF-8: {error}") from error


def number(value: int | memoryview) -> int:
    """A field that must be a number."""
    if not isinstance(value, int):
        raise WireError("found a message where a number is due")
    return value


def packed_integers(data: memoryview) -> NDArray[np.int64]:
    """A packed list of signed 32- or 64-bit integers."""
    found, at = [], 0
    while at < len(data):
        value, at = varint(data, at)
        found.append(value - (1 << 64) if value >> 63 else value)
    return np.array(found, dtype=np.int64)
