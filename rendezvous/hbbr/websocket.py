"""Relay WebSocket port Q+2: a first message, then messages (docs/protocol.md, "Relay")."""

from rendezvous.accepting import AcceptPolicy
from rendezvous.admission import Refused
from rendezvous.hbbr.joining import EARLY_BYTES, LONGEST_REQUEST, Joining
from rendezvous.hbbr.relay import PLACE, Relay
from rendezvous.hbbr.session import Flow, Session
from rendezvous.lingering import unsent_bytes
from rendezvous.tls import Certificates
from rendezvous.websocket import WebSocket, WebSocketFactory
from rendezvous.wire.address import Address

_EACH = 64
"""Bytes that an early message costs besides its own."""


def relay_websocket_factory(
    policy: AcceptPolicy, relay: Relay, max_message: int, certificates: Certificates | None = None
) -> WebSocketFactory:
    """Accepts sides on Q+2, with TLS or without."""
    return WebSocketFactory(
        policy,
        PLACE,
        LONGEST_REQUEST,
        lambda websocket, source: MessageSide(websocket, relay, source, max_message),
        certificates,
    )


class MessageSide:
    """A session's side over WebSocket."""

    stream = False

    def __init__(self, websocket: WebSocket, relay: Relay, source: Address, max_message: int) -> None:
        self._websocket = websocket
        self._max_message = max_message
        self._early: list[bytes] = []
        self._early_bytes = 0
        self._session: Session | None = None
        self._joining = Joining(relay, self, websocket.refuse)
        self._relay = relay
        self._kept = relay.unfinished.of(source.host)
        self.source = source

    # MessageReceiver -------------------------------------------------------------------------------

    def heard(self) -> None:
        """See MessageReceiver."""
        if self._session is not None:
            self._session.heard()

    def keeps(self, count: int) -> None:
        """Of the first message and early ones little is kept, and not counted."""
        if self._session is None:
            return
        try:
            self._kept.set(count)
        except Refused as refused:
            self._relay.drop(str(refused))
            self._session.end("too much unfinished")

    def message_received(self, payload: bytes) -> None:
        """The first message, an early one, or what the other side is to get."""
        if self._session is not None:
            self._session.received(self, payload)
        elif not self._joining.asked:
            self._joining.first_frame(payload)
        else:
            self._early.append(payload)
            self._early_bytes += len(payload) + _EACH
            if self._early_bytes > EARLY_BYTES:
                self.pause()

    def closed(self) -> None:
        """The side is gone."""
        self._kept.set(0)
        if self._session is not None:
            session, self._session = self._session, None
            session.lost(self)
        else:
            self._joining.lost()

    def may_be_silent(self) -> bool:
        """A side that waits for the other one has its own time, and may not read meanwhile."""
        return self._session is None

    # Side ------------------------------------------------------------------------------------------

    def join(self, session: Session, *, framed: bool) -> None:
        """See Side."""
        self._joining.joined()
        del self._joining
        self._session = session
        self._websocket.set_max_message(self._max_message)

    def begin(self) -> None:
        """See Side."""
        early, self._early = self._early, []
        for payload in early:
            if self._session is not None:
                self._session.received(self, payload)

    def deliver(self, data: bytes) -> None:
        """See Side."""
        self._websocket.send_message(data)

    def finish(self) -> None:
        """See Side; a WebSocket has no half-close, so this ends the session."""
        if self._session is not None:
            self._session.end("finished")

    def end(self) -> None:
        """See Side."""
        self._websocket.close()

    def cut(self) -> None:
        """See Side."""
        self._websocket.abort()

    def feed_from(self, producer: Flow) -> None:
        """See Side."""
        self._websocket.feed_from(producer)

    def unsent(self) -> int:
        """See Side."""
        return unsent_bytes(self._websocket.transport)

    def pause(self) -> None:
        """See Side."""
        self._websocket.pause()

    def resume(self) -> None:
        """See Side."""
        self._websocket.resume()
