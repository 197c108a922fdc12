"""The fast path of short TCP requests: accept, read, answer and close in one pass, without a Stream.

Most connections bring one whole frame with them, or right behind, and end with its answer. Such a conversation
must equal the slow path, `FramedConversation` over a Stream; every other connection, with the bytes read from
it, is handed to that.
"""

import socket
from typing import Any

from rendezvous.admission import Refused
from rendezvous.hbbs.request import NOTHING, Replies, Request
from rendezvous.hbbs.tcp import FramedConversation, TCPFactory
from rendezvous.stream import Stream
from rendezvous.stream_port import StreamPort
from rendezvous.wire.address import Address, plain_host
from rendezvous.wire.framing import encode_frame, whole_frame
from rendezvous.wire.messages import MalformedMessage, decode, encode
from rendezvous.wire.rendezvous_pb2 import RendezvousMessage

SHORT = frozenset({"test_nat_request", "online_request", "punch_hole_sent", "local_addr", "relay_response"})
"""The messages whose answer is the whole conversation, and is there at once."""
_WAITING = RendezvousMessage.DESCRIPTOR.fields_by_name["punch_hole_request"].number << 3 | 2
"""The byte that a PunchHoleRequest begins with: it waits for its answer, and is decoded only there."""
_READ = 65536


class ShortRequestPort(StreamPort):
    """Accepts on a listening socket for `factory`."""

    def __init__(self, reactor: Any, sock: socket.socket, factory: TCPFactory) -> None:
        super().__init__(reactor, sock, factory)
        self._factory = factory
        self._silent: list[tuple[socket.socket, Address]] = []

    def accepted(self, connection: socket.socket, peer: tuple[Any, ...]) -> None:
        """See StreamPort. What has brought nothing yet is looked at once more in the reactor's next turn."""
        source = Address(plain_host(peer[0]) if ":" in peer[0] else peer[0], peer[1])
        try:
            data = connection.recv(_READ, socket.MSG_DONTWAIT)
        except BlockingIOError:
            if not self._silent:
                self._reactor.callLater(0, self._look_again)
            self._silent.append((connection, source))
        except OSError:
            connection.close()
        else:
            self._serve(connection, source, data)

    def _look_again(self) -> None:
        silent, self._silent = self._silent, []
        for connection, source in silent:
            try:
                data = connection.recv(_READ, socket.MSG_DONTWAIT)
            except BlockingIOError:
                data = b""
            except OSError:
                connection.close()
                continue
            self._serve(connection, source, data)

    def _serve(self, connection: socket.socket, source: Address, data: bytes) -> None:
        if data and self._factory.is_client(source, data) and self._whole_conversation(connection, source, data):
            connection.close()
        else:
            self._converse(connection, source, data)

    def _whole_conversation(self, connection: socket.socket, source: Address, data: bytes) -> bool:
        """Answers when `data` is exactly one short request; False when it is for the slow path."""
        factory = self._factory
        payload = whole_frame(data, factory.max_frame)
        if not payload or payload[0] == _WAITING:
            return False
        try:
            kind, message = decode(payload)
        except MalformedMessage:
            return False
        if kind not in SHORT or not factory.policy.has_room(source.host):
            return False
        factory.opened += 1
        request = Request(message, source, factory.kind, self._reactor.seconds())
        for reply in self._replies(kind, request):
            self._send(connection, encode_frame(encode(reply)))
        return True

    def _replies(self, kind: str, request: Request[Any]) -> Replies:
        try:
            answer = self._factory.shared.dispatcher.dispatch(kind, request)
        except Refused:
            return NOTHING
        assert isinstance(answer, tuple), kind
        return answer

    def _send(self, connection: socket.socket, data: bytes) -> None:
        """The answer of a short request is one, and far smaller than a new connection's send buffer."""
        try:
            if connection.send(data) != len(data):
                self._factory.drop("send_failed")
        except OSError:
            self._factory.drop("send_failed")

    def _converse(self, connection: socket.socket, source: Address, data: bytes) -> None:
        """Hands `connection` to the protocol of its client; who spoke first, with `data`, is offered no keys."""
        protocol = self._factory.buildProtocol(source)  # type: ignore[arg-type]
        if protocol is None:
            connection.close()
            return
        if data and isinstance(protocol, FramedConversation):
            protocol.offers_keys = False
        Stream(self._reactor, connection, protocol).begin(data)
