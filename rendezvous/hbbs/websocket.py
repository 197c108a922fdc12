"""WebSocket port P+2: messages to and from a Connection. Never sealed."""

from collections.abc import Sequence

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from rendezvous.accepting import AcceptPolicy
from rendezvous.admission import Refused
from rendezvous.hbbs.connection import Connection, Conversations
from rendezvous.hbbs.request import Transport
from rendezvous.tls import Certificates
from rendezvous.websocket import WebSocket, WebSocketFactory
from rendezvous.wire.address import Address


def websocket_factory(
    policy: AcceptPolicy, shared: Conversations, max_message: int, certificates: Certificates | None = None
) -> WebSocketFactory:
    """Accepts clients on P+2, with TLS or without."""
    return WebSocketFactory(
        policy,
        Transport.WEBSOCKET.value,
        max_message,
        lambda websocket, source: MessageConversation(websocket, shared, source),
        certificates,
    )


@implementer(IPushProducer)
class MessageConversation:
    """A Connection's link over WebSocket."""

    sealed = False

    def __init__(self, websocket: WebSocket, shared: Conversations, source: Address) -> None:
        self._websocket = websocket
        self._closing = False
        self._connection = Connection(shared, self, source, Transport.WEBSOCKET)
        websocket.feed_from(self)

    # MessageReceiver -------------------------------------------------------------------------------

    def heard(self) -> None:
        """Only whole messages count here."""

    def keeps(self, count: int) -> None:
        """Little: a message has at most `max-frame` bytes."""

    def message_received(self, payload: bytes) -> None:
        """Passes it on."""
        self._connection.received(payload)

    def closed(self) -> None:
        """The conversation is over."""
        self._closing = True
        self._connection.connection_lost()

    def may_be_silent(self) -> bool:
        """No: a client that is alive answers pings."""
        return False

    @property
    def clogged(self) -> bool:
        """See Link."""
        return self._websocket.clogged

    # Link ------------------------------------------------------------------------------------------

    def send_payload(self, payload: bytes) -> None:
        """Sends one binary message."""
        if not self._closing:
            self._websocket.send_message(payload)

    def close(self) -> None:
        """Closes after what was sent."""
        self._closing = True
        self._websocket.close()

    def abort(self) -> None:
        """Closes at once."""
        self._websocket.abort()

    def secure(self, keys: Sequence[bytes]) -> None:
        """There is no key exchange over WebSocket."""
        raise Refused("unexpected_key_exchange")

    # Producer: a client that does not read its answers is not read from either -----------------------

    def pauseProducing(self) -> None:
        """The client is slow to take what it is sent."""
        self._websocket.pause()

    def resumeProducing(self) -> None:
        """The client has caught up."""
        self._websocket.resume()

    def stopProducing(self) -> None:
        """The connection is going; closed() follows."""
