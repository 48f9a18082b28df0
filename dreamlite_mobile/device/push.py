"""A bundle onto a phone: only what is not there, verified where it arrived, and never used half.

A file goes over in pieces. Each piece is added to `NAME.part` on the phone; adbd throws away what it was receiving when
the link ends, so a cut costs one piece, and the rest goes on after the bytes of `.part` whose digest is that of the
file's own beginning. The whole `.part` is verified on the phone and then renamed. `manifest.json` goes last: a folder
without it is no bundle, to the app as to us.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from dreamlite_mobile.bundle import Bundle
from dreamlite_mobile.bundle_checks import DIGEST_NAME, MANIFEST_NAME
from dreamlite_mobile.device import sync
from dreamlite_mobile.device.errors import CommandError, DigestError, LinkLostError, StorageFullError
from dreamlite_mobile.device.facts import free_storage
from dreamlite_mobile.device.link import Link, quoted
from dreamlite_mobile.device.places import bundle_folder
from dreamlite_mobile.files import Progress, sha256_file

PIECE = 32 << 20
"""Bytes that a lost link costs at most, and that a push needs beside the files themselves."""
RESERVE = 64 << 20
"""Bytes that stay free: the app writes pictures and results."""
LIST_NAME = "pushed.list"
"""The names that were pushed into a folder, one a line: what `--clean` may remove."""
COME_BACK_S = 30.0
TRIES = 5
"""Lost links in a row, without a byte arriving in between, before a push is given up."""
SLOW_READ = 50e6
"""Bytes a second that any phone reads and digests; it says nothing before a file is done."""
_NAMES_A_LINE = 64
_LIST_LIMIT = 1 << 20
_READ = 1 << 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file of this machine and what it is to be in the phone's folder."""

    name: str
    source: Path
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did. `folder` on the phone; bytes sent by this push, and those that were there."""

    folder: str
    sent_bytes: int
    kept_bytes: int


def bundle_files(bundle: Bundle) -> tuple[Wanted, ...]:
    """Everything in a bundle, its manifest last."""
    entries = [
        Wanted(name, bundle.file(name), entry.bytes, entry.sha256)
        for name, entry in sorted(bundle.manifest.files.items(), key=lambda item: item[1].bytes)
    ]
    return (*entries, *(local_file(bundle.path / name, name) for name in (DIGEST_NAME, MANIFEST_NAME)))


def local_file(path: Path, name: str) -> Wanted:
    """Any file of this machine."""
    return Wanted(name, path, path.stat().st_size, sha256_file(path))


def manifest_sha256(bundle: Bundle) -> str:
    """The digest that names a bundle as a whole."""
    return sha256_file(bundle.path / MANIFEST_NAME)


def push_bundle(
    link: Link,
    bundle: Bundle,
    progress: Progress = lambda _: None,
    tell: Callable[[str], None] = lambda _: None,
    piece: int = PIECE,
    come_back_s: float = COME_BACK_S,
) -> Pushed:
    """Bring a bundle onto the phone.

    Raises:
        StorageFullError: too little room, found before the first byte. DigestError: a file arrived changed.
        LinkLostError: the link did not come back.
    """
    folder = bundle_folder(manifest_sha256(bundle))
    return push_files(link, folder, bundle_files(bundle), progress, tell, piece, come_back_s)


def push_files(
    link: Link,
    folder: str,
    wanted: Sequence[Wanted],
    progress: Progress = lambda _: None,
    tell: Callable[[str], None] = lambda _: None,
    piece: int = PIECE,
    come_back_s: float = COME_BACK_S,
) -> Pushed:
    """Bring files into a folder of the phone; see `push_bundle`."""
    tries = 0
    sent = Sent(progress)
    while True:
        before = sent.count
        try:
            kept = push_once(link, folder, wanted, sent, piece)
        except LinkLostError:
            tries = tries + 1 if sent.count == before else 1
            if tries >= TRIES:
                raise
            link.come_back(come_back_s, tell)
        else:
            return Pushed(folder, sent.count, kept)


@dataclass(slots=True)
class Sent:
    """Bytes sent so far, and how far the files are, told on: what was there already counts as far too."""

    progress: Progress
    count: int = 0
    far: int = 0

    def __call__(self, count: int) -> None:
        self.count += count
        self.get_to(self.far + count)

    def get_to(self, far: int) -> None:
        """Back as well, for a piece that a lost link cost."""
        if far != self.far:
            self.progress(far - self.far)
        self.far = far


def push_once(link: Link, folder: str, wanted: Sequence[Wanted], sent: Sent, piece: int) -> int:
    """One go over all files; returns the bytes that were there already."""
    present = digests(link, folder, [file.name for file in wanted], sum(file.size for file in wanted))
    differing = [file for file in wanted if present.get(file.name) != file.sha256]
    # An old manifest over new files would make them look like a bundle: it goes first and comes back last.
    missing = [file for file in wanted if file in differing or file.name == MANIFEST_NAME] if differing else []
    kept = sum(file.size for file in wanted) - sum(file.size for file in missing)
    sent.get_to(kept)
    if not missing:
        return kept
    check_room(link, folder, missing, piece)
    link.checked(f"mkdir -p {' '.join(sorted({quoted(parent(folder, file.name)) for file in wanted}))}")
    link.checked(f"rm -f {quoted(f'{folder}/{MANIFEST_NAME}')}")
    write_list(link, folder, [file.name for file in wanted])
    for file in missing:
        push_one(link, folder, file, sent, piece)
    return kept


def write_list(link: Link, folder: str, wanted: Sequence[str]) -> None:
    """The names of what is about to be there join those of earlier pushes, before the first byte goes over."""
    place = list_path(folder)
    fresh = f"{place}.new"
    names = set(wanted) | set(read_list(link, folder))
    sync.send(link, "".join(f"{name}\n" for name in sorted(names)).encode(), fresh)
    link.checked(f"mv {quoted(fresh)} {quoted(place)}")


def read_list(link: Link, folder: str) -> list[str]:
    """The names that pushes into a folder left; none where nothing was pushed."""
    if sync.size_of(link, list_path(folder)) is None:
        return []
    return sync.receive(link, list_path(folder), _LIST_LIMIT).decode("ascii", errors="replace").split()


def push_one(link: Link, folder: str, file: Wanted, sent: Sent, piece: int) -> None:
    """One file, going on where an earlier push was cut."""
    target = f"{folder}/{file.name}"
    part, fresh = f"{target}.part", f"{target}.piece"
    with file.source.open("rb") as stream:
        begun = arrived(link, part, file, stream)
        sent.get_to(sent.far + begun)
        stream.seek(begun)
        while data := stream.read(piece):
            sync.send(link, data, fresh, sent)
            add_piece(link, fresh, part, target)
    if file.size == 0:
        link.checked(f"echo -n > {quoted(part)}")
    found = digests(link, folder, [f"{file.name}.part"], file.size).get(f"{file.name}.part")
    if found != file.sha256:
        link.shell(f"rm -f {quoted(part)} {quoted(fresh)}")
        raise DigestError(
            f"{link.serial}: {target} arrived with sha256 {found}, expected {file.sha256}; it was removed. Push again; "
            "if it happens twice, the cable, the phone's storage or this machine's memory is at fault."
        )
    link.checked(f"chmod 644 {quoted(part)} && mv {quoted(part)} {quoted(target)}")


def add_piece(link: Link, fresh: str, part: str, target: str) -> None:
    """Onto the end of `.part`; StorageFullError when the phone has no room for it."""
    added = link.shell(f"cat {quoted(fresh)} >> {quoted(part)} && rm {quoted(fresh)}")
    if added.code == 0:
        return
    link.shell(f"rm -f {quoted(fresh)}")
    if "No space left" in added.err:
        raise StorageFullError(f"{link.serial}: {target}: the phone ran full. Free some storage and push again.")
    raise CommandError(f"{link.serial}: {target}: a piece could not be added: {added.err.strip() or added.code}")


def arrived(link: Link, part: str, file: Wanted, stream: BinaryIO) -> int:
    """Bytes of an earlier push that are the file's own beginning; anything else is removed."""
    size = sync.size_of(link, part)
    if size is None:
        return 0
    if size <= file.size:
        found = digests(link, parent("", part), [part.rsplit("/", 1)[1]], size)
        if found and next(iter(found.values())) == digest_of_beginning(stream, size):
            return size
    link.checked(f"rm -f {quoted(part)}")
    return 0


def check_room(link: Link, folder: str, missing: Sequence[Wanted], piece: int) -> None:
    """Refuse a push that would fill the phone (StorageFullError), before it begins."""
    parts = sum(sync.size_of(link, f"{folder}/{file.name}.part") or 0 for file in missing)
    largest = max(file.size for file in missing)
    needed = sum(file.size for file in missing) - parts + min(piece, largest) + RESERVE
    free = free_storage(link)
    if needed > free:
        raise StorageFullError(
            f"{link.serial}: needs {needed / 1e6:,.0f} MB of free storage, has {free / 1e6:,.0f} MB. Free some, or "
            "remove earlier bundles with `dreamlite devices --clean`."
        )


def digests(link: Link, folder: str, names: Sequence[str], size: int) -> dict[str, str]:
    """Name -> sha256 of those files that are there; `size`: bytes to read at most, which takes the phone a while."""
    found = {}
    patience_s = link.patience_s + size / SLOW_READ
    for begin in range(0, len(names), _NAMES_A_LINE):
        paths = " ".join(quoted(f"{folder}/{name}") for name in names[begin : begin + _NAMES_A_LINE])
        for line in link.shell(f"sha256sum {paths} 2>/dev/null", patience_s).out.splitlines():
            digest, _, path = line.partition("  ")
            found[path.strip().removeprefix(f"{folder}/")] = digest.strip()
    return found


def list_path(folder: str) -> str:
    """Where the names of what was pushed into a folder stand: beside it, as a bundle holds nothing but its files."""
    return f"{folder}.{LIST_NAME}"


def parent(folder: str, name: str) -> str:
    """The folder that a file lies in."""
    return f"{folder}/{name}".rsplit("/", 1)[0] if folder else name.rsplit("/", 1)[0]


def digest_of_beginning(stream: BinaryIO, size: int) -> str:
    """sha256 of the first `size` bytes."""
    stream.seek(0)
    digest = hashlib.sha256()
    while size > 0 and (data := stream.read(min(size, _READ))):
        digest.update(data)
        size -= len(data)
    return digest.hexdigest()
