"""Memory: ceilings as users write them, and what a process with all its children holds."""

import os
import re
from pathlib import Path

from dreamlite_mobile.errors import ConfigError

UNITS = {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}
SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([A-Za-z]+)")
PROC = Path("/proc")
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def parse_memory(text: str, where: str = "--max-memory") -> int:
    """Bytes of `12GB`, `800MB`, `1.5 GiB`.

    Raises:
        ConfigError: anything else, or a system that does not say what its processes hold.
    """
    match = SIZE.fullmatch(text.strip())
    units = {unit.lower(): size for unit, size in UNITS.items()}
    found = 0 if match is None else int(float(match[1]) * units.get(match[2].lower(), 0))
    if found <= 0:
        raise ConfigError(
            f"{where} {text}: expected a positive number and a unit ({', '.join(UNITS)}), for instance 12GB"
        )
    if not (PROC / "self" / "smaps_rollup").exists():
        raise ConfigError(f"{where} {text}: this system has no /proc that says what a process holds; leave it out")
    return found


def shown(count: float) -> str:
    """`1.25 GB`: as `parse_memory` reads it."""
    return f"{count / 1e9:.2f} GB"


def held_bytes(pid: int | None) -> int:
    """What a process holds, its share of what it has in common with others; 0 when it is gone."""
    try:
        text = (PROC / str(pid) / "smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")), 0)


def resident_bytes(pid: int | None) -> int:
    """What a process has in memory, what it shares with others included, to some pages; 0 when it is gone."""
    try:
        pages = (PROC / str(pid) / "statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * PAGE


def descendants(pid: int) -> list[int]:
    """A process and all that it and its children started."""
    children: dict[int, list[int]] = {}
    for status in PROC.glob("[0-9]*/stat"):
        try:
            after_name = status.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        children.setdefault(int(after_name[1]), []).append(int(status.parent.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def tree_bytes(pid: int) -> int:
    """What a process and all its descendants hold together."""
    return sum(map(held_bytes, descendants(pid)))


def free_memory() -> int:
    """Bytes that the system can still give."""
    text = (PROC / "meminfo").read_text()
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("MemAvailable:"))
