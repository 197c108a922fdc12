"""WebSocket port P+2: messages to and from a Connection. Never sealed."""

from collections.abc import Sequence

from twisted.internet.interfaces import IAddress, IPushProducer
from twisted.internet.protocol import Protocol, ServerFactory
from zope.interface import implementer

from rendezvous.admission import Admission, Refused, source_of
from rendezvous.hbbs.connection import Connection, Conversations
from rendezvous.hbbs.request import Transport
from rendezvous.websocket import WebSocket
from rendezvous.wire.address import Address


class WebSocketFactory(ServerFactory):
    """Accepts clients on P+2."""

    noisy = False

    def __init__(self, shared: Conversations, admission: Admission, max_message: int) -> None:
        self._shared = shared
        self._admission = admission
        self._max_message = max_message

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """A conversation, or nothing when there are too many connections."""
        source = source_of(addr)
        try:
            self._admission.admit(source.host)
        except Refused as refused:
            self._refuse(str(refused))
            return None
        websocket = WebSocket(self._max_message, lambda: self._refuse("malformed_websocket"))
        websocket.receiver = MessageConversation(websocket, self._shared, self._admission, source)
        return websocket

    def _refuse(self, reason: str) -> None:
        self._shared.drops.count(Transport.WEBSOCKET.value, reason)


@implementer(IPushProducer)
class MessageConversation:
    """A Connection's link over WebSocket."""

    def __init__(self, websocket: WebSocket, shared: Conversations, admission: Admission, source: Address) -> None:
        self._websocket = websocket
        self._admission = admission
        self._source = source
        self._closing = False
        self._connection = Connection(shared, self, source, Transport.WEBSOCKET)
        self.clogged = False

    # MessageReceiver -------------------------------------------------------------------------------

    def opened(self) -> None:
        """Notices from now on when the client takes nothing."""
        self._websocket.transport.registerProducer(self, True)

    def message_received(self, payload: bytes) -> None:
        """Passes it on."""
        self._connection.received(payload)

    def closed(self) -> None:
        """The conversation is over."""
        self._closing = True
        self._admission.release(self._source.host)
        self._connection.connection_lost()

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
        self._websocket.transport.abortConnection()

    def secure(self, keys: Sequence[bytes]) -> None:
        """There is no key exchange over WebSocket."""
        raise Refused("unexpected_key_exchange")

    # Producer: a client that does not read its answers is not read from either -----------------------

    def pauseProducing(self) -> None:
        """The client is slow to take what it is sent."""
        self.clogged = True
        self._websocket.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """The client has caught up."""
        self.clogged = False
        self._websocket.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The connection is going; closed() follows."""
