"""The fast path of short TCP requests: accept, read, answer and close in one pass, without a transport.

Most connections bring one whole frame with them and end with its answer. Such a conversation must equal the
slow path, `FramedConversation` over a Twisted transport; every other connection, with the bytes read from
it, is handed to that.
"""

import socket
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from rendezvous.admission import Refused
from rendezvous.hbbs.request import NOTHING, Replies, Request
from rendezvous.hbbs.tcp import FramedConversation, TCPFactory
from rendezvous.wire.address import Address, plain_host
from rendezvous.wire.framing import encode_frame, whole_frame
from rendezvous.wire.messages import MalformedMessage, decode, encode

SHORT = frozenset({"test_nat_request", "online_request", "punch_hole_sent", "local_addr", "relay_response"})
"""The messages whose answer is the whole conversation, and is there at once."""
_MOST_PER_TURN = 64
"""Connections accepted before others get their turn."""
_READ = 65536
_PAUSE = 1.0
"""Seconds without accepting when there are no descriptors left."""


@implementer(IReadDescriptor)
class ShortRequestPort:
    """Accepts on a listening socket for `factory`."""

    def __init__(self, reactor: Any, sock: socket.socket, factory: TCPFactory) -> None:
        self._reactor = reactor
        self._socket = sock
        self._factory = factory
        self._resume: IDelayedCall | None = None

    def startListening(self) -> None:
        """Begins to accept."""
        self._reactor.addReader(self)

    def stopListening(self) -> None:
        """Stops accepting and closes the socket."""
        self._reactor.removeReader(self)
        if self._resume is not None and self._resume.active():
            self._resume.cancel()
        self._socket.close()

    def fileno(self) -> int:
        """See IReadDescriptor."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """See IReadDescriptor."""
        return "accept"

    def connectionLost(self, reason: Failure) -> None:
        """See IReadDescriptor; a listening socket is not lost."""

    def doRead(self) -> None:
        """Accepts, as far as one turn goes."""
        for _ in range(_MOST_PER_TURN):
            try:
                connection, peer = self._socket.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError:  # out of descriptors: those that wait stay in the kernel's queue
                self._factory.drop("accept_failed")
                self._pause()
                return
            with connection:
                self._accepted(connection, peer)

    def _pause(self) -> None:
        self._reactor.removeReader(self)
        self._resume = self._reactor.callLater(_PAUSE, self._reactor.addReader, self)

    def _accepted(self, connection: socket.socket, peer: tuple[Any, ...]) -> None:
        connection.setblocking(False)
        source = Address(plain_host(peer[0]) if ":" in peer[0] else peer[0], peer[1])
        try:
            data = connection.recv(_READ)
        except BlockingIOError:
            data = b""
        except OSError:
            return
        if not (
            data and self._factory.is_client(source, data) and self._whole_conversation(connection, source, data)
        ):
            self._hand_over(connection, data)

    def _whole_conversation(self, connection: socket.socket, source: Address, data: bytes) -> bool:
        """Answers when `data` is exactly one short request; False when it is for the slow path."""
        factory = self._factory
        payload = whole_frame(data, factory.max_frame)
        if not payload:
            return False
        try:
            kind, message = decode(payload)
        except MalformedMessage:
            return False
        if kind not in SHORT or not factory.policy.has_room(source.host):
            return False
        request = Request(message, source, factory.kind, self._reactor.seconds())
        self._send(connection, self._replies(kind, request))
        return True

    def _replies(self, kind: str, request: Request[Any]) -> Replies:
        try:
            answer = self._factory.shared.dispatcher.dispatch(kind, request)
        except Refused:
            return NOTHING
        assert isinstance(answer, tuple), kind
        return answer

    def _send(self, connection: socket.socket, replies: Replies) -> None:
        """The answers of short requests are far smaller than a new connection's send buffer."""
        data = b"".join(encode_frame(encode(reply)) for reply in replies)
        try:
            if data and connection.send(data) != len(data):
                self._factory.drop("send_failed")
        except OSError:
            self._factory.drop("send_failed")

    def _hand_over(self, connection: socket.socket, data: bytes) -> None:
        factory = _Handed(self._factory, plain=bool(data))
        try:
            self._reactor.adoptStreamConnection(connection.fileno(), connection.family, factory)
        except OSError:  # it was reset meanwhile
            self._factory.drop("reset")
            return
        if data and factory.protocol is not None:
            factory.protocol.dataReceived(data)


class _Handed:
    """Makes the slow path's protocol and remembers it; who spoke first, in `plain`, is offered no keys."""

    def __init__(self, factory: TCPFactory, *, plain: bool) -> None:
        self._factory = factory
        self._plain = plain
        self.protocol: Any = None

    def doStart(self) -> None:
        """See IFactory."""

    def doStop(self) -> None:
        """See IFactory."""

    def buildProtocol(self, addr: Any) -> Any:
        """See IFactory."""
        self.protocol = self._factory.buildProtocol(addr)
        if self._plain and isinstance(self.protocol, FramedConversation):
            self.protocol.offers_keys = False
        return self.protocol
