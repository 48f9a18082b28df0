"""Writing that is all or nothing: staged beside the target, fsynced, renamed.

A staging place is held by an advisory lock on itself, which the kernel drops when its process dies; the next writer
to the same target takes what is unlocked for leftovers of a killed one and removes it.
"""

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from dreamlite_mobile.errors import OutputError

Progress = Callable[[int], None]
"""Called with the number of bytes done since the last call."""

_CHUNK = 4 << 20
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100


def sha256_file(path: Path, progress: Progress | None = None) -> str:
    """Hex digest of a file read in pieces. OSError passes through."""
    digest = hashlib.sha256()
    piece = memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(piece):
            digest.update(piece[:count])
            if progress is not None:
                progress(count)
    return digest.hexdigest()


def check_file_target(path: Path) -> None:
    """Refuse (OutputError) a place that `write_atomic` could not write: no folder, a folder itself, or a device."""
    _check_file(path)
    _check_writable(path)


def check_folder_target(path: Path) -> None:
    """Refuse (OutputError) a place where `staged_folder` could make no folder: taken, no folder above, not writable."""
    path = Path.cwd() / path
    _check_free(path, replace=False)
    _check_parent(path)
    _check_writable(path)


def make_folder(folder: Path, option: str) -> None:
    """Make the folder that an option names, with those above it, unless it is there.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{option} {folder}: cannot be made: {error.strerror}; name another place") from error


def write_atomic(path: Path, data: bytes) -> None:
    """Write a whole file or nothing, replacing what was there. OutputError when the place cannot be written."""
    _check_file(path)
    try:
        _remove_leftovers(path)
        with _staging_file(path) as (staging, descriptor):
            _write_all(descriptor, data)
            os.fsync(descriptor)
            staging.replace(path)
        _fsync_path(path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error


@contextlib.contextmanager
def staged_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside `target` that becomes `target` when the block ends well.

    Any exception, KeyboardInterrupt included, removes it and leaves the target as it was. With `replace` an existing
    target is swapped in one step and then removed with all it holds: the caller says whether that is wanted.
    Raises OutputError for an existing target (without `replace`), an unwritable place and a full disk.
    """
    target = Path.cwd() / target
    _check_free(target, replace)
    _check_parent(target)
    try:
        _restore_replaced(target)
        _remove_leftovers(target)
        staging, lock = _staging_directory(target)
    except OSError as error:
        raise _cannot_write(target, error) from error
    try:
        yield staging
        _fsync_tree(staging)
        _check_free(target, replace)
        _move_into_place(staging, target)
    except OSError as error:
        if _is_about_output(error, staging, target):
            raise _cannot_write(target, error) from error
        raise
    finally:
        os.close(lock)
        shutil.rmtree(staging, ignore_errors=True)


def _check_free(target: Path, replace: bool) -> None:
    if os.path.lexists(target) and not replace:
        raise OutputError(f"{target}: exists already. Name a place that does not exist, or pass --force to replace it.")
    if os.path.lexists(target) and (target.is_symlink() or not target.is_dir()):
        raise OutputError(f"{target}: is not a folder, so it cannot be replaced by one. Name another place.")


def _check_file(path: Path) -> None:
    _check_parent(path)
    if os.path.lexists(path) and path.exists() and not path.is_file():
        raise OutputError(f"{path}: cannot be written: it is a folder or a device. Name a file.")


def _check_writable(path: Path) -> None:
    """By trying: to root every place looks writable."""
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise _cannot_write(path, error) from error


def _check_parent(target: Path) -> None:
    try:
        is_folder = target.parent.is_dir()
    except OSError as error:
        raise _cannot_write(target, error) from error
    if not is_folder:
        raise OutputError(f"{target}: the folder {target.parent} does not exist. Create it or name another place.")


def _cannot_write(target: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    return OutputError(f"{target}: cannot be written: {reason}. Free some space or name a place that can be written.")


def _is_about_output(error: OSError, staging: Path, target: Path) -> bool:
    """An OSError of the caller's own reading must keep its meaning."""
    if error.errno in _NO_ROOM:
        return True
    names = [os.fspath(name) for name in (error.filename, error.filename2) if isinstance(name, str | os.PathLike)]
    return any(Path(name) == target or Path(name).is_relative_to(staging) for name in names)


def _prefix(target: Path, kind: str = "part") -> str:
    return f".{target.name}.{kind}-"


def _staging_name(target: Path) -> Path:
    return target.parent / f"{_prefix(target)}{os.getpid()}-{secrets.token_hex(4)}"


def _staging_directory(target: Path) -> tuple[Path, int]:
    """A new locked folder. Between mkdir and lock another writer may have taken it for a leftover: then try again."""
    while True:
        staging = _staging_name(target)
        staging.mkdir()
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(staging, os.O_RDONLY | os.O_DIRECTORY)
            if _lock(descriptor) and _still_there(staging, descriptor):
                return staging, descriptor
            os.close(descriptor)


@contextlib.contextmanager
def _staging_file(path: Path) -> Iterator[tuple[Path, int]]:
    while True:
        staging = _staging_name(path)
        descriptor = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        if _lock(descriptor) and _still_there(staging, descriptor):
            break
        os.close(descriptor)
    try:
        yield staging, descriptor
    finally:
        os.close(descriptor)
        staging.unlink(missing_ok=True)


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _lock(descriptor: int) -> bool:
    """Whether the lock is ours now. A file system without locks counts as locked: nothing there is removed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        return error.errno in {errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS}
    return True


def _still_there(path: Path, descriptor: int) -> bool:
    try:
        found, held = path.stat(follow_symlinks=False), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)


def _remove_leftovers(target: Path) -> None:
    prefix = _prefix(target)
    for path in target.parent.iterdir():
        if path.name.startswith(prefix) and not path.is_symlink():
            _remove_if_abandoned(path)


def _remove_if_abandoned(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    except OSError:
        return
    finally:
        os.close(descriptor)


def _move_into_place(staging: Path, target: Path) -> None:
    if not target.exists():
        staging.rename(target)
    elif not _exchange(staging, target):
        old = target.parent / f"{_prefix(target, 'old')}{secrets.token_hex(4)}"
        target.rename(old)
        try:
            staging.rename(target)
        except OSError:
            old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)
    _fsync_path(target.parent)


def _exchange(staging: Path, target: Path) -> bool:
    """Swap two folders in one step where the kernel can; the old target then lies at `staging`."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform == "linux" else None
    if rename is None:
        return False
    return bool(rename(_AT_FDCWD, os.fsencode(staging), _AT_FDCWD, os.fsencode(target), _RENAME_EXCHANGE) == 0)


def _restore_replaced(target: Path) -> None:
    """Finish or undo a replacement that was killed between its two renames (only where swapping is not possible)."""
    for old in sorted(path for path in target.parent.iterdir() if path.name.startswith(_prefix(target, "old"))):
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(target)


def _fsync_tree(folder: Path) -> None:
    for root, _, names in os.walk(folder):
        for name in names:
            _fsync_path(Path(root, name))
        _fsync_path(Path(root))


def _fsync_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
