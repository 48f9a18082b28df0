"""A real adb server on a port and with keys of its own: nothing of this machine's own adb is touched."""

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from adbutils import AdbClient

from adb_device.phone import Phone
from dreamlite_mobile.device.link import Link

PORT_VARIABLE = "ANDROID_ADB_SERVER_PORT"


def adb_program() -> str:
    """Debian's adb, or the one inside adbutils."""
    from adbutils import adb_path

    return shutil.which("adb") or str(adb_path())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Adb:
    """The client program against that server."""

    def __init__(self, port: int, home: Path) -> None:
        self.port = port
        self.environment = {**os.environ, PORT_VARIABLE: str(port), "HOME": str(home), "ADB_MDNS": "0"}

    def __call__(self, *arguments: object, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        command = [adb_program(), *map(str, arguments)]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False
        )


@contextlib.contextmanager
def adb_server(home: Path) -> Iterator[Adb]:
    """Started, and killed at the end."""
    adb = Adb(free_port(), home)
    started = adb("start-server")
    assert started.returncode == 0, started.stderr
    try:
        yield adb
    finally:
        adb("kill-server")


@contextlib.contextmanager
def attached(adb: Adb, phone: Phone) -> Iterator[Link]:
    """The phone served and connected to that server; a link as patient as for a phone."""
    with phone.served() as serial:
        said = adb("connect", serial).stdout
        assert "connected to" in said or not phone.authorised, said
        try:
            yield Link(AdbClient(port=adb.port), serial, patience_s=30)
        finally:
            adb("disconnect", serial)
