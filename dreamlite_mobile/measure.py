"""Seconds and peak memory of one stage."""

import contextlib
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


@dataclass(slots=True)
class Cost:
    """What a stage took: wall seconds and the process's peak resident bytes while it ran."""

    seconds: float = 0.0
    peak_bytes: int = 0


@contextlib.contextmanager
def measured() -> Iterator[Cost]:
    """Measure the block. On Linux the peak is of this block alone; elsewhere it is the process's so far."""
    cost = Cost()
    _reset_peak()
    begin = time.perf_counter()
    try:
        yield cost
    finally:
        cost.seconds = time.perf_counter() - begin
        cost.peak_bytes = peak_resident_bytes()


def peak_resident_bytes() -> int:
    """The process's peak resident set since it was last reset."""
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _reset_peak() -> None:
    with contextlib.suppress(OSError):
        _RESET.write_text("5")
