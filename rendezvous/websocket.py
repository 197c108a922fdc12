"""WebSocket on a bare TCP port, for hbbs and hbbr alike: RFC 6455 is the `websockets` library's."""

import logging
from collections.abc import Callable
from typing import Protocol as Interface

from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from websockets.datastructures import Headers
from websockets.exceptions import InvalidState
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from rendezvous.accepting import AcceptingFactory, AcceptPolicy
from rendezvous.admission import Refused
from rendezvous.sockets import IStreamTransport
from rendezvous.wire.address import Address

_SILENT = logging.getLogger("rendezvous.websocket")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False
_SILENT.setLevel(logging.CRITICAL)


class MessageReceiver(Interface):
    """What gets the messages of one open WebSocket connection."""

    def message_received(self, payload: bytes) -> None:
        """A whole binary message came."""

    def closed(self) -> None:
        """The connection is over."""


class WebSocketFactory(AcceptingFactory):
    """Accepts WebSocket connections with messages of up to `max_message` bytes.

    `make_receiver` is called with each that has opened, and the address of its client.
    """

    def __init__(
        self,
        policy: AcceptPolicy,
        place: str,
        max_message: int,
        make_receiver: "Callable[[WebSocket, Address], MessageReceiver]",
    ) -> None:
        super().__init__(policy, place)
        self.max_message = max_message
        self.make_receiver = make_receiver

    def accepted(self, source: Address) -> Protocol:
        """See AcceptingFactory."""
        return WebSocket(self, source)


class WebSocket(Protocol):
    """One WebSocket connection: any path, binary messages whole, text messages dropped, no compression.

    A longer message than allowed closes it with code 1009.
    """

    transport: IStreamTransport

    def __init__(self, factory: WebSocketFactory, source: Address) -> None:
        self._accepting = factory
        self._websocket = ServerProtocol(max_size=factory.max_message, logger=_SILENT)
        self._parts: list[bytes] = []
        self._binary = False
        self._over = False
        self._source = source
        self._receiver: MessageReceiver | None = None
        policy = factory.policy
        self._timer = policy.clock.callLater(policy.header_timeout, self._late)

    def connectionMade(self) -> None:
        """Waits for the handshake."""
        self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        """Feeds the library and passes on what came out."""
        if self._over:
            return
        self._websocket.receive_data(data)
        self._process()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tells the receiver that it is over."""
        self._over = True
        self._parts.clear()
        if self._timer.active():
            self._timer.cancel()
        self._accepting.policy.release(self._source.host)
        if self._receiver is not None:
            receiver, self._receiver = self._receiver, None
            receiver.closed()

    def send_message(self, payload: bytes) -> None:
        """Sends one binary message; does nothing when the connection is closing."""
        try:
            self._websocket.send_binary(payload)
        except InvalidState:
            return
        self._flush()

    def close(self, code: int = CloseCode.NORMAL_CLOSURE) -> None:
        """Closes with `code`, after everything sent before."""
        if self._websocket.state is State.OPEN:
            self._websocket.send_close(code)
            self._flush()
        self._end()

    def _process(self) -> None:
        for event in self._websocket.events_received():
            if isinstance(event, Request):
                self._handshake(event)
            elif isinstance(event, Frame):
                self._frame_received(event)
            if self._over:
                break
        self._flush()
        if self._websocket.parser_exc is not None and not self._over:
            self._accepting.drop("malformed_websocket")
        if self._websocket.close_expected() or self._websocket.parser_exc is not None:
            self._end()

    def _handshake(self, request: Request) -> None:
        self._timer.cancel()
        self._websocket.send_response(self._websocket.accept(request))
        self._flush()
        try:
            if self._websocket.state is not State.OPEN:
                raise Refused("bad_handshake")
            self._identify(request.headers)
        except Refused as refused:
            self._accepting.drop(str(refused))
            self._end()
            return
        self._receiver = self._accepting.make_receiver(self, self._source)

    def _identify(self, headers: Headers) -> None:
        """Counts the connection for the client behind a trusted proxy. Raises Refused."""
        policy = self._accepting.policy
        real_ip = headers.get_all("X-Real-IP")
        client = policy.proxies.client_of(
            self._source, headers.get_all("X-Forwarded-For"), real_ip[0] if real_ip else None
        )
        if client.host != self._source.host:
            policy.admit(client.host)
            policy.release(self._source.host)
            self._source = client

    def _late(self) -> None:
        self._accepting.drop("no_handshake")
        self.transport.abortConnection()

    def _frame_received(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.BINARY, Opcode.TEXT):
            self._binary = frame.opcode is Opcode.BINARY
        elif frame.opcode is not Opcode.CONT:
            return
        if self._binary:
            self._parts.append(bytes(frame.data))
        if frame.fin and self._binary:
            payload = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            self._parts.clear()
            if self._receiver is not None:
                self._receiver.message_received(payload)

    def _end(self) -> None:
        """Closes once everything is written; a registered producer would keep the transport open."""
        self._over = True
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _flush(self) -> None:
        data = self._websocket.data_to_send()
        if data:
            self.transport.writeSequence([part for part in data if part])
