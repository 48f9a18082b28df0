"""One benchmark at a time on a phone: two of them would stop each other's app and time each other's work."""

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dreamlite_mobile.device.claim import claimed
from dreamlite_mobile.device.errors import PhoneBusyError
from dreamlite_mobile.device.link import Link


@contextlib.contextmanager
def occupied(link: Link) -> Iterator[None]:
    """The phone is ours until the end: known at once to this user's processes here, by a mark on it to anybody else.

    Raises:
        PhoneBusyError: another benchmark has it.
    """
    name = hashlib.sha256(link.serial.encode()).hexdigest()[:16]
    with Path(tempfile.gettempdir(), f"dreamlite-phone-{os.getuid()}-{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PhoneBusyError(
                f"{link.serial}: another benchmark uses it. Wait for its end, or name another phone."
            ) from error
        with claimed(link):
            yield
