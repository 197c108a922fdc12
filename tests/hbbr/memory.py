"""TCP in memory: Twisted's own transport logic over kernel buffers that a test fills and drains.

A `MemoryConnection` is the server's end; `FarEnd` is the client's. Events happen only in `MemoryReactor.settle`
and `advance`, so a test decides about every interleaving.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from twisted.internet import error, main
from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHalfCloseableProtocol, ITCPTransport
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from rendezvous.accepting import source_of
from rendezvous.wire.address import Address

_READ = 65536
Peer = IPv4Address | IPv6Address

_RESET = object()
_FIN = object()


class MemoryReactor(Clock):
    """A driven clock, and the readiness events of the connections made on it."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[MemoryConnection] = set()
        self.writers: set[MemoryConnection] = set()
        self._numbers = 0

    def addReader(self, connection: MemoryConnection) -> None:
        """See IReactorFDSet."""
        self.readers.add(connection)

    def removeReader(self, connection: MemoryConnection) -> None:
        """See IReactorFDSet."""
        self.readers.discard(connection)

    def addWriter(self, connection: MemoryConnection) -> None:
        """See IReactorFDSet."""
        self.writers.add(connection)

    def removeWriter(self, connection: MemoryConnection) -> None:
        """See IReactorFDSet."""
        self.writers.discard(connection)

    def connect(self, factory: ServerFactory, host: str, window: int) -> FarEnd:
        """A client at `host` connects; the relay's kernel holds at most `window` bytes for it."""
        self._numbers += 1
        kind = IPv6Address if ":" in host else IPv4Address
        peer = kind("TCP", host, 20000 + self._numbers % 40000)
        protocol: Any = factory.buildProtocol(peer)
        connection = MemoryConnection(self, protocol, peer, window, self._numbers)
        if protocol is None:
            connection.connectionLost(Failure(error.ConnectionDone()))
        else:
            connection.startReading()
            protocol.makeConnection(connection)
        return FarEnd(connection)

    def settle(self) -> None:
        """Lets everything happen that can happen without time passing."""
        while self.step():
            pass

    def step(self) -> bool:
        """One round of events, in the order of connecting; False when nothing could happen."""
        before = self._progress()
        for connection in sorted(self.readers | self.writers, key=lambda c: c.number):
            if connection in self.writers:
                connection.handle(connection.doWrite(), reading=False)
            if connection in self.readers:
                connection.handle(connection.doRead(), reading=True)
        super().advance(0)
        return before != self._progress()

    def _progress(self) -> tuple[object, ...]:
        active = [(c.number, c.moved, bool(c.disconnected)) for c in self.readers | self.writers]
        return sorted(active), len(self.readers), len(self.writers), len(self.getDelayedCalls())

    def advance(self, seconds: float, step: float = 0.25) -> None:
        """Time passes, in steps of at most `step` that stop at every timer, with all events in between."""
        self.settle()
        end = self.seconds() + seconds
        while (left := end - self.seconds()) > 1e-9:
            timers = self.getDelayedCalls()
            due = max(min(call.getTime() for call in timers) - self.seconds(), 1e-6) if timers else left
            super().advance(min(left, step, due))
            self.settle()


class _NoSocket:
    def fileno(self) -> int:
        """As of a closed socket."""
        return -1


@implementer(ITCPTransport)
class MemoryConnection(FileDescriptor):
    """The server's end of a connection: Twisted's buffers and producers over two bounded kernel buffers."""

    def __init__(
        self, reactor: MemoryReactor, protocol: Protocol | None, peer: Peer, window: int, number: int
    ) -> None:
        super().__init__(reactor)  # type: ignore[arg-type]
        self.connected = 1
        self.clock = reactor
        self.protocol = protocol
        self.number = number
        self.window = window
        self.inbound: deque[Any] = deque()
        self.outbound = bytearray()
        self.coalesces = False
        self.moved = 0
        self.read = 0
        self.written = 0
        self.accepted = 0
        self.fin_sent = False
        self.reset = False
        self.aborted = False
        self._peer = peer

    def doRead(self) -> Exception | None:
        """Reads one piece that the client has sent, or, when it `coalesces`, all that fit into 64 KiB."""
        if not self.inbound or self.protocol is None:
            return None
        if self.inbound[0] is _RESET:
            return main.CONNECTION_LOST
        if self.inbound[0] is _FIN:
            return main.CONNECTION_DONE
        data: bytes = self.inbound.popleft()
        while self.coalesces and self.inbound and isinstance(self.inbound[0], bytes):
            if len(data) + len(self.inbound[0]) > _READ:
                break
            data += self.inbound.popleft()
        self.moved += len(data)
        self.read += len(data)
        self.protocol.dataReceived(data)
        return None

    def write(self, data: bytes) -> None:
        """See ITransport."""
        if self.connected and not self._writeDisconnected:
            self.written += len(data)
        super().write(data)

    def writeSequence(self, data: Any) -> None:
        """See ITransport."""
        parts = list(data)
        if self.connected and not self._writeDisconnected:
            self.written += sum(map(len, parts))
        super().writeSequence(parts)

    def writeSomeData(self, data: Any) -> int | Exception:
        """Hands bytes to the kernel as far as it has room."""
        if self.reset:
            return main.CONNECTION_LOST
        taken = bytes(data[: max(0, self.window - len(self.outbound))])
        self.outbound += taken
        self.moved += len(taken)
        self.accepted += len(taken)
        return len(taken)

    def handle(self, why: Exception | int | None, *, reading: bool) -> None:
        """What a reactor does with the result of doRead or doWrite."""
        if why is None:
            return
        self.reactor.removeReader(self)
        self.moved += 1
        if reading and isinstance(why, error.ConnectionDone):
            self.readConnectionLost(Failure(why))
        else:
            self.connectionLost(Failure(why))

    def readConnectionLost(self, reason: Failure) -> None:
        """See IHalfCloseableDescriptor."""
        half = IHalfCloseableProtocol(self.protocol, None)
        if half is not None:
            half.readConnectionLost()
        else:
            self.connectionLost(reason)

    def _closeWriteConnection(self) -> None:
        self.fin_sent = True
        half = IHalfCloseableProtocol(self.protocol, None)
        if half is not None:
            half.writeConnectionLost()

    def connectionLost(self, reason: Failure) -> None:
        """The end of the connection, told to the protocol once."""
        if self.disconnected:
            raise AssertionError("connectionLost was called twice")
        super().connectionLost(reason)
        self.fin_sent = True
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connectionLost(reason)

    def abortConnection(self) -> None:
        """See ITCPTransport."""
        if self.disconnected or self.aborted:
            return
        self.aborted = True
        self.stopReading()
        self.stopWriting()
        self.outbound.clear()
        self.clock.callLater(0, self.connectionLost, Failure(error.ConnectionAborted()))

    def loseConnection(self, *arguments: Any) -> None:
        """See ITransport."""
        super().loseConnection()

    def getHandle(self) -> Any:
        """See ISystemHandle: no socket of the kernel's."""
        return _NoSocket()

    def getPeer(self) -> Peer:
        """See ITransport."""
        return self._peer

    def getHost(self) -> Peer:
        """See ITransport."""
        return IPv4Address("TCP", "192.0.2.100", 21117)

    def setTcpNoDelay(self, enabled: bool) -> None:
        """See ITCPTransport."""

    def getTcpNoDelay(self) -> bool:
        """See ITCPTransport."""
        return True

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """See ITCPTransport."""

    def getTcpKeepAlive(self) -> bool:
        """See ITCPTransport."""
        return True


class FarEnd:
    """The client's end of a connection in memory."""

    def __init__(self, connection: MemoryConnection) -> None:
        self.connection = connection
        self.received = bytearray()

    def send(self, data: bytes) -> None:
        """Sends; the relay reads it as one piece, or in pieces of 64 KiB."""
        for start in range(0, len(data), _READ):
            self.connection.inbound.append(data[start : start + _READ])

    def finish(self) -> None:
        """Ends the own direction (FIN)."""
        self.connection.inbound.append(_FIN)

    def reset(self) -> None:
        """Cuts the connection (RST); what the relay has not read yet is lost."""
        self.connection.inbound.clear()
        self.connection.inbound.append(_RESET)
        self.connection.reset = True

    def take(self, most: int | None = None) -> bytes:
        """Reads what is there, at most `most` bytes, and keeps a copy in `received`."""
        data = bytes(self.connection.outbound[:most])
        del self.connection.outbound[: len(data)]
        self.connection.moved += len(data)
        self.received += data
        return data

    @property
    def ended(self) -> bool:
        """Whether the relay sends no more, and everything it sent has been read."""
        return self.connection.fin_sent and not self.connection.outbound

    @property
    def source(self) -> Address:
        """The client's address."""
        return source_of(self.connection.getPeer())

    @property
    def closed(self) -> bool:
        """Whether the relay has let go of the connection."""
        return bool(self.connection.disconnected)

    @property
    def unread(self) -> int:
        """Bytes that wait for the relay to read them."""
        return sum(len(piece) for piece in self.connection.inbound if isinstance(piece, bytes))

    @property
    def held(self) -> int:
        """Bytes for this client that the relay's process holds."""
        return 0 if self.closed else self.connection.written - self.connection.accepted
