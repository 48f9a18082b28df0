"""Finished components kept by what they were made from, so that an export that was stopped goes on where it stood.

A piece is a folder named by its key. It is staged and renamed: it is there whole or not at all, whenever a writer dies.
"""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

import dreamlite_mobile
import export
from dreamlite_mobile.bundle_programs import ComponentEntry
from dreamlite_mobile.bundle_schema import FileEntry
from dreamlite_mobile.files import make_folder, sha256_file, staged_folder, write_atomic

RECORD = "piece.json"


class Kept(BaseModel):
    """What `piece.json` holds of any piece: its files."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    files: dict[str, FileEntry]


class Record(Kept):
    """Of a component: its entry in a manifest, its files for people."""

    entry: ComponentEntry
    documents: tuple[str, ...]


K = TypeVar("K", bound=Kept)


@dataclass(frozen=True, slots=True)
class Piece(Generic[K]):
    """Something finished that lies in `folder`."""

    folder: Path
    record: K


@dataclass(frozen=True, slots=True)
class Pieces:
    """A folder of finished components and shards. Several exports may use it at a time."""

    folder: Path

    def find(self, key: str, kind: type[K]) -> Piece[K] | None:
        """The piece of that key and kind if it is there and undamaged."""
        place = self.folder / key
        try:
            record = kind.model_validate_json((place / RECORD).read_bytes())
            sound = all(
                (place / name).stat().st_size == file.bytes and sha256_file(place / name) == file.sha256
                for name, file in record.files.items()
            )
        except (OSError, ValidationError):
            return None
        return Piece(place, record) if sound else None

    @contextlib.contextmanager
    def staged(self, key: str) -> Iterator[Path]:
        """A folder that becomes the piece when the block ends well; its record is to be written into it.

        Raises:
            OutputError: the place cannot be written or is full.
        """
        make_folder(self.folder, "--cache")
        with staged_folder(self.folder / key, replace=True) as staging:
            yield staging

    def add(self, key: str, folder: Path, record: Kept) -> None:
        """Keep copies of a piece's files, which lie in `folder`.

        Raises:
            OutputError: as above.
        """
        with self.staged(key) as staging:
            for name in record.files:
                (staging / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / name, staging / name)
            write_record(staging, record)


def write_record(folder: Path, record: Kept) -> None:
    """Say what a staged piece holds."""
    write_atomic(folder / RECORD, record.model_dump_json(indent=2).encode())


def piece_key(made_from: Mapping[str, Any]) -> str:
    """Of everything that a component's bytes depend on (as JSON), and of the code that makes them."""
    text = json.dumps({"code": code_digest(), **made_from}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def code_digest() -> str:
    """Of every source file of the two packages: a changed exporter makes other pieces."""
    digest = hashlib.sha256()
    for package in (dreamlite_mobile, export):
        (root,) = map(Path, package.__path__)
        for file in sorted(root.rglob("*.py")):
            digest.update(f"{file.relative_to(root)}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()
