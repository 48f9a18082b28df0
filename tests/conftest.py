"""Shared by all tests: offline, Ctrl-C works even where a shell started the tests in the background, and test processes
side by side share the cores instead of each starting a thread on every one."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from outcome import Outcome
from run_folder import run_folder

if TYPE_CHECKING:
    from adb_device.phone import Phone
    from adb_device.server import Adb

    from dreamlite_mobile.device.link import Link

os.environ.setdefault("HF_HUB_OFFLINE", "1")
side_by_side = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if side_by_side > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // side_by_side)))
# A background job inherits "ignore", and so would the processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Before the processes that share it are started.
run_folder()


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Run `dreamlite ARGUMENTS` in this process; both streams are captured at the file descriptors."""

    def call(*arguments: object) -> Outcome:
        from dreamlite_mobile.cli import main

        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["dreamlite", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        sys.stdout.flush()
        out, err = capfd.readouterr()
        return Outcome(int(stop.value.code or 0), out, err)

    return call


@pytest.fixture(scope="module")
def adb(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Adb]":
    """A real adb server on a port of its own."""
    from adb_device.server import adb_server

    with adb_server(tmp_path_factory.mktemp("home")) as server:
        yield server


@pytest.fixture
def phone(tmp_path: Path) -> "Phone":
    """An emulated phone that is not plugged in."""
    from adb_device.phone import Phone

    return Phone(tmp_path / "phone")


@pytest.fixture
def link(adb: "Adb", phone: "Phone") -> "Iterator[Link]":
    """The phone, plugged in."""
    from adb_device.server import attached

    with attached(adb, phone) as found:
        yield found


@pytest.fixture
def plugged(adb: "Adb", link: "Link", monkeypatch: pytest.MonkeyPatch) -> None:
    """The phone, plugged in where `dreamlite` looks for it."""
    from adb_device.server import PORT_VARIABLE

    monkeypatch.setenv(PORT_VARIABLE, str(adb.port))
