"""Limits of connections, frames, requests and exchanges, each counted with its reason."""

from __future__ import annotations

import pytest
from websockets.frames import Close, CloseCode

from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from tests.client.wire import frame_header
from tests.hbbs.clients import StreamClient, UDPClient, only, wrap
from tests.hbbs.conftest import MakeServer
from tests.hbbs.server import B_ID, STRANGER, A, B, Server
from tests.hbbs.talk import answer, hole, sent

CONNECTIONS = ["tcp", "secured", "nat_port", "websocket"]


def connect(server: Server, kind: str, source: Address = A) -> StreamClient:
    """A client of the kind."""
    client: StreamClient = getattr(server, kind)(source)
    return client


def online_request(length: int) -> bytes:
    """A serialized OnlineRequest of exactly `length` bytes."""
    request = pb.RendezvousMessage(online_request=pb.OnlineRequest(id="x" * (length - 20)))
    request.online_request.id = "x" * (length - 20 + length - request.ByteSize())
    assert request.ByteSize() == length
    return request.SerializeToString()


class TestFrames:
    """Sizes, and what is in them."""

    @pytest.mark.parametrize("kind", ["tcp", "nat_port", "websocket"])
    def test_longest_message(self, make_server: MakeServer, kind: str) -> None:
        """A message as long as allowed is answered."""
        server = make_server(max_frame="5000")
        client = connect(server, kind)
        client.send_payload(online_request(5000))
        assert only(client.take(), pb.OnlineResponse).states == b""

    @pytest.mark.parametrize("kind", ["tcp", "nat_port"])
    @pytest.mark.parametrize("length", [5001, 65537, 0x3FFFFFFF])
    def test_longer_frame(self, make_server: MakeServer, kind: str, length: int) -> None:
        """An announcement of more closes at once, before anything of it has come."""
        server = make_server(max_frame="5000")
        client = connect(server, kind)
        client.send_bytes(frame_header(length))
        assert client.closed
        assert server.dropped("frame_too_long") == 1

    def test_longer_message_over_websocket(self, make_server: MakeServer) -> None:
        """A longer WebSocket message closes with code 1009 and is counted."""
        server = make_server(max_frame="5000")
        client = server.websocket(A)
        client.send_payload(online_request(5001))
        assert client.take() == []
        assert client.closed
        assert client.websocket.close_rcvd is not None
        assert isinstance(client.websocket.close_rcvd, Close)
        assert client.websocket.close_rcvd.code == CloseCode.MESSAGE_TOO_BIG
        assert sum(server.drops.counts.values()) == 1

    @pytest.mark.parametrize("kind", CONNECTIONS)
    @pytest.mark.parametrize(
        "payload", [b"\xff", b"\x00\x00\x00", b"garbage garbage", b"\x08\x01", b"\xfa\x3e\x00"]
    )
    def test_malformed(self, server: Server, kind: str, payload: bytes) -> None:
        """What is no message closes the connection without an answer, and is counted."""
        client = connect(server, kind)
        client.send_payload(payload)
        assert client.take() == []
        assert client.closed
        assert server.dropped("malformed") == 1

    @pytest.mark.parametrize("payload", [b"", b"\xff", b"garbage garbage", b"\x08\x01", b"\xfa\x3e\x00"])
    def test_malformed_datagram(self, server: Server, payload: bytes) -> None:
        """A datagram that is no message is counted and not answered."""
        client = server.udp(A)
        client.send_bytes(payload)
        assert client.take() == []
        assert server.drops.counts == {("udp", "malformed"): 1}

    @pytest.mark.parametrize("kind", CONNECTIONS)
    def test_frames_in_pieces(self, server: Server, kind: str) -> None:
        """Frames may come byte by byte."""
        client = connect(server, kind)
        for byte in client.to_wire(wrap(pb.TestNatRequest())):
            client.send_bytes(bytes([byte]))
            server.advance(0.3)
        assert client.take() == [pb.TestNatResponse(port=A.port)]


class TestSilence:
    """Clients that say nothing whole."""

    @pytest.mark.parametrize("kind", CONNECTIONS)
    def test_first_frame_timeout(self, make_server: MakeServer, kind: str) -> None:
        """A connection without a message is closed after the time-out, and counted."""
        server = make_server(first_frame_timeout="20")
        client = connect(server, kind)
        server.advance(19)
        assert not client.closed
        server.advance(2)
        assert client.closed
        assert sum(server.drops.counts.values()) == 1

    @pytest.mark.parametrize("kind", ["tcp", "nat_port"])
    def test_parts_of_a_frame_do_not_prolong(self, make_server: MakeServer, kind: str) -> None:
        """A frame that comes drop by drop, or heartbeats alone, do not keep a connection."""
        server = make_server(first_frame_timeout="20")
        slow, beating = connect(server, kind), connect(server, kind, B)
        slow.send_bytes(frame_header(200))
        for _ in range(22):
            server.advance(1)
            slow.send_bytes(b"\n")
            beating.send_bytes(b"\0")
        assert slow.closed
        assert beating.closed

    def test_websocket_without_handshake(self, make_server: MakeServer) -> None:
        """A TCP connection to the WebSocket port that never shakes hands is closed and counted."""
        server = make_server(first_frame_timeout="20")
        client = server.websocket(A)
        raw = type(client.transport)(server.reactor, client.transport.getPeer())
        factory = server.reactor.factories[server.settings.websocket_port]
        protocol = factory.buildProtocol(raw.getPeer())
        assert protocol is not None
        raw.protocol = protocol  # type: ignore[assignment]
        protocol.makeConnection(raw)
        protocol.dataReceived(b"GET / HTTP/1.1\r\n")
        client.reset()
        server.advance(21)
        assert raw.disconnecting
        assert sum(server.drops.counts.values()) == 1


class TestConnections:
    """How many there may be."""

    @pytest.mark.parametrize("kind", ["tcp", "nat_port", "websocket"])
    def test_per_address(self, make_server: MakeServer, kind: str) -> None:
        """An address may have so many, whatever the port; when one ends, there may be another."""
        server = make_server(max_connections_per_address="3")
        clients = [connect(server, k, Address(A.host, 1000 + i)) for i, k in enumerate(("tcp", "nat_port", kind))]
        assert not any(client.refused for client in clients)
        assert connect(server, kind).refused
        assert server.dropped("too_many_connections_from_address") == 1
        assert not connect(server, kind, B).refused
        clients[2].reset()
        assert not connect(server, kind).refused

    def test_in_all(self, make_server: MakeServer) -> None:
        """There may be so many in all."""
        server = make_server(max_connections="3")
        clients = [server.tcp(Address(f"192.0.2.{i}", 1)) for i in range(3)]
        assert server.tcp(A).refused
        assert server.websocket(A).refused
        assert server.dropped("too_many_connections") == 2
        clients[0].reset()
        assert not server.tcp(A).refused

    def test_closed_by_the_server(self, make_server: MakeServer) -> None:
        """Connections that the server closed are not counted any more."""
        server = make_server(max_connections="2", first_frame_timeout="5")
        for _ in range(3):
            for i in range(2):
                assert not server.tcp(Address(A.host, 1000 + i)).refused
            server.advance(20)

    def test_client_that_takes_nothing(self, server: Server) -> None:
        """A client that does not take its last answer is cut off after a while."""
        client = server.tcp(A)
        client.transport.stuck = True
        client.ask(pb.TestNatRequest())
        assert client.closed
        assert not client.transport.lost
        server.advance(60)
        assert client.transport.aborted
        assert client.transport.lost

    def test_client_that_takes_nothing_of_a_long_conversation(self, server: Server) -> None:
        """The same where the answer does not end the conversation: silence closes it, and force some time after."""
        client = server.tcp(A)
        client.transport.stuck = True
        client.ask(pb.PunchHoleRequest(id="unknown-1"))
        assert not client.closed
        server.advance(31)
        assert client.closed
        assert not client.transport.lost
        server.advance(31)
        assert client.transport.aborted
        assert client.transport.lost
        assert server.dropped("silent") == 1

    def test_slow_target(self, server: Server) -> None:
        """A registered client that takes nothing is not sent ever more, and loses its connection."""
        target = server.tcp(B)
        server.register_on(target)
        producer = target.transport.producer
        assert producer is not None
        producer.pauseProducing()
        asker = server.tcp(A)
        asker.send(pb.PunchHoleRequest(id=B_ID))
        assert target.closed
        assert server.dropped("too_slow") == 1


class TestRequests:
    """Requests that wait."""

    @pytest.mark.parametrize("kind", ["tcp", "secured", "websocket"])
    def test_outstanding(self, server: Server, kind: str) -> None:
        """A connection may have only a few requests that wait for an answer; one more closes it."""
        server.store.holding = True
        client = connect(server, kind)
        for i in range(50):
            server.ids.add(f"known-{i}")
            client.send(pb.PunchHoleRequest(id=f"known-{i}"))
        assert client.closed
        assert server.dropped("too_many_requests") == 1
        while server.store.held:
            server.store.release()
            server.reactor.settle()


class TestExchanges:
    """Punch and relay requests that wait for the other side."""

    def refused(self, server: Server, reason: str, source: Address, id: str = B_ID) -> None:
        """A further request is closed without an answer, counted, and not pushed."""
        client = server.tcp(source)
        assert client.ask(pb.PunchHoleRequest(id=id)) == []
        assert client.closed
        assert server.dropped(reason) == 1

    def ask(self, server: Server, target: UDPClient, source: Address) -> tuple[StreamClient, pb.PunchHole]:
        """A request that waits."""
        client = server.tcp(source)
        return client, hole(client, target)

    @pytest.mark.parametrize(
        ("setting", "reason", "source"),
        [
            ("max_exchanges", "too_many_exchanges", STRANGER),
            ("max_exchanges_per_address", "too_many_exchanges_from_address", Address(A.host, 1)),
            ("max_exchanges_per_target", "too_many_exchanges_for_target", STRANGER),
            ("max_exchanges_per_pair", "too_many_exchanges_of_pair", Address(A.host, 1)),
        ],
    )
    @pytest.mark.parametrize("end", ["answer", "reset", "deadline"])
    def test_limit(self, make_server: MakeServer, setting: str, reason: str, source: Address, end: str) -> None:
        """Above the limit a request is refused; an answer, the asker's end or the deadline makes room."""
        server = make_server(**{setting: "2"})
        target = server.registered()
        self.ask(server, target, A)
        client, push = self.ask(server, target, Address(A.host, 40008))
        self.refused(server, reason, source)
        assert target.take() == []
        if end == "answer":
            answer(server, sent(push))
        elif end == "reset":
            client.reset()
        else:
            server.advance(31)
            assert server.dropped("exchange_timed_out") == 2
            target.ask(pb.RegisterPeer(id=B_ID))
        self.ask(server, target, source._replace(port=7777))

    @pytest.mark.parametrize("setting", ["max_exchanges_per_address", "max_exchanges_per_target"])
    def test_others_go_on(self, make_server: MakeServer, setting: str) -> None:
        """What one address, or the askers of one target, do keeps nobody else out."""
        server = make_server(**{setting: "1"})
        target, other = server.registered(), server.registered("another-1", Address("198.51.100.77", 7))
        self.ask(server, target, A)
        client = server.tcp(STRANGER)
        hole(client, other, id="another-1")

    def test_one_address_leaves_room(self, server: Server) -> None:
        """However often one address asks for a client, others reach it."""
        target = server.registered()
        for number in range(100):
            server.tcp(Address(STRANGER.host, number + 1)).send(pb.RequestRelay(id=B_ID, uuid="u"))
        assert len(target.take()) == 8
        self.ask(server, target, A)

    def test_relay_requests_count(self, make_server: MakeServer) -> None:
        """A relay request that waits is an exchange, too."""
        server = make_server(max_exchanges="1")
        server.registered()
        server.tcp(A).send(pb.RequestRelay(id=B_ID, uuid="u"))
        self.refused(server, "too_many_exchanges", STRANGER)
