"""The shell service: plain (`shell:`), with exit code (`shell,v2:`) and without a terminal (`exec:`)."""

import struct
import time
from typing import TYPE_CHECKING

from adb_device.daemon import Stream
from adb_device.shell import Shell

if TYPE_CHECKING:
    from adb_device.phone import Phone

STDOUT, STDERR, EXIT = 1, 2, 3


def serve_shell(stream: Stream, phone: "Phone", name: str) -> None:
    """One line from its start to its exit code."""
    kind, _, line = name.partition(":")
    shell = Shell(phone, phone.commands)
    if phone.stuck_shell:
        time.sleep(phone.stuck_shell)
    code = shell.run(line)
    if ",v2" not in kind:
        stream.write(shell.out + shell.err)
        return
    for number, data in ((STDOUT, shell.out), (STDERR, shell.err), (EXIT, bytes([code & 0xFF]))):
        if data:
            stream.write(struct.pack("<BI", number, len(data)) + data)
