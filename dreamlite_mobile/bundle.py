"""A bundle: a folder with `manifest.json`, its digest and exactly the files it lists.

Written whole or not at all; nothing of it is used before everything in it was checked.
"""

import shutil
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from dreamlite_mobile.bundle_checks import MANIFEST_NAME, geometry
from dreamlite_mobile.bundle_fields import Mode, check_relative
from dreamlite_mobile.bundle_files import AGAIN, file_problems, read_manifest, write_manifest
from dreamlite_mobile.bundle_programs import ComponentEntry
from dreamlite_mobile.bundle_schema import FileEntry, Manifest, SizeEntry
from dreamlite_mobile.components import Size, component_specs, size_suffix, size_text, sizes_text
from dreamlite_mobile.errors import BundleError, OutputError, unknown_name
from dreamlite_mobile.files import Progress, sha256_file, staged_folder


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened, checked bundle. `chosen`: which of its sizes is drawn; None: the first."""

    path: Path
    manifest: Manifest
    chosen: Size | None = None

    def file(self, relative: str) -> Path:
        """Where a file that the manifest lists lies."""
        if relative not in self.manifest.files:
            raise BundleError(f"{self.path}: {unknown_name('file', relative, self.manifest.files)}")
        return self.path / relative

    def component(self, name: str) -> ComponentEntry:
        """What the manifest says of a component; BundleError listing those present otherwise."""
        if name not in self.manifest.components:
            raise BundleError(f"{self.path}: {unknown_name('component', name, self.manifest.components)}")
        return self.manifest.components[name]

    def require(self, mode: Mode) -> None:
        """Refuse (BundleError) a mode that the bundle cannot run from prompt to picture."""
        if mode not in self.manifest.modes:
            raise BundleError(
                f"{self.path}: made for {', '.join(self.manifest.modes)}, not for {mode}. "
                f"Export it again with --modes {','.join(sorted({*self.manifest.modes, mode}, reverse=True))}."
            )
        needed = component_specs(geometry(self.manifest), [mode])
        missing = [name for name in needed if name not in self.manifest.components]
        if missing:
            raise BundleError(
                f"{self.path}: {mode} needs {', '.join(missing)}, which this bundle lacks. "
                "Export it again without --components."
            )

    @property
    def sizes(self) -> tuple[Size, ...]:
        """The picture sizes it draws, the default first."""
        return tuple(size.sides for size in self.manifest.sizes)

    @property
    def size(self) -> SizeEntry:
        """What belongs to the size that is drawn: the chosen one, or the first."""
        return next(entry for entry in self.manifest.sizes if self.chosen in (None, entry.sides))

    @property
    def suffix(self) -> str:
        """What the methods of the size that is drawn end with."""
        return size_suffix(self.size.sides, self.sizes[0])

    def at(self, size: Size | None) -> Self:
        """The same bundle, drawing another of its sizes, or None for the first; BundleError naming those it has."""
        if size is not None and size not in self.sizes:
            raise BundleError(
                f"{self.path}: made for {sizes_text(self.sizes)}, not for {size_text(size)}. "
                f"Take one of its sizes, or export it again with --size {size_text(size)} too."
            )
        return replace(self, chosen=size)


class BundleWriter:
    """Collects the files of a bundle in a staging folder; `finish` checks them, leaving the block renames it.

    Use as a context manager. Leaving by an exception, or without `finish`, leaves nothing behind. With `replace` an
    existing target is replaced only if it is a bundle or empty. Raises OutputError when the place cannot be written.
    """

    def __init__(self, target: Path, *, replace: bool = False) -> None:
        self._target = target
        self._replace = replace
        self._stack = ExitStack()
        self._files: dict[str, FileEntry] = {}
        self._finished = False
        self._folder: Path | None = None

    def __enter__(self) -> Self:
        if self._replace and self._target.is_dir() and not _may_replace(self._target):
            raise OutputError(f"{self._target}: is not a bundle, so it is not replaced. Name another place.")
        self._folder = self._stack.enter_context(staged_folder(self._target, replace=self._replace))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        if error is None and not self._finished:
            left = RuntimeError("a BundleWriter was left without finish()")
            self._stack.__exit__(RuntimeError, left, None)
            raise left
        return self._stack.__exit__(kind, error, traceback)

    @property
    def folder(self) -> Path:
        """The staging folder; inside the `with` block only."""
        if self._folder is None:
            raise RuntimeError("BundleWriter is used outside its with block")
        return self._folder

    @property
    def files(self) -> dict[str, FileEntry]:
        """What was added so far: the manifest's `files`."""
        return dict(self._files)

    def path(self, relative: str) -> Path:
        """Where an exporter may write a file itself (its folder exists); `add_written` registers it afterwards."""
        path = self.folder / check_relative(relative)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def add_written(self, relative: str, progress: Progress | None = None) -> FileEntry:
        """Register a file written at `path(relative)`."""
        path = self.folder / check_relative(relative)
        entry = FileEntry(bytes=path.stat().st_size, sha256=sha256_file(path, progress))
        self._files[relative] = entry
        return entry

    def add_bytes(self, relative: str, data: bytes) -> FileEntry:
        """Write and register a file."""
        self.path(relative).write_bytes(data)
        return self.add_written(relative)

    def add_file(self, relative: str, source: Path, *, move: bool = False) -> FileEntry:
        """Copy (or move) and register a file."""
        path = self.path(relative)
        if move:
            shutil.move(source, path)
        else:
            shutil.copyfile(source, path)
        return self.add_written(relative)

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest, whose `files` must be this writer's, and check the folder as a reader will."""
        if manifest.files != self._files:
            raise BundleError(f"{self._target}: the manifest's files are not those that were added")
        write_manifest(self.folder, manifest)
        problems = list(file_problems(self.folder, manifest, hashes=False))
        if problems:
            raise BundleError(f"{self._target}: {'; '.join(problems)}")
        self._finished = True


def open_bundle(path: Path, *, verify: Literal["full", "quick"] = "full", progress: Progress | None = None) -> Bundle:
    """Check a bundle and open it; `quick` leaves out the digests of the files. `progress` is told of bytes hashed.

    Raises:
        BundleError: listing everything that is wrong.
    """
    manifest = read_manifest(path)
    problems = list(file_problems(path, manifest, hashes=verify == "full", progress=progress))
    if problems:
        raise BundleError(f"{path}: {'; '.join(problems)}. {AGAIN}")
    return Bundle(path, manifest)


def verify_bundle(path: Path, progress: Progress | None = None) -> list[str]:
    """Everything wrong with a bundle, one line each; empty when it is sound. Never raises BundleError."""
    try:
        manifest = read_manifest(path)
    except BundleError as error:
        return [str(error)]
    return list(file_problems(path, manifest, hashes=True, progress=progress))


def _may_replace(target: Path) -> bool:
    return (target / MANIFEST_NAME).is_file() or not any(target.iterdir())
