"""Clients of the server under test: bytes go in, bytes come out."""

from __future__ import annotations

from socket import AF_INET, AF_INET6
from typing import Any, TypeVar

from google.protobuf.message import Message
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.protocol import ServerFactory
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from tests.client.wire import FrameReader, SealedDirection, answer_key_exchange, frame
from tests.hbbs.transports import MemoryTransport, TestReactor

M = TypeVar("M", bound=Message)

_VARIANTS = {
    field.message_type.full_name: field.name
    for field in pb.RendezvousMessage.DESCRIPTOR.oneofs_by_name["union"].fields
    if field.message_type is not None
}


def wrap(variant: Message) -> bytes:
    """The serialized RendezvousMessage that holds `variant`."""
    message = pb.RendezvousMessage()
    getattr(message, _VARIANTS[variant.DESCRIPTOR.full_name]).CopyFrom(variant)
    return message.SerializeToString()


def unwrap(payload: bytes) -> Message:
    """The variant in a serialized RendezvousMessage."""
    message = pb.RendezvousMessage.FromString(payload)
    kind = message.WhichOneof("union")
    assert kind is not None
    variant: Message = getattr(message, kind)
    return variant


def only(messages: list[Message], expected: type[M]) -> M:
    """The one message there is, which must be of the type expected."""
    assert [type(message) for message in messages] == [expected]
    assert isinstance(messages[0], expected)
    return messages[0]


class UDPClient:
    """A UDP socket somewhere on the internet."""

    def __init__(self, reactor: TestReactor, source: Address) -> None:
        self._reactor = reactor
        self.source = source

    def send_bytes(self, datagram: bytes) -> None:
        """One datagram to the server."""
        if ":" in self.source.host:
            address: Any = (*self.source, 0, 0)  # with flow and scope, as the socket module has it
            self._reactor.receive(AF_INET6, datagram, address)
        else:
            self._reactor.receive(AF_INET, datagram, self.source)

    def send(self, message: Message) -> None:
        """One message, and what follows from it at once."""
        self.send_bytes(wrap(message))
        self._reactor.settle()

    def take(self) -> list[Message]:
        """What has come since the last time."""
        mine = [payload for payload, address in self._reactor.datagrams if address == self.source]
        self._reactor.datagrams[:] = [sent for sent in self._reactor.datagrams if sent[1] != self.source]
        return [unwrap(payload) for payload in mine]

    def ask(self, message: Message) -> list[Message]:
        """Sends, and returns what came."""
        self.send(message)
        return self.take()


class StreamClient:
    """A connection; `refused` when the server did not want it."""

    def __init__(self, reactor: TestReactor, factory: ServerFactory, source: Address) -> None:
        self.reactor = reactor
        self.source = source
        kind = IPv6Address if ":" in source.host else IPv4Address
        peer = kind("TCP", *source)
        self.transport = MemoryTransport(reactor, peer)
        self.heartbeats = 0
        self._consumed = 0
        protocol = factory.buildProtocol(peer)
        self.refused = protocol is None
        if protocol is not None:
            self.transport.protocol = protocol  # type: ignore[assignment]
            protocol.makeConnection(self.transport)

    @property
    def closed(self) -> bool:
        """Whether the server has closed the connection, or its half of it."""
        return self.transport.disconnecting or self.transport.write_closed

    def send_bytes(self, data: bytes) -> None:
        """Bytes as they are; lost when the connection is."""
        if not self.transport.disconnecting:
            self.transport.protocol.dataReceived(data)

    def send(self, message: Message) -> None:
        """One message, and what follows from it at once."""
        self.send_payload(wrap(message))

    def send_payload(self, payload: bytes) -> None:
        """One payload, and what follows from it at once; an empty one is a heartbeat."""
        self.send_bytes(self.to_wire(payload))
        self.reactor.settle()

    def take(self) -> list[Message]:
        """What has come since the last time; heartbeats are only counted."""
        payloads = self.payloads()
        self.heartbeats += payloads.count(b"")
        return [unwrap(payload) for payload in payloads if payload]

    def ask(self, message: Message) -> list[Message]:
        """Sends, and returns what came."""
        self.send(message)
        return self.take()

    def reset(self) -> None:
        """The client is gone."""
        self.transport.lose()
        self.reactor.settle()

    def new_bytes(self) -> bytes:
        """The bytes that have come since the last time."""
        data: bytes = self.transport.value()[self._consumed :]
        self._consumed += len(data)
        return data

    def to_wire(self, payload: bytes) -> bytes:
        """The bytes that carry `payload`."""
        raise NotImplementedError

    def payloads(self) -> list[bytes]:
        """The payloads that have come since the last time."""
        raise NotImplementedError


class TCPClient(StreamClient):
    """Frames; sealed ones after `secure`. Key exchanges are put into `offers`, as clients skip them."""

    def __init__(self, reactor: TestReactor, factory: ServerFactory, source: Address) -> None:
        self.offers: list[pb.KeyExchange] = []
        self._reader = FrameReader()
        self._out: SealedDirection | None = None
        self._in: SealedDirection | None = None
        super().__init__(reactor, factory, source)

    def to_wire(self, payload: bytes) -> bytes:
        """One frame."""
        return frame(self._out.seal(payload) if self._out else payload)

    def payloads(self) -> list[bytes]:
        """The payloads of whole frames."""
        self._reader.feed(self.new_bytes())
        payloads: list[bytes] = []
        while (payload := self._reader.next()) is not None:
            payloads.append(self._in.open(payload) if self._in else payload)
        return payloads

    def take(self) -> list[Message]:
        """What has come since the last time, without key exchanges."""
        messages = super().take()
        self.offers += [message for message in messages if isinstance(message, pb.KeyExchange)]
        return [message for message in messages if not isinstance(message, pb.KeyExchange)]

    def secure(self, server_key: bytes) -> None:
        """Waits for the server's key exchange and answers it."""
        self.reactor.settle()
        assert self.take() == []
        [offer] = self.offers
        answer, session_key = answer_key_exchange(offer, server_key)
        self.send(answer.key_exchange)
        self._out, self._in = SealedDirection(session_key), SealedDirection(session_key)


class WebSocketClient(StreamClient):
    """Binary messages."""

    def __init__(self, reactor: TestReactor, factory: ServerFactory, source: Address, path: str = "/") -> None:
        self.websocket = ClientProtocol(parse_uri(f"ws://server.example{path}"))
        super().__init__(reactor, factory, source)
        if not self.refused:
            self.websocket.send_request(self.websocket.connect())
            self.flush()
            self.payloads()

    def flush(self) -> None:
        """Sends what the library wants to send."""
        for data in self.websocket.data_to_send():
            self.send_bytes(data)

    def to_wire(self, payload: bytes) -> bytes:
        """One binary message."""
        self.websocket.send_binary(payload)
        return b"".join(self.websocket.data_to_send())

    def payloads(self) -> list[bytes]:
        """The binary messages."""
        data = self.new_bytes()
        if data:
            self.websocket.receive_data(data)
        frames: list[Any] = self.websocket.events_received()
        return [bytes(f.data) for f in frames if isinstance(f, Frame) and f.opcode is Opcode.BINARY]
