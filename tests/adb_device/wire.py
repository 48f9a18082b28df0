"""Packets of the adb wire protocol: six little-endian words, then the data."""

import socket
import struct
from dataclasses import dataclass

HEADER = struct.Struct("<6I")
VERSION = 0x01000001
"""From this version on the checksum is not looked at."""
MAX_DATA = 256 * 1024


def word(name: bytes) -> int:
    """Four letters as the number that stands for them."""
    return int.from_bytes(name, "little")


CNXN, AUTH, OPEN, OKAY, WRTE, CLSE = (word(name) for name in (b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"WRTE", b"CLSE"))
TOKEN, SIGNATURE, PUBLIC_KEY = 1, 2, 3
"""First argument of AUTH."""


@dataclass(frozen=True)
class Packet:
    """One message."""

    command: int
    first: int
    second: int
    data: bytes = b""

    def encode(self) -> bytes:
        """As it goes over the wire."""
        checksum = sum(self.data) & 0xFFFFFFFF
        magic = self.command ^ 0xFFFFFFFF
        return HEADER.pack(self.command, self.first, self.second, len(self.data), checksum, magic) + self.data


def read_packet(link: socket.socket) -> Packet:
    """The next packet; ConnectionError when the other side is gone or speaks something else."""
    command, first, second, length, _, magic = HEADER.unpack(read_exactly(link, HEADER.size))
    if magic != command ^ 0xFFFFFFFF or length > 16 * MAX_DATA:
        raise ConnectionError(f"no adb packet: {command:08x}")
    return Packet(command, first, second, read_exactly(link, length))


def read_exactly(link: socket.socket, count: int) -> bytes:
    """`count` bytes."""
    found = bytearray()
    while len(found) < count:
        piece = link.recv(min(count - len(found), 1 << 20))
        if not piece:
            raise ConnectionError("closed")
        found += piece
    return bytes(found)
