"""One benchmark at a time on a phone: two of them would stop each other's app and time each other's work."""

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dreamlite_mobile.device.errors import PhoneBusyError


@contextlib.contextmanager
def occupied(serial: str) -> Iterator[None]:
    """The phone is ours until the end, or until this process dies.

    Known to the processes of one user on this machine; another computer on the same phone is not seen.

    Raises:
        PhoneBusyError: another benchmark has it.
    """
    name = hashlib.sha256(serial.encode()).hexdigest()[:16]
    with Path(tempfile.gettempdir(), f"dreamlite-phone-{os.getuid()}-{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PhoneBusyError(
                f"{serial}: another benchmark uses it. Wait for its end, or name another phone."
            ) from error
        yield
