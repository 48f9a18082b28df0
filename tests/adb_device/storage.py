"""The phone's files: a folder of this machine stands for `/`, with a capacity."""

import shutil
import threading
from pathlib import Path, PurePosixPath


class FullError(OSError):
    """No space left on device."""


class Storage:
    """Paths of the phone, and how much room there is."""

    def __init__(self, root: Path, capacity: int) -> None:
        self.root, self.capacity = root, capacity
        self.lock = threading.RLock()
        for folder in ("/data/local/tmp", "/sdcard/Android/data"):
            self.host(folder).mkdir(parents=True)

    def host(self, path: str) -> Path:
        """Where a path of the phone lies here; it cannot lead out of the phone."""
        parts = [part for part in PurePosixPath("/", path).parts[1:] if part != "."]
        while ".." in parts:
            index = parts.index("..")
            del parts[max(index - 1, 0) : index + 1]
        return self.root.joinpath(*parts)

    def used(self) -> int:
        """Bytes of all files."""
        return sum(file.stat().st_size for file in self.root.rglob("*") if file.is_file())

    def free(self) -> int:
        """Bytes that still go in."""
        return max(0, self.capacity - self.used())

    def append(self, path: str, data: bytes) -> None:
        """Add to a file; FullError when it does not fit."""
        with self.lock:
            if len(data) > self.free():
                raise FullError
            with self.host(path).open("ab") as file:
                file.write(data)

    def write(self, path: str, data: bytes) -> None:
        """Make or replace a file."""
        self.host(path).parent.mkdir(parents=True, exist_ok=True)
        self.host(path).write_bytes(b"")
        self.append(path, data)

    def remove(self, path: str) -> None:
        """A file or a folder with all it holds; nothing when it is not there."""
        place = self.host(path)
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
