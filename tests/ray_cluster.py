"""Nodes of a real Ray cluster on this machine, each stopped by its process id and with nothing but its own children."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from export.cluster import SETTINGS as USUAL
from export.memory import descendants

READY = "Ray runtime started"
START_SECONDS = 240.0
ROOT = str(Path(__file__).parent.parent)
SETTINGS = {**USUAL, "RAY_AUTH_MODE": "disabled"}
"""Of nodes and of who asks them. The Ray that is first on a machine makes a token for all: of two test processes that
are first together each makes one, and the nodes of one are strangers to each other."""
PROGRAM = "from ray.scripts.scripts import main; main()"


@dataclass(frozen=True, slots=True)
class Node:
    """`ray start --block` and all that it started."""

    process: "subprocess.Popen[bytes]"
    folder: Path

    @property
    def address(self) -> str:
        """Of the head that this node is."""
        return (self.folder / "ray_current_cluster").read_text().strip()

    @property
    def is_whole(self) -> bool:
        """Whether it runs as it was started."""
        return self.process.poll() is None

    def workers(self) -> list[str]:
        """What the processes call themselves that do a task, or wait for one."""
        titles = [title_of(one) for one in descendants(self.process.pid)]
        return [title for title in titles if title.startswith("ray::") and not title.endswith("Agent")]

    def kill(self) -> None:
        """Lose the node as by a power cut, if it is not lost yet."""
        for one in descendants(self.process.pid) if self.is_whole else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        self.process.wait()


def title_of(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ").strip()
    except OSError:
        return ""


@contextlib.contextmanager
def node(*options: str, head: Node | None = None, environment: Mapping[str, str] | None = None) -> Iterator[Node]:
    """A node, of that head's cluster or itself a head on a free port; killed at the end if it is still there.

    It runs in a folder of its own, as one on another machine would.
    """
    # sockets lie there, whose paths have to be short
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    command = [sys.executable, "-c", PROGRAM, "start", "--block", "--disable-usage-stats", *options]
    command += ["--object-store-memory", "80000000"]
    if head is None:
        command += ["--head", "--port", "0", "--include-dashboard", "false", "--temp-dir", str(folder)]
    else:
        command += ["--address", head.address]
    log = folder / "start.log"
    with log.open("wb") as written:
        process = subprocess.Popen(
            command,
            stdout=written,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=os.environ | SETTINGS | {"PYTHONPATH": ROOT} | dict(environment or {}),
        )
    found = Node(process, folder)
    try:
        wait_for(lambda: READY in log.read_text() or not found.is_whole, START_SECONDS)
        if not found.is_whole:
            raise RuntimeError(log.read_text())
        yield found
    finally:
        found.kill()
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(condition: Callable[[], object], seconds: float) -> None:
    """TimeoutError if it does not come true in that time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.05)
