"""One phone through the adb server: shell commands with their exit code, and how a lost link is noticed and mended.

adbutils talks to the server. Nothing waits without a limit, and whatever ends the link is a `LinkLostError`.
"""

import contextlib
import re
import shlex
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from adbutils import AdbClient, AdbDevice, AdbError
from adbutils._adb import AdbConnection

from dreamlite_mobile.device.errors import CommandError, LinkLostError

PATIENCE_S = 30.0
"""How long a phone may be silent, unless it was asked for something that takes longer."""
MEND = "Check the cable (or the Wi-Fi), keep the screen on, and run the command again: what arrived is kept."
_NETWORK = re.compile(r"^[\w.-]+:\d+$")
_PAUSE_S = 0.2


@dataclass(frozen=True, slots=True)
class Output:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Link:
    """One phone by serial. `patience_s` bounds every wait for an answer."""

    client: AdbClient
    serial: str
    patience_s: float = PATIENCE_S
    device: AdbDevice = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """One object for good: it asks for the phone's features only once."""
        object.__setattr__(self, "device", AdbDevice(self.client, serial=self.serial))

    def shell(self, command: str, patience_s: float | None = None) -> Output:
        """Run a line in the phone's shell.

        Raises:
            LinkLostError: the link ended, or nothing was heard for `patience_s`.
        """
        with lost_link(self.serial, command):
            found = self.device.shell2(command, timeout=patience_s or self.patience_s, v2=True)
        return Output(found.returncode, found.stdout or found.output, found.stderr)

    def checked(self, command: str, patience_s: float | None = None) -> str:
        """What a line printed on stdout; CommandError when it fails."""
        found = self.shell(command, patience_s)
        if found.code != 0:
            said = (found.err or found.out).strip() or "nothing"
            raise CommandError(f"{self.serial}: `{command}` failed with {found.code} and said: {said}")
        return found.out

    @contextlib.contextmanager
    def transport(self, service: str) -> Iterator[AdbConnection]:
        """A service of the phone, such as `sync:`, as an open connection."""
        with lost_link(self.serial, service):
            connection = self.device.open_transport(timeout=self.patience_s)
            # Requests go out in several small writes, each of which would wait 40 ms for an acknowledgement otherwise.
            connection.conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                connection.send_command(service)
                connection.check_okay()
                yield connection
            finally:
                connection.close()

    def come_back(self, limit_s: float, tell: Callable[[str], None] = lambda _: None) -> None:
        """Wait until the phone answers again; LinkLostError when it does not within `limit_s`."""
        end = time.monotonic() + limit_s
        tell(f"{self.serial}: the link is lost; waiting for it")
        while time.monotonic() < end:
            with contextlib.suppress(AdbError, OSError, LinkLostError):
                if _NETWORK.match(self.serial):
                    self.client.connect(self.serial, timeout=min(limit_s, self.patience_s))
                if self.shell("echo here", min(limit_s, self.patience_s)).out.strip() == "here":
                    return
            time.sleep(_PAUSE_S)
        raise LinkLostError(f"{self.serial}: did not come back within {limit_s:g} s. {MEND}")


@contextlib.contextmanager
def lost_link(serial: str, doing: str) -> Iterator[None]:
    """Whatever adbutils and sockets raise when a phone goes away is a LinkLostError."""
    try:
        yield
    except (AdbError, OSError, EOFError) as error:
        what = str(error) or type(error).__name__
        raise LinkLostError(f"{serial}: the link was lost during `{doing[:80]}` ({what}). {MEND}") from error


def quoted(path: str) -> str:
    """A path as one word of the phone's shell."""
    return shlex.quote(path)
