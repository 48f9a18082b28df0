"""The sync service: STAT, LIST, SEND, RECV and their second versions."""

import struct
from pathlib import Path

from adb_device.daemon import GoneError, Stream
from adb_device.faults import Faults
from adb_device.storage import FullError, Storage

CHUNK = 64 * 1024


def serve_sync(stream: Stream, storage: Storage, faults: Faults) -> None:
    """Requests until QUIT."""
    handlers = {
        b"STAT": stat_one, b"LIST": list_one, b"LIS2": list_two, b"RECV": receive, b"RCV2": receive_two,
    }  # fmt: skip
    while True:
        name, length = struct.unpack("<4sI", stream.read(8))
        if name == b"QUIT":
            return
        path = stream.read(length).decode()
        if name in (b"SEND", b"SND2"):
            send(stream, storage, faults, path, second=name == b"SND2")
        elif name in (b"STA2", b"LST2"):
            stream.write(name + long_words(storage.host(path)))
        elif name in handlers:
            handlers[name](stream, storage, path)
        else:
            fail(stream, f"unknown request {name!r}")
            return


def fail(stream: Stream, text: str) -> None:
    stream.write(struct.pack("<4sI", b"FAIL", len(text)) + text.encode())


def words(place: Path) -> tuple[int, int, int]:
    """Mode, size and time of change; zeros for what is not there."""
    if not place.exists():
        return 0, 0, 0
    status = place.stat()
    return status.st_mode, status.st_size, int(status.st_mtime)


def long_words(place: Path) -> bytes:
    """The fields of a second-version answer after its name."""
    if not place.exists():
        return struct.pack("<I2Q4I4Q", 2, *[0] * 10)
    status = place.stat()
    when = int(status.st_mtime)
    owner, size = 2000, status.st_size
    return struct.pack("<I2Q4I4Q", 0, 1, status.st_ino, status.st_mode, 1, owner, owner, size, when, when, when)


def stat_one(stream: Stream, storage: Storage, path: str) -> None:
    stream.write(struct.pack("<4s3I", b"STAT", *words(storage.host(path))))


def entries(storage: Storage, path: str) -> list[Path]:
    place = storage.host(path)
    return sorted(place.iterdir()) if place.is_dir() else []


def list_one(stream: Stream, storage: Storage, path: str) -> None:
    for entry in entries(storage, path):
        name = entry.name.encode()
        stream.write(struct.pack("<4s4I", b"DENT", *words(entry), len(name)) + name)
    stream.write(struct.pack("<4s4I", b"DONE", 0, 0, 0, 0))


def list_two(stream: Stream, storage: Storage, path: str) -> None:
    for entry in entries(storage, path):
        name = entry.name.encode()
        stream.write(b"DNT2" + long_words(entry) + struct.pack("<I", len(name)) + name)
    stream.write(b"DONE" + bytes(struct.calcsize("<I2Q4I4QI")))


def receive(stream: Stream, storage: Storage, path: str) -> None:
    place = storage.host(path)
    if not place.is_file():
        fail(stream, "No such file or directory")
        return
    data = place.read_bytes()
    for begin in range(0, len(data), CHUNK):
        piece = data[begin : begin + CHUNK]
        stream.write(struct.pack("<4sI", b"DATA", len(piece)) + piece)
    stream.write(struct.pack("<4sI", b"DONE", 0))


def receive_two(stream: Stream, storage: Storage, path: str) -> None:
    stream.read(8)
    receive(stream, storage, path)


def send(stream: Stream, storage: Storage, faults: Faults, path: str, second: bool) -> None:
    """Take a file. Like adbd, what was not taken whole is removed."""
    if second:
        stream.read(12)
    else:
        path = path.rpartition(",")[0]
    place, problem = storage.host(path), None
    try:
        storage.write(path, b"")
        while True:
            name, length = struct.unpack("<4sI", stream.read(8))
            if name == b"DONE":
                break
            piece = stream.read(length)
            faults.sent(len(piece))
            if problem is None:
                problem = try_append(storage, path, piece)
    except GoneError:
        place.unlink(missing_ok=True)
        raise
    if problem is not None:
        place.unlink(missing_ok=True)
        fail(stream, problem)
        return
    place.chmod(0o644)
    faults.arrived(place)
    stream.write(struct.pack("<4sI", b"OKAY", 0))


def try_append(storage: Storage, path: str, piece: bytes) -> str | None:
    """What went wrong, in adbd's words."""
    try:
        storage.append(path, piece)
    except FullError:
        return "couldn't write: No space left on device"
    return None
