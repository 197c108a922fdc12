"""A relay on real loopback sockets whose reactor, Twisted's epoll one, and clock a test drives by itself.

Nothing happens but in `turn`, so a test decides what meets in one turn of the reactor, and no time passes.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import termios
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import Any
from weakref import WeakSet

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone, ReactorNotRunning
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from rendezvous.hbbr.session import Session, Side
from rendezvous.hbbr.splice import splicer
from rendezvous.hbbr.usage import IUsageRecorder, SessionUsage
from rendezvous.sockets import LINGER, PortService, listen_tcp
from rendezvous.stream_port import StreamPort
from rendezvous.wire.framing import encode_frame
from tests.hbbr.relay_fixture import RelayParts, request
from tests.hbbr.ws_wire import WsReader, client_frame, handshake

PATIENCE = 20.0
"""Seconds after which a condition that has not come true fails the test."""
_READ = bytearray(1 << 18)


class _Reactor(EPollReactor):
    """Remembers its connections, of which those that nobody reads and writes are not among its descriptors."""

    def __init__(self) -> None:
        self.adopted: WeakSet[Any] = WeakSet()
        super().__init__()

    def adoptStreamConnection(self, *arguments: Any) -> Any:
        """See IReactorSocket."""
        transport = super().adoptStreamConnection(*arguments)
        self.adopted.add(transport)
        return transport


class DrivenRelay(RelayParts):
    """A relay that listens on loopback while it is entered; its own sockets have `buffer` bytes, if given."""

    def __init__(self, *, spliced: bool = True, buffer: int = 0, **options: Any) -> None:
        self.reactor: Any = _Reactor()
        self.clock = Clock()
        self.usages: list[SessionUsage] = []
        self.spliced: list[Session] = []
        self._splice = splicer(self.reactor)
        super().__init__(
            self.clock,
            splice=self._count_and_splice if spliced else None,
            recorders=[_Recorder(self.usages)],
            **options,
        )
        self._failures = _Failures()
        self.clients: list[SocketClient] = []
        self._buffer = buffer

    def _count_and_splice(self, session: Session, first: Side, second: Side) -> None:
        assert self._splice is not None
        self.spliced.append(session)
        self._splice(session, first, second)

    def __enter__(self) -> DrivenRelay:
        globalLogPublisher.addObserver(self._failures)
        self.ports: list[int] = []
        self._listeners: list[PortService] = []
        for factory in (self.tcp, self.websocket):
            (sock,) = listen_tcp("127.0.0.1", 0, "port")
            if self._buffer:
                set_buffers(sock, self._buffer)
            self.ports.append(sock.getsockname()[1])
            self._listeners.append(PortService([StreamPort(self.reactor, sock, factory)]))
            self._listeners[-1].startService()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        globalLogPublisher.removeObserver(self._failures)
        for client in self.clients:
            client.reset()
        for listener in self._listeners:
            listener.stopService()
        self.relay.end_all()  # a transport that is not read from is not known to the reactor
        self.clock.advance(2 * LINGER)
        self.reactor.iterate(0)
        self.reactor.disconnectAll()
        for transport in list(self.reactor.adopted):
            if transport.connected:
                transport.connectionLost(Failure(ConnectionDone()))
        for reader in list(self.reactor._internalReaders):
            reader.connectionLost(Failure(ReactorNotRunning()))
        self.reactor._poller.close()
        if kind is None:
            assert self._failures.events == []

    def turn(self, wait: float = 0.0) -> bool:
        """One turn of the reactor, after which clients send and read what they can; False if nothing moved."""
        before = self._moved()
        self.reactor.iterate(wait)
        for client in self.clients:
            client.work()
        return before != self._moved()

    def _moved(self) -> tuple[object, ...]:
        bytes_moved = sum(client.moved for client in self.clients)
        counted = sum(self.relay_bytes())
        return bytes_moved, counted, self.admission.connections, len(self.usages), len(self.relay.sessions)

    def relay_bytes(self) -> list[int]:
        """What running sessions have counted."""
        return [session.usage.transferred for session in self.relay.sessions]

    def until(self, true: Callable[[], bool], what: str, pass_time: float = 0.0) -> None:
        """Turns until a condition holds; each turn takes `pass_time` seconds of the relay's clock."""
        deadline = monotonic() + PATIENCE
        while not true():
            assert monotonic() < deadline, f"it never happened: {what}"
            if not self.turn():
                self.turn(0.002)
            self.clock.advance(pass_time)

    def settle(self) -> None:
        """Turns until nothing has moved for a while."""
        quiet = 0
        while quiet < 3:
            quiet = 0 if self.turn(0.001 if quiet else 0.0) else quiet + 1

    def connect(self, kind: str = "t", *, host: str = "127.0.0.1", buffer: int = 0) -> SocketClient:
        """A client at `host`, WebSocket for w and else TCP, whose kernel has `buffer` bytes each way, if given."""
        client = SocketClient(self.ports[kind == "w"], host, buffer, websocket=kind == "w")
        self.clients.append(client)
        return client

    def joined(self, kinds: str = "tt", **options: Any) -> tuple[SocketClient, SocketClient]:
        """Two clients that are joined."""
        return self.joined_too("u1", kinds, **options)

    def joined_too(self, uuid: str, kinds: str = "tt", **options: Any) -> tuple[SocketClient, SocketClient]:
        """Two more clients that are joined by `uuid`."""
        first, second = (self.connect(kind, **options) for kind in kinds)
        sessions = len(self.relay.sessions)
        for client in (first, second):
            client.ask(uuid)
        self.until(
            lambda: len(self.relay.sessions) > sessions and not first.unsent and not second.unsent,
            "they are joined",
        )
        return first, second

    def forget(self, *clients: SocketClient) -> None:
        """Closes `clients`, which the test is done with."""
        for client in clients:
            client.reset()
            self.clients.remove(client)

    def check_nothing_left(self) -> None:
        """Every connection is over, and so is what belonged to it; only the listeners are watched."""
        self.until(lambda: self.admission.connections == 0 and not self.relay.sessions, "all connections are over")
        self.turn()
        assert len(self.pairing) == 0
        assert self.admission._by_host == {}
        assert self.pairing._by_host == {}
        assert self.clock.getDelayedCalls() == []
        assert self.reactor.getDelayedCalls() == []
        assert self.reactor.getWriters() == []
        assert len(self.reactor.getReaders()) == len(self.ports) + len(self.reactor._internalReaders)


@implementer(ILogObserver)
class _Failures:
    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        """See ILogObserver."""
        if "log_failure" in event:
            self.events.append(event)


@implementer(IUsageRecorder)
class _Recorder:
    def __init__(self, usages: list[SessionUsage]) -> None:
        self._usages = usages

    def ended(self, usage: SessionUsage) -> None:
        """See IUsageRecorder."""
        self._usages.append(usage)


class SocketClient:
    """A client on a socket of its own: what it is to send waits in `unsent`, what came is in `received`."""

    def __init__(self, port: int, host: str, buffer: int, *, websocket: bool) -> None:
        self.websocket = websocket
        self.reader = WsReader()
        self.received = bytearray()
        self.unsent = bytearray()
        self.moved = 0
        self.stalled = False
        self.ended = self.broken = self.closed = False
        """Whether the relay has finished sending, or cut, and whether this client has closed."""
        self.piece = 1 << 18
        """Bytes that are sent or read at once."""
        self._finishing = self._finished = False
        self.socket = socket.socket()
        if buffer:
            set_buffers(self.socket, buffer)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # its port stays free for listeners
        self.socket.bind((host, 0))
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if websocket:
            self.unsent += handshake()

    def ask(self, uuid: str, key: str = "", behind: bytes = b"") -> None:
        """The first message."""
        payload = request(uuid, key)
        self.send((client_frame(payload) if self.websocket else encode_frame(payload)) + behind)

    def say(self, payload: bytes) -> None:
        """A message, or a frame."""
        self.send(client_frame(payload, mask=bytes(4)) if self.websocket else encode_frame(payload))

    def send(self, data: bytes) -> None:
        """Sends, as far as the kernel takes it; the rest goes out in the turns that follow."""
        self.unsent += data
        self._push()

    def finish(self) -> None:
        """Ends the own direction once everything is sent."""
        self._finishing = True
        self._push()

    def close(self) -> None:
        """Closes both directions."""
        if not self.closed:
            self.closed = True
            self.socket.close()

    def reset(self) -> None:
        """Cuts the connection (RST)."""
        if not self.closed:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close()

    def work(self) -> None:
        """Sends one piece and reads one, as far as possible."""
        self._push()
        if not self.stalled:
            self.read()

    def _push(self) -> None:
        if self.closed or self._finished:
            return
        try:
            if self.unsent:
                sent = self.socket.send(memoryview(self.unsent)[: self.piece].tobytes())
                del self.unsent[:sent]
                self.moved += sent
            if self._finishing and not self.unsent:
                self._finished = True
                self.moved += 1
                self.socket.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            pass
        except OSError:
            self.broken = True

    def read(self) -> None:
        """Reads one piece, if there is one."""
        if self.closed or self.ended:
            return
        try:
            count = self.socket.recv_into(_READ, min(self.piece, len(_READ)))
        except BlockingIOError:
            return
        except OSError:
            self.broken = self.ended = True
            return
        self.moved += count or 1
        self.ended = not count
        self.received += memoryview(_READ)[:count]
        if self.websocket:
            self.reader.feed(bytes(memoryview(_READ)[:count]))

    def got(self, messages: list[bytes]) -> bool:
        """Whether exactly these messages have come, or as many bytes as their frames have."""
        if self.websocket:
            return self.reader.messages == messages
        return bytes(self.received) == b"".join(map(encode_frame, messages))


def set_buffers(sock: socket.socket, size: int) -> None:
    """Bounds what the kernel holds for `sock` each way; accepted sockets have what their listener has.

    Segments are those of an Ethernet: loopback's own are larger than the buffers, and stall them.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1448)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def open_pipes() -> set[int]:
    """The descriptors of pipes that this process has open."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the descriptor of the listing itself
            if os.readlink(f"/proc/self/fd/{name}").startswith("pipe:"):
                found.add(int(name))
    return found


def bytes_in(pipe: int) -> int:
    """How many bytes are in a pipe, told by either end."""
    (count,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))
    return int(count)
