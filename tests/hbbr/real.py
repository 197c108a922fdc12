"""A relay on real loopback sockets, and clients on the same reactor."""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

from pytest_twisted import ensureDeferred  # type: ignore[import-untyped]
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from rendezvous.hbbr.splice import splicer
from rendezvous.sockets import PortService, listen_tcp
from rendezvous.stream_port import StreamPort
from rendezvous.wire.framing import encode_frame
from tests.hbbr.relay_fixture import RelayParts, request
from tests.hbbr.ws_wire import WsReader, client_frame, handshake

P = ParamSpec("P")

reactor: Any = _reactor
TIMEOUT = 20.0
"""Seconds after which a condition that has not come true fails the test."""


def on_reactor(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, Any]:
    """An asynchronous test, run by the reactor."""
    decorated: Callable[P, Any] = ensureDeferred(test)
    return decorated


async def until(true: Callable[[], bool], what: str) -> None:
    """Waits for a condition."""
    deadline = reactor.seconds() + TIMEOUT
    while not true():
        assert reactor.seconds() < deadline, f"it never happened: {what}"
        await deferLater(reactor, 0.005)


async def until_still(value: Callable[[], int]) -> int:
    """Waits until a number that only grows has not grown for a while; returns it."""
    before, since = value(), reactor.seconds()
    while reactor.seconds() - since < 0.3:
        await deferLater(reactor, 0.01)
        if value() != before:
            before, since = value(), reactor.seconds()
    return before


class RealRelay(RelayParts):
    """A relay that listens on loopback while it is entered; with an s in `kinds` it has its fast path."""

    def __init__(self, kinds: str = "") -> None:
        super().__init__(reactor, splice=splicer(reactor) if "s" in kinds else None)

    async def __aenter__(self) -> RealRelay:
        self.clients: list[RealClient] = []
        self._listeners: list[PortService] = []
        self.ports: list[int] = []
        for factory in (self.tcp, self.websocket):
            sockets = listen_tcp("127.0.0.1", 0, "port")
            self.ports.append(sockets[0].getsockname()[1])
            self._listeners.append(PortService([StreamPort(reactor, sock, factory) for sock in sockets]))
            self._listeners[-1].startService()
        return self

    async def __aexit__(self, *exception: object) -> None:
        for client in self.clients:
            client.abort()
        await until(lambda: all(client.lost for client in self.clients), "clients are gone")
        await until(lambda: self.admission.connections == 0, "the relay has let go of its clients")
        self.relay.end_all()
        for listener in self._listeners:
            listener.stopService()
        for call in reactor.getDelayedCalls():
            if "abortConnection" in str(call):
                call.reset(0)
        await deferLater(reactor, 0.01)

    async def connect(self, kind: str, *, buffer: int = 0) -> RealClient:
        """A client, WebSocket for w and else TCP; `buffer` bounds what its kernel takes in."""
        client = RealClient(websocket=kind == "w")
        self.clients.append(client)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.ports[kind == "w"], timeout=TIMEOUT)
        await connectProtocol(endpoint, client)
        if buffer:
            handle: socket.socket = client.wire.getHandle()
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        if kind == "w":
            client.wire.write(handshake())
            await until(lambda: client.reader.status == 101, "the handshake is done")
        return client

    async def joined(self, kinds: str, **options: Any) -> tuple[RealClient, RealClient]:
        """Two clients that are joined."""
        first, second = await self.connect(kinds[0], **options), await self.connect(kinds[1], **options)
        for client in (first, second):
            client.ask("u1")
        await until(lambda: len(self.relay.sessions) == 1, "the two are joined")
        return first, second


@implementer(IHalfCloseableProtocol)
class RealClient(Protocol):
    """A client that keeps what it gets."""

    def __init__(self, *, websocket: bool) -> None:
        self.websocket = websocket
        self.reader = WsReader()
        self.received = bytearray()
        self.finished = False
        self.lost = False
        self.sent = 0

    def connectionMade(self) -> None:
        """See IProtocol."""
        self.wire: Any = self.transport

    def dataReceived(self, data: bytes) -> None:
        """See IProtocol."""
        if self.websocket:
            self.reader.feed(data)
        else:
            self.received += data

    def readConnectionLost(self) -> None:
        """See IHalfCloseableProtocol."""
        self.finished = True
        if self.websocket:
            self.wire.loseConnection()

    def writeConnectionLost(self) -> None:
        """See IHalfCloseableProtocol."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See IProtocol."""
        self.finished = self.lost = True

    def ask(self, uuid: str, behind: bytes = b"") -> None:
        """The first message."""
        self.wire.write((client_frame(request(uuid)) if self.websocket else encode_frame(request(uuid))) + behind)

    def say(self, payload: bytes) -> None:
        """A message, or a frame."""
        self.wire.write(client_frame(payload, mask=bytes(4)) if self.websocket else encode_frame(payload))

    def abort(self) -> None:
        """Cuts the connection (RST)."""
        self.wire.abortConnection()

    def got(self, messages: list[bytes]) -> bool:
        """Whether exactly these messages have come, or as many bytes as their frames have."""
        if self.websocket:
            return self.reader.messages == messages
        return bytes(self.received) == b"".join(map(encode_frame, messages))

    def pour(self, piece: bytes, most: int) -> Deferred[None]:
        """Sends `piece` over and over, as the kernel takes it, up to `most` bytes; `sent` counts."""
        done: Deferred[None] = Deferred()
        self.wire.registerProducer(_Pump(self, piece, most, done), False)
        return done


class _Pump:
    """A pull producer: asked whenever the transport's buffer is empty."""

    def __init__(self, client: RealClient, piece: bytes, most: int, done: Deferred[None]) -> None:
        self._client = client
        self._piece = piece
        self._most = most
        self._done = done

    def resumeProducing(self) -> None:
        """See IPullProducer."""
        if self._client.sent >= self._most:
            self._client.wire.unregisterProducer()
            self._done.callback(None)
            return
        self._client.sent += len(self._piece)
        self._client.wire.write(self._piece)

    def stopProducing(self) -> None:
        """See IPullProducer."""
