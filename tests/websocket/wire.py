"""A client that writes bytes by hand, from RFC 6455, on a real TCP connection; and how its bytes are cut."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from twisted.internet import error
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from tests.hbbr.ws_wire import CLOSE, PING, PONG, WsReader, client_frame, close_frame

reactor: Any = _reactor
TIMEOUT = 20.0
"""Seconds after which something that has not happened fails the test."""
GOODBYE = b"the client has nothing more to say"

Frame = tuple[int, bytes]
"""An opcode and a payload; whole messages only."""


class Changes:
    """Wakes those who wait for something to become true whenever something has happened."""

    def __init__(self) -> None:
        self._waiting: list[Deferred[None]] = []

    def happened(self) -> None:
        """Lets everybody look again."""
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(None)

    async def until(self, true: Callable[[], bool], what: str) -> None:
        """Waits for a condition."""
        late = reactor.callLater(TIMEOUT, self.happened)
        try:
            while not true():
                assert late.active(), f"it never happened: {what}"
                deferred: Deferred[None] = Deferred()
                self._waiting.append(deferred)
                await deferred
        finally:
            if late.active():
                late.cancel()


class RawClient(Protocol):
    """Sends what it is given, keeps what comes back, and closes when the server does."""

    wire: Any
    port: int

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self.reader = WsReader()
        self.received = bytearray()
        self.lost = False
        self.clean = False
        """Whether the server ended the connection in order (FIN), and did not reset it."""

    def connectionMade(self) -> None:
        """See IProtocol."""
        self.wire = self.transport
        self.wire.setTcpNoDelay(True)
        self.port = self.wire.getHost().port

    def dataReceived(self, data: bytes) -> None:
        """See IProtocol."""
        self.received += data
        self.reader.feed(data)
        self._changes.happened()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See IProtocol."""
        self.lost = True
        self.clean = reason.check(error.ConnectionDone) is not None
        self._changes.happened()

    @property
    def frames(self) -> list[Frame]:
        """What came, close frames included; every frame must be final and without reserved bits."""
        assert all(frame.first & 0xF0 == 0x80 for frame in self.reader.frames)
        return [(frame.opcode, frame.payload) for frame in self.reader.frames]

    async def until(self, true: Callable[[], bool], what: str) -> None:
        """Waits for a condition."""
        await self._changes.until(true, what)

    async def until_lost(self) -> None:
        """Waits for the end of the connection."""
        await self.until(lambda: self.lost, "the connection ends")


FAREWELL = client_frame(GOODBYE, PING) + close_frame(1000)
ANSWER_TO_FAREWELL: list[Frame] = [(PONG, GOODBYE), (CLOSE, (1000).to_bytes(2, "big"))]
"""What a client sends that has nothing more to say, and what a connection that is still well answers."""

WHOLE, OCTETS, PIECES = "whole", "octets", "pieces"
WAYS = [WHOLE, OCTETS, PIECES]
MOST_OCTETS = 700
"""Longer data is not sent by single octets, which would take seconds."""


def chop(data: bytes, way: str) -> list[bytes]:
    """`data` whole, by single octets, or in pieces whose lengths grow: 1, 2, 3, 5, 8 and so on."""
    if way == WHOLE:
        return [data]
    if way == OCTETS and len(data) <= MOST_OCTETS:
        return [data[at : at + 1] for at in range(len(data))]
    if way == OCTETS:
        return [data[at : at + 997] for at in range(0, len(data), 997)]
    pieces, at, sizes = [], 0, [1, 2]
    for number in count():
        if at >= len(data):
            break
        pieces.append(data[at : at + sizes[number]])
        at += sizes[number]
        sizes.append(sizes[-1] + sizes[-2])
    return pieces
