"""An echo application on the shared WebSocket layer: a real port of loopback, and time that the test drives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from rendezvous.accepting import AcceptPolicy, Proxies
from rendezvous.admission import Admission
from rendezvous.metrics import Drops
from rendezvous.websocket import WebSocket, WebSocketFactory
from rendezvous.wire.address import Address
from tests.hbbr.echo_fixture import Echo
from tests.hbbr.ws_wire import handshake
from tests.websocket.wire import TIMEOUT, Changes, RawClient, reactor

HEADER_TIMEOUT = 30.0
MAX_MESSAGE = 1 << 20


class CountedWebSocket(WebSocket):
    """Tells how many bytes came, and in which pieces."""

    changes: Changes

    def __init__(self, factory: WebSocketFactory, source: Address) -> None:
        super().__init__(factory, source)
        self.pieces: list[int] = []
        self.lost = False

    def dataReceived(self, data: bytes) -> None:
        """See IProtocol."""
        self.pieces.append(len(data))
        super().dataReceived(data)
        self.changes.happened()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See IProtocol."""
        super().connectionLost(reason)
        self.lost = True
        self.changes.happened()


class EchoFactory(WebSocketFactory):
    """Keeps the connections by the port of their client."""

    changes: Changes
    connections: dict[int, CountedWebSocket]

    def accepted(self, source: Address) -> Protocol:
        """See AcceptingFactory."""
        connection = CountedWebSocket(self, source)
        connection.changes = self.changes
        self.connections[source.port] = connection
        return connection


class EchoPort:
    """Listens while it is entered; at the end everything must be over, and told once."""

    def __init__(self, *, max_message: int = MAX_MESSAGE, origins: Sequence[str] = ()) -> None:
        self.clock = Clock()
        self.changes = Changes()
        self.drops = Drops()
        self.admission = Admission(1000, 1000)
        self.echoes: list[Echo] = []
        self.clients: list[RawClient] = []
        policy = AcceptPolicy(self.admission, (), Proxies(), self.drops, self.clock, HEADER_TIMEOUT, tuple(origins))
        self.factory = EchoFactory(policy, "echo", max_message, self._receiver)
        self.factory.changes = self.changes
        self.factory.connections = {}

    def _receiver(self, websocket: WebSocket, source: Address) -> Echo:
        self.echoes.append(Echo(websocket))
        return self.echoes[-1]

    async def __aenter__(self) -> EchoPort:
        self._port: Any = reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        return self

    async def __aexit__(self, *exception: object) -> None:
        for client in self.clients:
            client.wire.abortConnection()
        connections = self.factory.connections.values()
        await self.changes.until(lambda: all(c.lost for c in connections), "the server lets go of its clients")
        await self.changes.until(lambda: all(c.lost for c in self.clients), "the clients are gone")
        await self._port.stopListening()
        if exception[0] is None:
            assert self.admission.connections == 0
            assert [echo.times_closed for echo in self.echoes] == [1] * len(self.echoes)
            assert self.clock.getDelayedCalls() == []

    async def connect(self) -> RawClient:
        """A client that has sent nothing."""
        client = RawClient(self.changes)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self._port.getHost().port, timeout=TIMEOUT)
        await connectProtocol(endpoint, client)
        self.clients.append(client)
        await self.changes.until(lambda: client.port in self.factory.connections, "the server accepts")
        return client

    async def open(self) -> RawClient:
        """A client whose handshake is done."""
        client = await self.connect()
        client.wire.write(handshake())
        await client.until(lambda: client.reader.status == 101, "the handshake is done")
        return client

    async def send(self, client: RawClient, pieces: Iterable[bytes]) -> None:
        """Sends each piece when the server has read the one before; stops when the connection is over."""
        server = self.connection(client)
        sent = sum(server.pieces)
        for piece in pieces:
            if client.lost or server.lost:
                return
            client.wire.write(piece)
            sent += len(piece)
            await self.changes.until(
                lambda sent=sent: client.lost or server.lost or sum(server.pieces) >= sent,  # type: ignore[misc]
                "the server reads",
            )

    def connection(self, client: RawClient) -> CountedWebSocket:
        """The server's end of a client's connection."""
        return self.factory.connections[client.port]

    @property
    def dropped(self) -> dict[str, int]:
        """What was refused, by reason."""
        return {reason: number for (_, reason), number in self.drops.counts.items()}
