"""Relay WebSocket port Q+2: a first message, then messages (docs/protocol.md, "Relay")."""

from twisted.internet.interfaces import IDelayedCall

from rendezvous.accepting import AcceptPolicy
from rendezvous.hbbr.joining import EARLY_BYTES, LINGER, Joining
from rendezvous.hbbr.relay import PLACE, Relay
from rendezvous.hbbr.session import Flow, Session
from rendezvous.websocket import WebSocket, WebSocketFactory
from rendezvous.wire.address import Address


def relay_websocket_factory(policy: AcceptPolicy, relay: Relay, max_message: int) -> WebSocketFactory:
    """Accepts sides on Q+2."""
    return WebSocketFactory(
        policy, PLACE, max_message, lambda websocket, source: MessageSide(websocket, relay, source)
    )


class MessageSide:
    """A session's side over WebSocket."""

    stream = False

    def __init__(self, websocket: WebSocket, relay: Relay, source: Address) -> None:
        self._websocket = websocket
        self._relay = relay
        self._early: list[bytes] = []
        self._session: Session | None = None
        self._linger: IDelayedCall | None = None
        self._joining = Joining(relay, self, self.end)
        self.source = source

    # MessageReceiver -------------------------------------------------------------------------------

    def message_received(self, payload: bytes) -> None:
        """The first message, an early one, or what the other side is to get."""
        if self._linger is not None:
            return
        if self._session is not None:
            self._session.received(self, payload)
        elif not self._joining.asked:
            self._joining.first_frame(payload)
        else:
            self._early.append(payload)
            if sum(map(len, self._early)) > EARLY_BYTES or len(self._early) > EARLY_BYTES // 64:
                self.pause()

    def closed(self) -> None:
        """The side is gone."""
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
        if self._session is not None:
            self._session.lost(self)
        else:
            self._joining.lost()

    # Side ------------------------------------------------------------------------------------------

    def join(self, session: Session, *, framed: bool) -> None:
        """See Side."""
        self._joining.joined()
        self._session = session

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
        """See Side; a client that does not take the last bytes in time is cut off."""
        if self._linger is None:
            self._linger = self._relay.clock.callLater(LINGER, self._websocket.transport.abortConnection)
            self._websocket.close()

    def feed_from(self, producer: Flow) -> None:
        """See Side."""
        self._websocket.transport.registerProducer(producer, True)

    def pause(self) -> None:
        """See Side."""
        self._websocket.transport.pauseProducing()

    def resume(self) -> None:
        """See Side."""
        if self._linger is None:
            self._websocket.transport.resumeProducing()
