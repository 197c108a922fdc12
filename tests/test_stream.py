"""A Stream: what protocols may rely on, with a real socket and a reactor that is driven by hand."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface import implementer

from rendezvous.stream import Stream

MUCH = bytes(8 << 20)
"""More than a socket takes at once."""


class Speaker(Protocol):
    """Notes what happens to it."""

    def __init__(self) -> None:
        self.received = b""
        self.ends: list[type[BaseException]] = []
        self.paused: list[bool] = []

    def dataReceived(self, data: bytes) -> None:
        """Notes."""
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Notes."""
        assert reason.type is not None
        self.ends.append(reason.type)

    def pauseProducing(self) -> None:
        """Notes."""
        self.paused.append(True)

    def resumeProducing(self) -> None:
        """Notes."""
        self.paused.append(False)


@implementer(IHalfCloseableProtocol)
class HalfCloser(Speaker):
    """One that goes on when the other end sends no more."""

    half_closed = 0

    def readConnectionLost(self) -> None:
        """Notes."""
        self.half_closed += 1

    def writeConnectionLost(self) -> None:
        """See IHalfCloseableProtocol."""


class Pair:
    """A stream, its protocol, and the socket at its other end."""

    def __init__(self, protocol: Speaker) -> None:
        self.reactor = MemoryReactorClock()
        self.far = socket.create_server(("127.0.0.1", 0))
        listening = self.far
        near = socket.create_connection(listening.getsockname())
        self.far, _ = listening.accept()
        listening.close()
        near.setblocking(False)
        self.near = near
        self.protocol = protocol
        self.stream = Stream(self.reactor, near, protocol)
        self.far.settimeout(5)

    def turn(self) -> None:
        """What the reactor does once everything that can happen has happened."""
        self.reactor.advance(0)
        if self.stream in self.reactor.getReaders():
            self.stream.doRead()
        if self.stream in self.reactor.getWriters():
            self.stream.doWrite()

    def watched(self) -> tuple[bool, bool]:
        """Whether the reactor reads it, and writes it."""
        return self.stream in self.reactor.getReaders(), self.stream in self.reactor.getWriters()

    def take(self, size: int) -> bytes:
        """So many bytes that arrive at the other end, while the reactor runs."""
        taken = b""
        while len(taken) < size:
            taken += self.far.recv(1 << 20)
            self.turn()
        return taken


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A stream that has begun."""
    pair = Pair(Speaker())
    pair.stream.begin(b"")
    yield pair
    pair.near.close()
    pair.far.close()


def test_what_came_before_comes_first() -> None:
    """Bytes that were read already are the protocol's first."""
    pair = Pair(Speaker())
    pair.far.sendall(b"later")
    pair.stream.begin(b"early ")
    pair.turn()
    assert pair.protocol.received == b"early later"
    pair.stream.abortConnection()
    pair.turn()
    pair.far.close()


def test_sends_at_once(pair: Pair) -> None:
    """What the network takes never waits for the reactor."""
    pair.stream.write(b"answer")
    assert pair.watched() == (True, False)
    assert pair.far.recv(100) == b"answer"


def test_what_the_network_does_not_take_is_sent_later(pair: Pair) -> None:
    """In order, and the producer rests meanwhile."""
    pair.stream.registerProducer(pair.protocol, True)
    pair.stream.write(MUCH)
    pair.stream.write(b"end")
    assert pair.watched() == (True, True)
    assert pair.protocol.paused[0] is True
    assert pair.take(len(MUCH) + 3) == MUCH + b"end"
    assert pair.watched() == (True, False)
    assert pair.protocol.paused[-1] is False


def test_closing_sends_what_was_written(pair: Pair) -> None:
    """loseConnection lets everything out first, reads no more, and tells the protocol once."""
    pair.stream.write(MUCH)
    pair.stream.loseConnection()
    assert pair.watched() == (False, True)
    assert pair.protocol.ends == []
    assert len(pair.take(len(MUCH))) == len(MUCH)
    pair.turn()
    assert pair.protocol.ends == [ConnectionDone]
    assert pair.watched() == (False, False)
    assert pair.near.fileno() == -1


def test_closing_tells_the_protocol_in_a_turn_of_its_own(pair: Pair) -> None:
    """The protocol is never told while it is running."""
    pair.stream.loseConnection()
    pair.stream.loseConnection()
    assert pair.protocol.ends == []
    pair.turn()
    pair.turn()
    assert pair.protocol.ends == [ConnectionDone]


def test_aborting_sends_nothing_more(pair: Pair) -> None:
    """abortConnection ends at once, also one that was closing."""
    pair.stream.write(MUCH)
    pair.stream.loseConnection()
    pair.stream.abortConnection()
    pair.turn()
    assert pair.protocol.ends == [ConnectionDone]
    pair.stream.write(b"void")
    assert pair.watched() == (False, False)


def test_the_other_end_closes(pair: Pair) -> None:
    """An end of stream is the end."""
    pair.far.sendall(b"last words")
    pair.far.close()
    pair.turn()
    pair.turn()
    assert (pair.protocol.received, pair.protocol.ends) == (b"last words", [ConnectionDone])


def test_the_other_end_resets(pair: Pair) -> None:
    """A reset is the end."""
    pair.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    pair.far.close()
    pair.turn()
    assert pair.protocol.ends == [ConnectionLost]


def test_writing_to_one_that_is_gone(pair: Pair) -> None:
    """Only the reactor's next turn tells that the other end is gone."""
    pair.stream.pauseProducing()
    pair.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    pair.far.close()
    pair.stream.write(b"void")
    pair.stream.write(b"void")
    assert pair.protocol.ends == []
    pair.turn()
    pair.turn()
    assert len(pair.protocol.ends) == 1


def test_half_closed() -> None:
    """A protocol that can goes on when the other end sends no more."""
    protocol = HalfCloser()
    pair = Pair(protocol)
    pair.stream.begin(b"")
    pair.far.shutdown(socket.SHUT_WR)
    pair.turn()
    assert (protocol.half_closed, protocol.ends) == (1, [])
    pair.stream.write(b"answer")
    pair.stream.loseConnection()
    pair.turn()
    assert pair.far.recv(100) == b"answer"
    assert pair.far.recv(100) == b""
    assert protocol.ends == [ConnectionDone]
    pair.far.close()


def test_not_read_while_paused(pair: Pair) -> None:
    """What comes stays in the network until it is wanted."""
    pair.stream.pauseProducing()
    pair.far.sendall(b"later")
    pair.turn()
    assert pair.protocol.received == b""
    pair.stream.resumeProducing()
    pair.turn()
    assert pair.protocol.received == b"later"
