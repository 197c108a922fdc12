"""The crowd's TCP connections, in one epoll loop."""

from __future__ import annotations

import errno
import select
import socket

from tests.client.wire import Address, FrameReader

IP_BIND_ADDRESS_NO_PORT = 24
CHUNK = 1 << 16


class Loop:
    """The sockets of one process and who is told that they are ready."""

    def __init__(self) -> None:
        self._poller = select.epoll()
        self._connections: dict[int, Connection] = {}

    def add(self, connection: Connection) -> None:
        """Watch a connection that is being made."""
        self._connections[connection.socket.fileno()] = connection
        self._poller.register(connection.socket, select.EPOLLOUT)

    def made(self, connection: Connection) -> None:
        """From now on only what it receives is of interest."""
        self._poller.modify(connection.socket, select.EPOLLIN)

    def remove(self, connection: Connection) -> None:
        """Before it is closed."""
        del self._connections[connection.socket.fileno()]
        self._poller.unregister(connection.socket)

    def add_reader(self, descriptor: int) -> None:
        """Wake up for something that is read by somebody else."""
        self._poller.register(descriptor, select.EPOLLIN)

    def run(self, timeout: float) -> None:
        """Wait up to `timeout` seconds and serve what is ready."""
        for descriptor, _ in self._poller.poll(max(0.0, timeout)):
            connection = self._connections.get(descriptor)
            if connection is not None:
                connection.ready()

    def close(self) -> None:
        """Close everything."""
        for connection in list(self._connections.values()):
            connection.close()
        self._poller.close()


class Connection:
    """One connection from an address of its own; `first` is sent as soon as it is made."""

    def __init__(self, loop: Loop, source: str, server: Address, first: bytes) -> None:
        self._loop = loop
        self._first = first
        self.open = True
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        self.socket.bind((source, 0))
        error = self.socket.connect_ex(server)
        if error not in (0, errno.EINPROGRESS):
            self.socket.close()
            raise OSError(error, "can't connect")
        self.local: Address = self.socket.getsockname()
        loop.add(self)

    def ready(self) -> None:
        """The kernel has something for it."""
        try:
            if self._first:
                self.send(self._first)
                self._first = b""
                self._loop.made(self)
                return
            data = self.socket.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.received(data)
        else:
            self.close()
            self.ended()

    def send(self, data: bytes) -> None:
        """Send little; raises OSError when the kernel doesn't take it."""
        if self.socket.send(data) != len(data):
            raise OSError(errno.ENOBUFS, "sent in part")

    def received(self, data: bytes) -> None:
        """Bytes have come."""

    def ended(self) -> None:
        """The server has closed it."""

    def close(self) -> None:
        """Close it; harmless when it is closed."""
        if self.open:
            self.open = False
            self._loop.remove(self)
            self.socket.close()


class FramedConnection(Connection):
    """One that receives frames."""

    def __init__(self, loop: Loop, source: str, server: Address, first: bytes) -> None:
        super().__init__(loop, source, server, first)
        self._reader = FrameReader()

    def received(self, data: bytes) -> None:
        """Take whole frames out."""
        self._reader.feed(data)
        while self.open and (payload := self._reader.next()) is not None:
            self.frame(payload)

    def frame(self, payload: bytes) -> None:
        """A whole frame has come."""
