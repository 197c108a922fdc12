"""An echo application on the WebSocket layer, on a driven clock; the one place where tests build it."""

from __future__ import annotations

from rendezvous.accepting import AcceptPolicy, Proxies
from rendezvous.admission import Admission
from rendezvous.metrics import Drops
from rendezvous.websocket import WebSocket, WebSocketFactory
from rendezvous.wire.address import Address
from tests.hbbr.memory import MemoryReactor
from tests.hbbr.relay_fixture import WsEnd
from tests.hbbr.ws_wire import handshake


class Echo:
    """Sends back every message, and keeps them."""

    def __init__(self, websocket: WebSocket) -> None:
        self.websocket = websocket
        self.messages: list[bytes] = []
        self.times_closed = 0
        self.patient = False
        self.failure: Exception | None = None

    def heard(self) -> None:
        """See MessageReceiver."""

    def keeps(self, count: int) -> None:
        """See MessageReceiver."""

    def message_received(self, payload: bytes) -> None:
        """See MessageReceiver."""
        if self.failure is not None:
            raise self.failure
        self.messages.append(payload)
        self.websocket.send_message(payload)

    def closed(self) -> None:
        """See MessageReceiver."""
        self.times_closed += 1

    def may_be_silent(self) -> bool:
        """See MessageReceiver."""
        return self.patient


class EchoServer:
    """Accepts WebSocket clients."""

    def __init__(self, max_message: int = 1 << 20, proxies: Proxies | None = None) -> None:
        self.reactor = MemoryReactor()
        self.drops = Drops()
        self.admission = Admission(100, 100)
        self.echoes: list[Echo] = []
        self.sources: list[Address] = []
        policy = AcceptPolicy(self.admission, (), proxies or Proxies(), self.drops, self.reactor, 30.0)
        self.factory = WebSocketFactory(policy, "echo", max_message, self._receiver)

    def _receiver(self, websocket: WebSocket, source: Address) -> Echo:
        self.echoes.append(Echo(websocket))
        self.sources.append(source)
        return self.echoes[-1]

    def connect(self, *sent: bytes, window: int = 1 << 24) -> WsEnd:
        """A client that sends `sent`, a piece at a time, and takes what comes back."""
        client = WsEnd(self.reactor.connect(self.factory, "192.0.2.1", window).connection)
        self.send(client, *sent)
        return client

    def open(self, *sent: bytes) -> WsEnd:
        """A client with its handshake done, that sends `sent` then."""
        client = self.connect(handshake())
        assert client.reader.status == 101
        self.send(client, *sent)
        return client

    def send(self, client: WsEnd, *sent: bytes) -> None:
        """Sends each piece by itself, and takes what comes back."""
        for piece in sent:
            client.send(piece)
            self.reactor.settle()
        while client.take():
            self.reactor.settle()
        if client.ended and not client.closed:
            client.finish()
            self.reactor.settle()

    @property
    def dropped(self) -> int:
        """How many connections were counted as refused or malformed."""
        return sum(self.drops.counts.values())
