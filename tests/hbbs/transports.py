"""The reactor and the transports of the tests: nothing leaves memory, and time moves when told to."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from rendezvous.datagram_port import DatagramPort
from rendezvous.hbbs.heartbeat import ANSWER
from rendezvous.hbbs.short_requests import ShortRequestPort
from rendezvous.stream_port import StreamPort
from rendezvous.wire.address import Address, compact, plain_host

_SOON = 0.005
"""Seconds within which a call counts as a part of what is happening now."""


class MemoryTransport(StringTransport):
    """One TCP connection. As with a real one, closing takes a turn of the reactor.

    While `stuck`, the client takes nothing, so that the connection closes only by force.
    """

    protocol: Protocol

    def __init__(self, reactor: TestReactor, peer: Any) -> None:
        super().__init__(peerAddress=peer, lenient=True)
        self._reactor = reactor
        self.stuck = False
        self.offset = self._tempDataLen = 0
        self.write_closed = False
        self.aborted = False
        self.lost = False

    @property
    def dataBuffer(self) -> bytes:
        """What the client has not taken, of which lingering asks."""
        return self.value() if self.stuck else b""

    def fileno(self) -> int:
        """As of a closed socket."""
        return -1

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing is delayed in memory."""

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Nothing is lost in memory."""

    def loseConnection(self) -> None:
        """Closes in a turn of the reactor, when everything is taken and no producer is left."""
        if not self.disconnecting:
            self.disconnecting = True
            self._reactor.callLater(0, self._close_if_done)

    def loseWriteConnection(self) -> None:
        """Sends the end of the stream, at which a client that takes it closes, too."""
        self.write_closed = True
        self._reactor.callLater(0, self._close_if_done)

    def abortConnection(self) -> None:
        """Closes in a turn of the reactor, whatever was not taken."""
        self.disconnecting = self.aborted = True
        self._reactor.callLater(0, self.lose)

    def unregisterProducer(self) -> None:
        """As with a real transport, also without a producer."""
        self.producer = None
        self.streaming = None
        if self.disconnecting:
            self._reactor.callLater(0, self._close_if_done)

    def _close_if_done(self) -> None:
        if not self.stuck and self.producer is None:
            self.lose()

    def lose(self) -> None:
        """The connection is gone."""
        if not self.lost:
            self.lost = self.disconnecting = True
            self.connected = False
            self.protocol.connectionLost(Failure(ConnectionDone()))

    def end_of_stream(self) -> None:
        """The client sends no more."""
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.readConnectionLost()
        else:
            self.lose()


class DatagramSocket:
    """The UDP socket of one address family, and its batches, in memory; `sent` is what left it."""

    def __init__(self, sent: list[tuple[bytes, Address]]) -> None:
        self._sent = sent
        self.received: list[tuple[bytes, tuple[Any, ...]]] = []

    def receive(self) -> list[tuple[bytes, bytes]]:
        """See DatagramBatch."""
        self._served, self.received = self.received, []
        return [(datagram, compact(Address(plain_host(source[0]), source[1]))) for datagram, source in self._served]

    def source(self, number: int) -> tuple[Any, ...]:
        """See DatagramBatch."""
        return self._served[number][1]

    def answer(self, start: int, stop: int) -> int:
        """See DatagramBatch."""
        for _, source in self._served[start:stop]:
            self.sendto(ANSWER, source)
        return 0

    def sendto(self, datagram: bytes, address: tuple[Any, ...]) -> None:
        """See socket."""
        self._sent.append((datagram, Address(*address[:2])))

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        """See socket; nothing is dropped in memory."""
        return bytes(size)

    def close(self) -> None:
        """See socket."""


class TestReactor(MemoryReactorClock):
    """A Clock that takes the listening sockets over, and remembers what listens."""

    __test__ = False

    def __init__(self) -> None:
        super().__init__()
        self.rightNow = 1000.0
        self.factories: dict[int, ServerFactory] = {}
        self.short_request_ports: dict[tuple[int, int], ShortRequestPort] = {}
        self.datagram_ports: dict[int, DatagramPort] = {}
        self.datagrams: list[tuple[bytes, Address]] = []

    def addReader(self, reader: Any) -> None:
        """Takes a port of ours: a UDP one gets its datagrams from memory, a TCP one leaves its factory."""
        if isinstance(reader, DatagramPort):
            self.datagram_ports[reader.socket.family] = reader
            reader.socket.close()
            reader.socket = reader._batch = DatagramSocket(self.datagrams)  # type: ignore[assignment]
        elif isinstance(reader, StreamPort):
            self.factories[reader.socket.getsockname()[1]] = reader._accepting
            if isinstance(reader, ShortRequestPort):
                self.short_request_ports[reader.socket.getsockname()[1], reader.socket.family] = reader
        super().addReader(reader)

    def receive(self, family: int, datagram: bytes, address: tuple[Any, ...]) -> None:
        """A datagram comes."""
        port = self.datagram_ports[family]
        port.socket.received.append((datagram, address))  # type: ignore[attr-defined]
        port.doRead()

    def run_for(self, seconds: float) -> None:
        """Lets time pass, every call at its own time."""
        end = self.rightNow + seconds
        self._run_until(end)
        self.rightNow = end

    def settle(self) -> None:
        """Runs what is about to happen; time stands still when there is nothing."""
        while calls := [call.getTime() for call in self.getDelayedCalls()]:
            if min(calls) > self.rightNow + _SOON:
                return
            self._run_until(min(calls))

    def _run_until(self, end: float) -> None:
        while calls := [call.getTime() for call in self.getDelayedCalls()]:
            if min(calls) > end:
                return
            self.rightNow = max(self.rightNow, min(calls))
            self.advance(0)
