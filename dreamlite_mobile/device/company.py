"""What else keeps the phone busy while ours runs: all ticks in use less those of our process."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from dreamlite_mobile.device.conditions import busy_and_all
from dreamlite_mobile.device.errors import DeviceError
from dreamlite_mobile.device.link import Link, quoted

WINDOW_S = 2.0
"""Between two looks; each costs the phone two small reads."""
_PAUSE_S = 0.2
_UTIME = 11
"""Fields after the name in /proc/PID/stat: user and system ticks (proc(5))."""


@dataclass(frozen=True, slots=True)
class Ticks:
    """Since boot, of all CPUs; `own` of one process."""

    pid: str
    own: int
    busy: int
    all: int


@dataclass(slots=True)
class Company:
    """Watches one run. `share`: the most that others used of all CPUs between two looks; None if it cannot be told."""

    link: Link
    window_s: float = WINDOW_S
    share: float | None = None
    last: Ticks | None = None
    looked: float = 0.0

    def look(self, pid: str) -> None:
        """Compare with the last look, if that is long enough ago and saw the same process."""
        now = time.monotonic()
        if self.last is not None and now - self.looked < self.window_s:
            return
        found, self.looked = ticks_of(self.link, pid), now
        if found is not None and self.last is not None and self.last.pid == pid and found.all > self.last.all:
            others = (found.busy - self.last.busy) - (found.own - self.last.own)
            self.share = max(self.share or 0.0, min(1.0, max(0.0, others / (found.all - self.last.all))))
        self.last = found


def ticks_of(link: Link, pid: str) -> Ticks | None:
    """None where the phone shows no other process's times to its shell."""
    own, _, system = link.shell(f"cat /proc/{pid}/stat /proc/stat 2>/dev/null").out.partition("\n")
    total = busy_and_all(system.partition("\n")[0])
    fields = own.rpartition(")")[2].split()
    if total is None or len(fields) < _UTIME + 2 or not all(field.isdigit() for field in fields[_UTIME : _UTIME + 2]):
        return None
    return Ticks(pid, sum(map(int, fields[_UTIME : _UTIME + 2])), *total)


@contextlib.contextmanager
def watched(link: Link, process: str, window_s: float = WINDOW_S) -> Iterator[Company]:
    """Watches a process by its name while a command blocks; a lost link is for the command to notice."""
    company, ended = Company(link, window_s), threading.Event()
    watching = threading.Thread(target=watch, args=(company, process, ended), daemon=True)
    watching.start()
    try:
        yield company
    finally:
        ended.set()
        watching.join(link.patience_s)


def watch(company: Company, process: str, ended: threading.Event) -> None:
    """Until the end; often until the process is there, then once a window."""
    while not ended.is_set():
        with contextlib.suppress(DeviceError):
            pids = company.link.shell(f"pidof {quoted(process)}").out.split()
            if pids and pids[0].isdigit():
                company.look(pids[0])
        ended.wait(_PAUSE_S if company.last is None else max(company.window_s, _PAUSE_S))
