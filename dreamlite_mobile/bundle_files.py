"""Reading and writing `manifest.json` with its digest, and comparing a folder with what its manifest lists."""

import hashlib
import json
import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dreamlite_mobile.bundle_checks import DIGEST_NAME, MANIFEST_NAME, parents
from dreamlite_mobile.bundle_schema import SCHEMA_VERSION, FileEntry, Manifest
from dreamlite_mobile.errors import BundleError
from dreamlite_mobile.files import Progress, sha256_file

MANIFEST_LIMIT = 8 << 20
"""Bytes of the largest `manifest.json` that is read at all."""
AGAIN = "Copy or export the bundle again."
_SHOWN = 80


def read_manifest(folder: Path) -> Manifest:
    """Parse and validate `manifest.json` of a bundle folder, without looking at the other files.

    Raises:
        BundleError: missing, too large, not plain JSON, another schema version, digest or schema not matched.
    """
    where = folder / MANIFEST_NAME
    raw = _plain_bytes(folder, MANIFEST_NAME)
    _check_version(where, _parse_json(where, raw))
    digest, expected = digest_line(raw), _plain_bytes(folder, DIGEST_NAME)
    if digest != expected:
        raise BundleError(
            f"{where}: sha256 is {digest[:64].decode()}, {DIGEST_NAME} says {expected[:64].decode('latin-1')!a}: "
            f"the manifest was changed after export. {AGAIN}"
        )
    try:
        return Manifest.model_validate_json(raw)
    except ValidationError as error:
        raise BundleError(f"{where}: {describe(error)}. {AGAIN}") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json` and, in the format of `sha256sum`, its digest."""
    text = json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=True, allow_nan=False) + "\n"
    (folder / MANIFEST_NAME).write_bytes(text.encode())
    (folder / DIGEST_NAME).write_bytes(digest_line(text.encode()))


def describe(error: ValidationError) -> str:
    """Every problem with its place and, where it is short, the value found."""
    lines = []
    for item in error.errors(include_url=False, include_context=False):
        place = ".".join(ascii(part).strip("'") for part in item["loc"])
        found = item["input"]
        is_short = isinstance(found, str | int | float | bool) and len(ascii(found)) < _SHOWN
        shown = f" (found {found!a})" if is_short else ""
        lines.append(f"{place}: {item['msg']}{shown}" if place else f"{item['msg']}{shown}")
    return "; ".join(lines)


def file_problems(folder: Path, manifest: Manifest, *, hashes: bool, progress: Progress | None = None) -> Iterator[str]:
    """Everything in the folder that differs from the manifest's list: names, kinds, sizes and, if asked, digests."""
    try:
        found = dict(_walk(folder))
    except OSError as error:
        yield f"cannot be read: {error}"
        return
    yield from _strangers(manifest, found)
    for path, entry in sorted(manifest.files.items()):
        problem = _entry_problem(folder / path, entry, found.get(path), hashes, progress)
        if problem:
            yield f"file {path!a} {problem}"


def _plain_bytes(folder: Path, name: str) -> bytes:
    where = folder / name
    try:
        if not folder.is_dir():
            raise BundleError(f"{folder}: no such folder. Name a folder that `dreamlite export` made.")
        if not os.path.lexists(where):
            raise BundleError(f"{folder}: has no {name}, so it is not a whole bundle. {AGAIN}")
        status = where.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(f"{where}: not a plain file. {AGAIN}")
        if status.st_size > MANIFEST_LIMIT:
            raise BundleError(f"{where}: {status.st_size} bytes, expected at most {MANIFEST_LIMIT}. {AGAIN}")
        return where.read_bytes()
    except (OSError, ValueError) as error:
        raise BundleError(f"{where!s}: cannot be read: {error}") from error


def digest_line(raw: bytes) -> bytes:
    """What the digest's file holds for a manifest of these bytes."""
    return f"{hashlib.sha256(raw).hexdigest()}  {MANIFEST_NAME}\n".encode()


def _check_version(where: Path, data: dict[str, Any]) -> None:
    found = data.get("schema_version")
    if type(found) is int and found != SCHEMA_VERSION:
        mend = "Update dreamlite_mobile." if found > SCHEMA_VERSION else "Export the bundle again."
        raise BundleError(f"{where}: schema version {found}, this toolkit reads version {SCHEMA_VERSION}. {mend}")


def _parse_json(where: Path, raw: bytes) -> dict[str, Any]:
    """Plain JSON only: no repeated keys, no NaN or infinity, an object at the top."""
    try:
        data = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite
        )
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: not valid JSON: {error}. {AGAIN}") from error
    if not isinstance(data, dict):
        raise BundleError(f"{where}: holds a {type(data).__name__}, expected an object. {AGAIN}")
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = sorted({ascii(name) for name in names if names.count(name) > 1})
        raise ValueError(f"repeated keys {', '.join(repeated)}")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number JSON knows")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"number {text[:_SHOWN]} is too large")
    return value


def _strangers(manifest: Manifest, found: dict[str, os.stat_result]) -> Iterator[str]:
    files = {MANIFEST_NAME, DIGEST_NAME, *manifest.files}
    folders = {parent for path in manifest.files for parent in parents(path)}
    for path, status in sorted(found.items()):
        if stat.S_ISLNK(status.st_mode):
            yield f"{path!a} is a symbolic link; a bundle holds plain files only"
        elif stat.S_ISDIR(status.st_mode) and path not in folders:
            yield f"folder {path!a} is not part of the bundle; remove it"
        elif not stat.S_ISDIR(status.st_mode) and path not in files:
            yield f"file {path!a} is not in the manifest; remove it"


def _entry_problem(
    path: Path, entry: FileEntry, status: os.stat_result | None, hashes: bool, progress: Progress | None
) -> str | None:
    if status is None:
        return "is missing"
    if not stat.S_ISREG(status.st_mode):
        return "is not a plain file"
    if status.st_size != entry.bytes:
        return f"has {status.st_size} bytes, expected {entry.bytes}"
    if not hashes:
        return None
    try:
        digest = sha256_file(path, progress)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if digest == entry.sha256 else f"has sha256 {digest}, expected {entry.sha256}"


def _walk(folder: Path, prefix: str = "") -> Iterator[tuple[str, os.stat_result]]:
    """Relative path and lstat of everything below; links are not followed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            yield f"{prefix}{entry.name}", entry.stat(follow_symlinks=False)
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path), f"{prefix}{entry.name}/")
