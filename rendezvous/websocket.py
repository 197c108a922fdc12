"""WebSocket on a bare TCP port, for hbbs and hbbr alike: RFC 6455 is the `websockets` library's."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol as Interface

from twisted.internet.interfaces import IPushProducer, ISSLTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from websockets.datastructures import Headers
from websockets.exceptions import InvalidOrigin, InvalidState
from websockets.frames import CloseCode, Frame
from websockets.http11 import Request
from websockets.protocol import State
from websockets.typing import Origin
from zope.interface import implementer

from rendezvous.accepting import AcceptingFactory, AcceptPolicy
from rendezvous.admission import Refused
from rendezvous.lingering import Linger
from rendezvous.sockets import IStreamTransport, end_writing
from rendezvous.tls import FIRST_BYTE, Certificates
from rendezvous.websocket_frames import BINARY, CONT, PING, PONG, BinaryServerProtocol
from rendezvous.wire.address import Address

PING_INTERVAL = 30.0
"""Seconds between pings; a client that sends nothing for as long after one is dead."""
LONGEST_HANDSHAKE = 32768
"""Bytes of a request, which is kept in memory until it is whole."""
_BLANK_LINE = b"\r\n\r\n"


def _answer(status: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()


class MessageReceiver(Interface):
    """What gets the messages of one open WebSocket connection."""

    def heard(self) -> None:
        """Bytes came that are more than pongs; they may be a part of a message."""

    def keeps(self, count: int) -> None:
        """Bytes came; so many are kept now of a message that is not whole yet."""

    def message_received(self, payload: bytes) -> None:
        """A whole binary message came."""

    def closed(self) -> None:
        """The connection is over."""

    def may_be_silent(self) -> bool:
        """Whether a client that answers no ping is kept for now."""


class WebSocketFactory(AcceptingFactory):
    """Accepts WebSocket connections with messages of up to `max_message` bytes.

    `make_receiver` is called with each that has opened, and the address of its client. A connection that
    begins with TLS goes on with it when there are `certificates`.
    """

    def __init__(
        self,
        policy: AcceptPolicy,
        place: str,
        max_message: int,
        make_receiver: "Callable[[WebSocket, Address], MessageReceiver]",
        certificates: Certificates | None = None,
    ) -> None:
        super().__init__(policy, place)
        self.certificates = certificates
        self.origins = [*map(Origin, policy.origins), None] if policy.origins else None
        self.max_message = max_message
        self.make_receiver = make_receiver

    def accepted(self, source: Address) -> Protocol:
        """See AcceptingFactory."""
        return WebSocket(self, source)


@implementer(IPushProducer)
class WebSocket(Protocol):
    """One WebSocket connection: any path, binary messages whole, no text messages, no compression.

    A longer message than allowed closes it with code 1009, a text message with 1003. `clogged` tells that the
    client does not take what it is sent; pings are not read then, since their answers would pile up, nor sent.
    """

    transport: IStreamTransport

    def __init__(self, factory: WebSocketFactory, source: Address) -> None:
        self._accepting = factory
        self._certificates = factory.certificates
        self._websocket = BinaryServerProtocol(self._frame_received, factory.max_message, factory.origins)
        self._head = b""
        self._head_size = 0
        self._message = bytearray()
        self._over = False
        self._paused = False
        self._pinged = False
        self._ponged = False
        self._unanswered = False
        self._source = source
        self._upstream: IPushProducer | None = None
        self._linger: Linger | None = None
        self._receiver: MessageReceiver | None = None
        policy = factory.policy
        self._timer = policy.clock.callLater(policy.header_timeout, self._late)
        self.clogged = False

    def connectionMade(self) -> None:
        """Waits for the handshake."""
        self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        """Feeds the library and passes on what came out; nothing behind the handshake before its answer."""
        certificates, self._certificates = self._certificates, None
        if certificates is not None and data.startswith(FIRST_BYTE):
            self.transport.startTLS(certificates)
            self.transport.protocol.dataReceived(data)
            return
        self._unanswered = self._ponged = False
        if self._receiver is None and not self._over:
            head = self._head + data
            end = head.find(_BLANK_LINE)
            cut = len(data) if end < 0 else end + len(_BLANK_LINE) - len(self._head)
            self._head = head[-len(_BLANK_LINE) + 1 :]
            self._head_size += cut
            if self._head_size > LONGEST_HANDSHAKE:
                self.transport.write(_answer("431 Request Header Fields Too Large"))
                self._refuse("bad_handshake")
                return
            self._feed(data[:cut])
            data = data[cut:]
        if data and not self._over:
            self._feed(data)
            receiver = self._receiver
            if receiver is not None:
                if not self._ponged:
                    receiver.heard()
                receiver.keeps(len(self._message) + self._websocket.unfinished)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tells the receiver that it is over."""
        self._over = True
        if self._timer.active():
            self._timer.cancel()
        if self._linger is not None:
            self._linger.cancel()
        self._accepting.policy.release(self._source.host)
        self._tell_closed()
        self._websocket.ended()

    def set_max_message(self, max_message: int) -> None:
        """Allows messages of up to `max_message` bytes from now on."""
        self._websocket.set_max_size(max_message)

    def send_message(self, payload: bytes) -> None:
        """Sends one binary message; does nothing when the connection is closing."""
        try:
            self._websocket.send_binary(payload)
        except InvalidState:
            return
        self._flush()

    def close(self, code: int = CloseCode.NORMAL_CLOSURE) -> None:
        """Closes with `code`; the client has time to take everything sent before."""
        if self._websocket.state is State.OPEN:
            self._websocket.send_close(code)
            self._flush()
        self._end(linger=True)

    def abort(self) -> None:
        """Closes at once."""
        self.transport.abortConnection()

    def refuse(self) -> None:
        """Closes a client that has nothing to wait for."""
        self._end()

    # Reading and writing at the client's pace ------------------------------------------------------

    def feed_from(self, producer: IPushProducer) -> None:
        """Pauses and resumes `producer` as the client takes what it is sent."""
        self._upstream = producer
        if self.clogged:
            producer.pauseProducing()

    def pause(self) -> None:
        """Stops reading."""
        self._paused = True
        self._unanswered = False
        self._set_reading()

    def resume(self) -> None:
        """Reads again."""
        self._paused = False
        self._set_reading()

    def pauseProducing(self) -> None:
        """See IPushProducer: the client is slow."""
        self.clogged = True
        self._unanswered = False
        if self._upstream is not None:
            self._upstream.pauseProducing()

    def resumeProducing(self) -> None:
        """See IPushProducer: the client has caught up."""
        self.clogged = self._pinged = False
        self._set_reading()
        if self._upstream is not None:
            self._upstream.resumeProducing()

    def stopProducing(self) -> None:
        """See IPushProducer; connectionLost follows."""

    def _set_reading(self) -> None:
        if (self._paused or self._pinged) and not self._over:
            self.transport.pauseProducing()
        else:
            self.transport.resumeProducing()

    # What came -------------------------------------------------------------------------------------

    def _feed(self, data: bytes) -> None:
        websocket = self._websocket
        websocket.receive_data(data)
        if websocket.failure is not None:
            raise websocket.failure
        for event in websocket.events_received():
            if isinstance(event, Request):
                self._handshake(event)
        if self._over:
            return
        answered = self._flush()
        if websocket.handshake_exc is not None:
            if not answered:
                self.transport.write(_answer("400 Bad Request"))
            self._refuse("bad_handshake")
        elif websocket.parser_exc is not None:
            self._refuse("malformed_websocket")
        elif websocket.close_expected():
            self._end(linger=True)

    def _handshake(self, request: Request) -> None:
        if len(request.headers.get_all("Host")) == 1:
            response = self._websocket.accept(request)
        else:  # section 4.2.1; the library leaves that to its user
            response = self._websocket.reject(HTTPStatus.BAD_REQUEST, "A request has one Host header.\n")
        if response.status_code != 101:
            response.headers["Sec-WebSocket-Version"] = "13"  # section 4.4: the one that is understood
        self._websocket.send_response(response)
        self._flush()
        try:
            if isinstance(self._websocket.handshake_exc, InvalidOrigin):
                raise Refused("bad_origin")
            if self._websocket.state is not State.OPEN:
                raise Refused("bad_handshake")
            self._identify(request.headers)
        except Refused as refused:
            self._refuse(str(refused))
            return
        self._timer.cancel()
        self._timer = self._accepting.policy.clock.callLater(PING_INTERVAL, self._ping)
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

    def _frame_received(self, frame: Frame) -> None:
        if self._over:
            return
        opcode = frame.opcode
        if opcode is not BINARY and opcode is not CONT:
            self._ponged = self._ponged or opcode is PONG
            if opcode is PING and self.clogged:
                self._pinged = True
                self._set_reading()
            return
        if not frame.fin:
            self._message += frame.data
            return
        payload = bytes(self._message + frame.data) if self._message else bytes(frame.data)
        self._message.clear()
        if self._receiver is not None:
            self._receiver.message_received(payload)

    def _flush(self) -> bool:
        """Sends what the library has to send; False when that was nothing."""
        data = [part for part in self._websocket.data_to_send() if part]
        if data:
            self.transport.writeSequence(data)
        return bool(data)

    # The end ---------------------------------------------------------------------------------------

    def _refuse(self, reason: str) -> None:
        self._accepting.drop(reason)
        self._end(linger=True)

    def _late(self) -> None:
        self._accepting.drop("no_handshake")
        if ISSLTransport.providedBy(self.transport) and not self._head_size:
            self.abort()  # an answer would wait for the end of TLS's own handshake
            return
        self.transport.write(_answer("408 Request Timeout"))
        self._end()

    def _ping(self) -> None:
        """Asks whether the client is there; it is not when nothing came though it was asked and read from."""
        if self._unanswered and self._receiver is not None and not self._receiver.may_be_silent():
            self._accepting.drop("no_pong")
            self.abort()
            return
        if not self.clogged:
            self._websocket.send_ping(b"")
            self._flush()
        self._unanswered = not (self.clogged or self._paused or self._pinged)
        self._timer = self._accepting.policy.clock.callLater(PING_INTERVAL, self._ping)

    def _end(self, *, linger: bool = False) -> None:
        """Closes. A client that may `linger` is read until it closes, so that no reset overtakes last bytes."""
        if self._over:
            return
        self._over = True
        if self._timer.active():
            self._timer.cancel()
        self._linger = Linger(self.transport, self._accepting.policy.clock)
        self._message.clear()
        self._websocket.forget()
        self.transport.unregisterProducer()
        if linger:
            end_writing(self.transport)
            self.transport.resumeProducing()
        else:
            self.transport.loseConnection()
        self._tell_closed()

    def _tell_closed(self) -> None:
        self._upstream = None
        if self._receiver is not None:
            receiver, self._receiver = self._receiver, None
            receiver.closed()
