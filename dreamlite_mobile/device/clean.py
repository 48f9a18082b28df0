"""Removing what was pushed: by the lists that pushes left, and nothing else."""

from dreamlite_mobile.bundle_schema import check_relative
from dreamlite_mobile.device.errors import CommandError
from dreamlite_mobile.device.link import Link, quoted
from dreamlite_mobile.device.places import KINDS, ROOT
from dreamlite_mobile.device.push import LIST_NAME, list_path, read_list


def clean(link: Link) -> tuple[str, ...]:
    """Remove every file that a push brought, its `.part` and `.piece`, and the folders that are empty then.

    Returns the folders that were cleaned. A list that names anything but plain files below its folder is not followed.

    Raises:
        LinkLostError: the link ended. CommandError: a list that cannot be trusted.
    """
    cleaned = []
    ending = f".{LIST_NAME}"
    for base in KINDS:
        entries = link.shell(f"ls {base} 2>/dev/null").out.splitlines()
        lists = [entry for entry in entries if entry.endswith(ending)]
        cleaned += [clean_folder(link, f"{base}/{entry.removesuffix(ending)}") for entry in lists]
        link.shell(f"rmdir {base} 2>/dev/null")
    link.shell(f"rmdir {ROOT} 2>/dev/null")
    return tuple(cleaned)


def clean_folder(link: Link, folder: str) -> str:
    """One folder and its list."""
    listed = list_path(folder)
    folders = {folder}
    for name in read_list(link, folder):
        try:
            check_relative(name)
        except ValueError as error:
            raise CommandError(
                f"{link.serial}: {listed}: {error}. Look at it and remove the folder by hand."
            ) from error
        path = f"{folder}/{name}"
        link.checked(f"rm -f {quoted(path)} {quoted(path + '.part')} {quoted(path + '.piece')}")
        parents = name.split("/")[:-1]
        folders |= {"/".join([folder, *parents[: depth + 1]]) for depth in range(len(parents))}
    link.checked(f"rm -f {quoted(listed)}")
    for path in sorted(folders, key=len, reverse=True):
        link.shell(f"rmdir {quoted(path)} 2>/dev/null")
    return folder
