"""Removing what was pushed: by the lists that pushes left, and nothing else."""

import re
from collections.abc import Iterable

from dreamlite_mobile.bundle_fields import check_relative
from dreamlite_mobile.device.errors import CommandError
from dreamlite_mobile.device.link import Link, quoted
from dreamlite_mobile.device.places import APP, KINDS, REQUESTS, ROOT, output_folder
from dreamlite_mobile.device.push import LIST_NAME, list_path, read_list

_RUN = re.compile(r"(generate|edit)-[0-9a-f]{12}")
"""What a request is called."""
_PATHS_A_LINE = 64


def clean(link: Link) -> tuple[str, ...]:
    """Remove every file that a push brought, its `.part` and `.piece`, what runs made of them, and empty folders.

    Returns the folders that were cleaned. A list that names anything but plain files below its folder is not followed.

    Raises:
        LinkLostError: the link ended. CommandError: a list that cannot be trusted.
    """
    cleaned = []
    ending = f".{LIST_NAME}"
    for base in KINDS:
        entries = link.shell(f"ls {base} 2>/dev/null").out.splitlines()
        lists = [entry for entry in entries if entry.endswith(ending)]
        runs = [entry.removesuffix(ending) for entry in lists if base == REQUESTS]
        for run in filter(_RUN.fullmatch, runs):
            clean_outputs(link, run)
        cleaned += [clean_folder(link, f"{base}/{entry.removesuffix(ending)}") for entry in lists]
        link.shell(f"rmdir {base} 2>/dev/null")
    link.shell(f"rmdir {ROOT} 2>/dev/null")
    return tuple(cleaned)


def clean_outputs(link: Link, run: str) -> None:
    """What the app wrote for a request that did not come to its end."""
    folder = output_folder(APP, run)
    check_own(link, [folder, parent_of(folder)])
    link.checked(f"rm -rf {quoted(folder)}")
    link.shell(f"rmdir {quoted(parent_of(folder))} 2>/dev/null")


def check_own(link: Link, folders: Iterable[str]) -> None:
    """CommandError for a folder that is a link: what lies behind it is somebody else's."""
    for path in folders:
        if link.shell(f"test -L {quoted(path)}").code == 0:
            raise CommandError(f"{link.serial}: {path} is a link to another place. Look at it and remove it by hand.")


def parent_of(path: str) -> str:
    return path.rsplit("/", 1)[0]


def clean_folder(link: Link, folder: str) -> str:
    """One folder and its list; CommandError, before anything is removed, for what leads elsewhere."""
    listed, names = list_path(folder), read_list(link, folder)
    folders = {folder}
    for name in names:
        try:
            check_relative(name)
        except ValueError as error:
            raise CommandError(
                f"{link.serial}: {listed}: {error}. Look at it and remove the folder by hand."
            ) from error
        parents = name.split("/")[:-1]
        folders |= {"/".join([folder, *parents[: depth + 1]]) for depth in range(len(parents))}
    check_own(link, sorted({*folders, parent_of(folder), ROOT}))
    paths = [f"{folder}/{name}{ending}" for name in names for ending in ("", ".part", ".piece")]
    for begin in range(0, len(paths), _PATHS_A_LINE):
        link.checked(f"rm -f {' '.join(map(quoted, paths[begin : begin + _PATHS_A_LINE]))}")
    link.checked(f"rm -f {quoted(listed)}")
    for path in sorted(folders, key=len, reverse=True):
        link.shell(f"rmdir {quoted(path)} 2>/dev/null")
    return folder
