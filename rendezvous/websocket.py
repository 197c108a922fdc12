"""WebSocket on a bare TCP port, for hbbs and hbbr alike: RFC 6455 is the `websockets` library's."""

import logging
from collections.abc import Callable
from typing import Protocol as Interface

from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from websockets.exceptions import InvalidState
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from rendezvous.sockets import IStreamTransport

_SILENT = logging.getLogger("rendezvous.websocket")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False
_SILENT.setLevel(logging.CRITICAL)


class MessageReceiver(Interface):
    """What gets the messages of one WebSocket connection."""

    def opened(self) -> None:
        """The handshake is done; messages may be sent."""

    def message_received(self, payload: bytes) -> None:
        """A whole binary message came."""

    def closed(self) -> None:
        """The connection is over; also called when it never opened."""


class WebSocket(Protocol):
    """One WebSocket connection: any path, binary messages whole, text messages dropped, no compression.

    `max_message` bounds a message, in bytes; a longer one closes the connection with code 1009.
    `malformed` is called, once at most, when the client broke the protocol. `receiver` is set before the
    connection is made.
    """

    transport: IStreamTransport

    def __init__(self, max_message: int, malformed: Callable[[], None]) -> None:
        self._websocket = ServerProtocol(max_size=max_message, logger=_SILENT)
        self._malformed = malformed
        self._parts: list[bytes] = []
        self._binary = False
        self._over = False
        self.receiver: MessageReceiver | None = None

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
        if self.receiver is not None:
            receiver, self.receiver = self.receiver, None
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
            self._malformed()
        if self._websocket.close_expected() or self._websocket.parser_exc is not None:
            self._end()

    def _handshake(self, request: Request) -> None:
        response = self._websocket.accept(request)
        self._websocket.send_response(response)
        self._flush()
        if self._websocket.state is State.OPEN:
            if self.receiver is not None:
                self.receiver.opened()
        else:
            self._malformed()
            self._end()

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
            if self.receiver is not None:
                self.receiver.message_received(payload)

    def _end(self) -> None:
        """Closes once everything is written; a registered producer would keep the transport open."""
        self._over = True
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _flush(self) -> None:
        data = self._websocket.data_to_send()
        if data:
            self.transport.writeSequence(part for part in data if part)
