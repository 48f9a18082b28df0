"""A mark on the phone itself: two computers, or one by cable and by Wi-Fi, do not benchmark on it at once.

The mark is a folder, since making one succeeds for one of two who try. Whoever holds it touches it every few seconds; a
mark that nobody has touched for a while is of somebody who is gone, and is moved aside, which again succeeds once. So
is, at once, one that this user made on this computer over the same link: `occupied` knows that its process has ended.
"""

import contextlib
import getpass
import re
import secrets
import socket
import threading
import uuid
from collections.abc import Iterator

from dreamlite_mobile.device.errors import CommandError, DeviceError, PhoneBusyError
from dreamlite_mobile.device.link import Link
from dreamlite_mobile.device.places import ROOT

MARK = f"{ROOT}/busy"
BEAT_S = 15.0
"""Between two touches."""
GONE_S = 120
"""Since the last touch, by the phone's clock: longer than a lost link is waited for."""
_SPECIAL = re.compile(r"[^A-Za-z0-9._-]+")
_NAME = re.compile(r"[A-Za-z0-9._-]+(\+[A-Za-z0-9._-]+){3}")
"""Who, which computer, over which link, which process: the file in the mark."""


@contextlib.contextmanager
def claimed(link: Link, beat_s: float = BEAT_S) -> Iterator[None]:
    """The phone is ours until the end; a computer that is switched off loses it after `GONE_S`.

    Raises:
        PhoneBusyError: another computer has it. CommandError: the phone does not let us write there.
    """
    who = (f"{getpass.getuser()}.{socket.gethostname()}", f"{uuid.getnode():x}", link.serial, secrets.token_hex(4))
    owner = "+".join(_SPECIAL.sub("-", part) for part in who)
    take(link, owner)
    ended = threading.Event()
    beat = threading.Thread(target=keep, args=(link, owner, ended, beat_s), daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join(link.patience_s)
        with contextlib.suppress(DeviceError):
            link.shell(f"test -e {MARK}/{owner} && rm -rf {MARK}")
            link.shell(f"rmdir {ROOT} 2>/dev/null")


def take(link: Link, owner: str) -> None:
    """Make the mark, or move that of somebody who is gone aside and make it."""
    for _ in range(2):
        made = link.shell(f"mkdir -p {ROOT} && mkdir {MARK} && touch {MARK}/{owner}")
        if made.code == 0:
            return
        holder, silent_s = seen(link)
        if holder is None:
            raise CommandError(f"{link.serial}: {MARK} cannot be made: {(made.err or made.out).strip()}")
        is_ours = holder.rpartition("+")[0] == owner.rpartition("+")[0]
        if not is_ours and (silent_s is None or silent_s < GONE_S):
            since = "at an unknown time" if silent_s is None else f"{max(0, silent_s)} s ago"
            name = holder.partition("+")[0] or "another computer"
            raise PhoneBusyError(
                f"{link.serial}: {name} benchmarks on it, last seen {since}. Wait for its end, or name another "
                f"phone; a computer that is gone is forgotten after {GONE_S} s."
            )
        link.shell(f"mv {MARK} {MARK}.{owner} && rm -rf {MARK}.{owner}")
    raise PhoneBusyError(f"{link.serial}: another computer began to benchmark on it at this moment. Wait for its end.")


def seen(link: Link) -> tuple[str | None, int | None]:
    """The file in the mark, and how many seconds ago it was touched; None where there is no mark, or no time."""
    names = link.shell(f"ls {MARK} 2>/dev/null").out.split()
    named = len(names) == 1 and _NAME.fullmatch(names[0]) is not None
    times = link.shell(f"stat -c %Y {MARK}/{names[0]} 2>/dev/null" if named else f"stat -c %Y {MARK} 2>/dev/null")
    now = link.shell("date +%s")
    if times.code != 0:
        return None, None
    known = times.out.strip().isdigit() and now.out.strip().isdigit()
    return names[0] if named else "", int(now.out) - int(times.out) if known else None


def keep(link: Link, owner: str, ended: threading.Event, beat_s: float) -> None:
    """Touch the mark until the end; a lost link is for others to notice."""
    while not ended.wait(beat_s):
        with contextlib.suppress(DeviceError):
            link.shell(f"test -e {MARK}/{owner} && touch {MARK}/{owner}")
