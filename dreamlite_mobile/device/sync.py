"""Files to and from a phone over adb's sync service.

adbutils has this too, with two faults that matter for gigabytes: it sends with `send`, which may send a part, and it
waits without a limit. Sizes are asked for by the second version of STAT, which knows files over 4 GB.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager

from adbutils._adb import AdbConnection

from dreamlite_mobile.device.errors import CommandError, DeviceError, LinkLostError, StorageFullError
from dreamlite_mobile.device.link import Link
from dreamlite_mobile.files import Progress

CHUNK = 64 * 1024
"""The most bytes of one DATA request."""
_REGULAR = 0o100644
_STAT = struct.Struct("<I2Q4IQ3Q")


@contextmanager
def session(link: Link, request: bytes, path: str) -> Iterator[AdbConnection]:
    """One sync request; the connection is for its answer."""
    with link.transport("sync:") as connection:
        encoded = path.encode()
        connection.conn.sendall(struct.pack("<4sI", request, len(encoded)) + encoded)
        yield connection


def size_of(link: Link, path: str) -> int | None:
    """Bytes of a file on the phone; None when it is not there."""
    with session(link, b"STA2", path) as connection:
        name = connection.read_exact(4)
        if name != b"STA2":
            raise CommandError(
                f"{link.serial}: stat of {path} was answered with {name!r}; Android 8 or newer is needed"
            )
        error, *_, size, _, _, _ = _STAT.unpack(connection.read_exact(_STAT.size))
    return None if error else size


def send(link: Link, data: bytes, path: str, progress: Progress | None = None) -> None:
    """Write a whole file.

    Raises:
        LinkLostError: the link ended. StorageFullError: no room. CommandError: any other refusal.
    """
    with session(link, b"SEND", f"{path},{_REGULAR}") as connection:
        view = memoryview(data)
        for begin in range(0, len(data), CHUNK):
            piece = view[begin : begin + CHUNK]
            connection.conn.sendall(struct.pack("<4sI", b"DATA", len(piece)))
            connection.conn.sendall(piece)
            if progress is not None:
                progress(len(piece))
        connection.conn.sendall(struct.pack("<4sI", b"DONE", 0))
        name, length = struct.unpack("<4sI", connection.read_exact(8))
        said = "" if name == b"OKAY" else connection.read_exact(length).decode(errors="replace")
    if name != b"OKAY":
        raise refusal(link, path, said)


def receive(link: Link, path: str, limit: int) -> bytes:
    """Read a whole file of at most `limit` bytes.

    Raises:
        LinkLostError: the link ended. CommandError: no such file, or a larger one.
    """
    found = bytearray()
    said = ""
    with session(link, b"RECV", path) as connection:
        while True:
            name, length = struct.unpack("<4sI", connection.read_exact(8))
            if name == b"DONE":
                break
            if name != b"DATA":
                said = connection.read_exact(length).decode(errors="replace") or repr(name)
                break
            found += connection.read_exact(length)
            if len(found) > limit:
                said = f"larger than {limit} bytes"
                break
    if said:
        raise CommandError(f"{link.serial}: {path} cannot be read: {said}")
    return bytes(found)


def refusal(link: Link, path: str, said: str) -> DeviceError:
    """A failed write by its reason."""
    if "No space left" in said:
        return StorageFullError(f"{link.serial}: {path} cannot be written: {said}. Free some storage on the phone.")
    if not said:
        return LinkLostError(f"{link.serial}: the link was lost while {path} was written")
    return CommandError(f"{link.serial}: {path} cannot be written: {said}")
