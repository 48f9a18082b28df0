"""The whole phone: storage, state, services, app; served on a loopback port."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from adb_device.android import ANDROID
from adb_device.app import Entry
from adb_device.commands import TOYBOX
from adb_device.daemon import FEATURES, Connection, Stream
from adb_device.faults import Faults
from adb_device.runner import run_binary
from adb_device.shell import Call
from adb_device.shell_service import serve_shell
from adb_device.state import State
from adb_device.storage import Storage
from adb_device.sync_service import serve_sync

APP = "dreamlite.app"


@dataclass
class Phone:
    """One emulated phone. `silent`: takes connections and says nothing, which adb calls offline. `hidden`: files that
    its shell may not read."""

    root: Path
    capacity: int = 1 << 30
    authorised: bool = True
    silent: bool = False
    state: State = field(default_factory=State)
    faults: Faults = field(default_factory=Faults)
    packages: tuple[str, ...] = (APP,)
    log: list[str] = field(default_factory=list)
    stuck_shell: float = 0.0
    connections: list[Connection] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    hidden: set[str] = field(default_factory=set)
    reachable: bool = True
    port: int = 0
    running: str | None = None
    """A program that was pushed."""

    def __post_init__(self) -> None:
        self.storage = Storage(self.root, self.capacity)
        self.commands = {**TOYBOX, **ANDROID}
        self.app: Entry | None = None
        self.faults.cut = self.cut
        self.storage.write("/proc/meminfo", b"MemTotal:       11613136 kB\nMemAvailable:    6113136 kB\n")
        for number, khz in ((0, 2265600), (2, 3148800), (7, 3302400)):
            policy = f"/sys/devices/system/cpu/cpufreq/policy{number}"
            self.storage.write(f"{policy}/scaling_governor", b"walt\n")
            self.storage.write(f"{policy}/scaling_cur_freq", f"{khz}\n".encode())
            self.storage.write(f"{policy}/cpuinfo_max_freq", f"{khz}\n".encode())

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self.port}"

    def service(self, stream: Stream, name: str) -> None:
        """By its name: sync or a shell."""
        if name.startswith("sync:"):
            serve_sync(stream, self.storage, self.faults)
        elif name.startswith(("shell", "exec")):
            serve_shell(stream, self, name)

    def read(self, path: str) -> bytes | None:
        """A file, or what the kernel would make up for it; None when there is none."""
        if path in self.hidden:
            return None
        if path == "/proc/stat":
            return self.state.cpu_line(self.works()).encode()
        if path == "/proc/4711/stat":
            return self.state.app_line().encode() if self.works() else None
        place = self.storage.host(path)
        return place.read_bytes() if place.is_file() else None

    def execute(self, call: Call, program: str) -> int:
        """A program that was pushed."""
        return run_binary(call, program)

    def start_app(self, request: str) -> None:
        """As an intent does."""
        self.started.append(request)
        self.app = Entry(self, request)
        if self.faults.late:
            threading.Timer(self.faults.late, self.app.start).start()
        else:
            self.app.start()

    def stop_app(self) -> None:
        """Like `am force-stop`."""
        if self.app is not None:
            self.app.stopped.set()
            if self.app.is_alive():
                self.app.join(30)

    def app_runs(self) -> bool:
        return self.app is not None and self.app.is_alive()

    def works(self) -> bool:
        """The app or a program that was pushed, as process 4711."""
        return self.app_runs() or self.running is not None

    def cut(self) -> None:
        """Every link ends at once; adb may connect again."""
        for connection in self.connections:
            connection.cut()
        self.connections.clear()

    @contextlib.contextmanager
    def served(self) -> Iterator[str]:
        """Listen on a free loopback port; yields the serial to connect to."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        threading.Thread(target=self.accept, args=(listener,), daemon=True).start()
        try:
            yield self.serial
        finally:
            self.stop_app()
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            self.cut()

    def accept(self, listener: socket.socket) -> None:
        """Every host that comes."""
        kept = []
        while True:
            try:
                link, _ = listener.accept()
            except OSError:
                return
            if not self.reachable:
                link.close()
            elif self.silent:
                kept.append(link)
            else:
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection = Connection(link, self.banner, self.service, self.authorised)
                self.connections.append(connection)
                threading.Thread(target=connection.serve, daemon=True).start()

    @property
    def banner(self) -> str:
        """How the phone introduces itself."""
        model = self.state.properties["ro.product.model"]
        return f"device::ro.product.name=houji;ro.product.model={model};ro.product.device=houji;features={FEATURES}"
