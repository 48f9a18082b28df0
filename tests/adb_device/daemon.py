"""What adbd does: handshake, then any number of streams over one connection, each a service in a thread of its own."""

import os
import queue
import socket
import threading
from collections.abc import Callable

from adb_device.wire import (
    AUTH,
    CLSE,
    CNXN,
    MAX_DATA,
    OKAY,
    OPEN,
    SIGNATURE,
    TOKEN,
    VERSION,
    WRTE,
    Packet,
    read_packet,
)

FEATURES = "shell_v2,cmd,stat_v2,ls_v2,sendrecv_v2,fixed_push_mkdir"
PATIENCE = 60.0


class GoneError(ConnectionError):
    """The host closed the stream, or the link is cut."""


class Stream:
    """One service's two-way pipe."""

    def __init__(self, connection: "Connection", local: int, remote: int) -> None:
        self.connection, self.local, self.remote = connection, local, remote
        self.incoming: queue.Queue[bytes | None] = queue.Queue()
        self.ready = threading.Event()
        self.closed = False
        self.rest = b""

    def write(self, data: bytes) -> None:
        """Send, piece by piece, each after the other side has taken the last."""
        for begin in range(0, len(data), self.connection.limit):
            self.ready.clear()
            self.connection.send(Packet(WRTE, self.local, self.remote, data[begin : begin + self.connection.limit]))
            if not self.ready.wait(PATIENCE) or self.closed:
                raise GoneError

    def read(self, count: int) -> bytes:
        """Exactly `count` bytes."""
        while len(self.rest) < count:
            piece = self.incoming.get(timeout=PATIENCE)
            if piece is None:
                raise GoneError
            self.rest += piece
            self.connection.send(Packet(OKAY, self.local, self.remote))
        found, self.rest = self.rest[:count], self.rest[count:]
        return found

    def close(self) -> None:
        """Tell the other side that there is no more."""
        if not self.closed:
            self.closed = True
            self.connection.send(Packet(CLSE, self.local, self.remote))

    def end(self) -> None:
        """The other side has closed."""
        self.closed = True
        self.incoming.put(None)
        self.ready.set()


Service = Callable[[Stream, str], None]


class Connection:
    """One host."""

    def __init__(self, link: socket.socket, banner: str, service: Service, authorised: bool) -> None:
        self.link, self.banner, self.service, self.authorised = link, banner, service, authorised
        self.limit = MAX_DATA
        self.streams: dict[int, Stream] = {}
        self.numbers = 0
        self.writing = threading.Lock()

    def send(self, packet: Packet) -> None:
        """One packet at a time."""
        with self.writing:
            try:
                self.link.sendall(packet.encode())
            except OSError as error:
                raise GoneError from error

    def cut(self) -> None:
        """As if the cable were pulled."""
        try:
            self.link.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def serve(self) -> None:
        """Until the link ends."""
        try:
            while True:
                self.take(read_packet(self.link))
        except OSError:
            for stream in list(self.streams.values()):
                stream.end()
        finally:
            self.link.close()

    def take(self, packet: Packet) -> None:
        """Answer one packet."""
        if packet.command == CNXN:
            self.limit = min(MAX_DATA, packet.second)
            self.send(Packet(AUTH, TOKEN, 0, os.urandom(20)))
        elif packet.command == AUTH:
            self.authenticate(packet)
        elif packet.command == OPEN:
            self.open(packet)
        elif packet.second in self.streams:
            self.streams[packet.second].remote = packet.first
            self.pass_on(self.streams[packet.second], packet)

    def authenticate(self, packet: Packet) -> None:
        """Any signature will do for a phone that knows this computer; others wait for a tap on their screen."""
        if packet.first != SIGNATURE:
            return
        if self.authorised:
            self.send(Packet(CNXN, VERSION, MAX_DATA, self.banner.encode()))
        else:
            self.send(Packet(AUTH, TOKEN, 0, os.urandom(20)))

    def open(self, packet: Packet) -> None:
        """Start a service."""
        self.numbers += 1
        stream = Stream(self, self.numbers, packet.first)
        self.streams[stream.local] = stream
        name = packet.data.rstrip(b"\0").decode()
        threading.Thread(target=self.run, args=(stream, name), daemon=True).start()

    def run(self, stream: Stream, name: str) -> None:
        """A service from its opening to its end."""
        try:
            self.send(Packet(OKAY, stream.local, stream.remote))
            try:
                self.service(stream, name)
            finally:
                stream.close()
        except (GoneError, queue.Empty):
            pass
        finally:
            self.streams.pop(stream.local, None)

    def pass_on(self, stream: Stream, packet: Packet) -> None:
        """What belongs to an open stream."""
        if packet.command == WRTE:
            stream.incoming.put(packet.data)
        elif packet.command == OKAY:
            stream.ready.set()
        elif packet.command == CLSE:
            stream.end()
