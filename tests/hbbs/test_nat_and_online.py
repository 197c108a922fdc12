"""The NAT test and OnlineRequest, on every port."""

from __future__ import annotations

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from tests.hbbs.clients import StreamClient, UDPClient, only
from tests.hbbs.conftest import MakeServer
from tests.hbbs.server import A_V6, B_ID, A, B, Server

CONNECTIONS = ["tcp", "secured", "nat_port", "websocket"]


def client(server: Server, kind: str, source: Address = A) -> StreamClient | UDPClient:
    """A client of the kind."""
    made: StreamClient | UDPClient = getattr(server, kind)(source)
    return made


class TestNat:
    """TestNatRequest."""

    @pytest.mark.parametrize("source", [A, A_V6, Address("192.0.2.3", 65535), Address("192.0.2.3", 1)])
    @pytest.mark.parametrize("kind", ["udp", *CONNECTIONS])
    def test_port(self, server: Server, kind: str, source: Address) -> None:
        """The port seen is told, at once."""
        response = only(client(server, kind, source).ask(pb.TestNatRequest()), pb.TestNatResponse)
        assert response == pb.TestNatResponse(port=source.port)

    @pytest.mark.parametrize("kind", ["tcp", "secured"])
    def test_newer_settings_on_the_main_port(self, make_server: MakeServer, kind: str) -> None:
        """On P the answer carries the settings for a client with an older serial, and for no other."""
        server = make_server(serial="7", rendezvous_servers="a.example")
        update = pb.ConfigUpdate(serial=7, rendezvous_servers=["a.example"])
        older = only(client(server, kind).ask(pb.TestNatRequest(serial=6)), pb.TestNatResponse)
        assert older == pb.TestNatResponse(port=A.port, cu=update)
        for serial in (7, 8):
            response = only(client(server, kind).ask(pb.TestNatRequest(serial=serial)), pb.TestNatResponse)
            assert not response.HasField("cu")

    @pytest.mark.parametrize("kind", ["udp", "nat_port"])
    def test_no_settings_elsewhere(self, make_server: MakeServer, kind: str) -> None:
        """Over UDP, where they would make the answer longer, and on P-1 there are no settings."""
        server = make_server(serial="7", rendezvous_servers="a.example,b.example")
        response = only(client(server, kind).ask(pb.TestNatRequest(serial=0)), pb.TestNatResponse)
        assert response == pb.TestNatResponse(port=A.port)

    @pytest.mark.parametrize("kind", CONNECTIONS)
    def test_one_answer_per_connection(self, server: Server, kind: str) -> None:
        """The connection is closed after the answer."""
        asking = client(server, kind)
        asking.ask(pb.TestNatRequest())
        assert isinstance(asking, StreamClient)
        assert asking.closed


class TestOnline:
    """OnlineRequest."""

    def states(self, server: Server, ids: list[str], kind: str = "nat_port") -> bytes:
        """The answer for `ids`."""
        request = pb.OnlineRequest(id="me", peers=ids)
        return only(client(server, kind).ask(request), pb.OnlineResponse).states

    @pytest.mark.parametrize("kind", CONNECTIONS)
    def test_bits(self, server: Server, kind: str) -> None:
        """Peer i is bit 7 - i % 8 of byte i // 8, on every port."""
        server.registered("peer-0", B)
        server.register_on(server.secured(B), "peer-9")
        server.registered("peer-15", B)
        ids = [f"peer-{i}" for i in range(16)]
        assert self.states(server, ids, kind) == bytes([0b1000_0000, 0b0100_0001])

    @pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 16, 17, 255])
    def test_exact_length(self, server: Server, n: int) -> None:
        """There are exactly ceil(n / 8) bytes, whoever is online."""
        ids = [f"unknown-{i}" for i in range(n)]
        assert self.states(server, ids) == bytes((n + 7) // 8)

    def test_unused_bits_are_zero(self, server: Server) -> None:
        """Bits behind the last peer are not set."""
        server.registered()
        assert self.states(server, [B_ID] * 11) == bytes([0xFF, 0b1110_0000])

    @pytest.mark.parametrize("kind", CONNECTIONS)
    def test_thousands(self, server: Server, kind: str) -> None:
        """Thousands of ids are answered in one message, each with its own bit."""
        server.registered("present-1")
        ids = [f"{100000000 + i}" for i in range(5000)]
        ids[4321] = "present-1"
        states = self.states(server, ids, kind)
        assert len(states) == 625
        assert [i for i in range(5000) if states[i // 8] & 0x80 >> i % 8] == [4321]

    def test_asking_costs_no_lookup(self, server: Server) -> None:
        """Whoever is online is known without the store, so asking for many does not burden it."""
        self.states(server, [f"unknown-{i}" for i in range(3000)])
        assert server.store.loads == []

    @pytest.mark.parametrize("kind", CONNECTIONS)
    def test_one_answer_per_connection(self, server: Server, kind: str) -> None:
        """The connection is closed after the answer."""
        asking = client(server, kind)
        asking.ask(pb.OnlineRequest(peers=["x"]))
        assert isinstance(asking, StreamClient)
        assert asking.closed

    def test_over_udp_no_longer_than_asked(self, server: Server) -> None:
        """Over UDP, where no address is proved, an answer is no longer than its question."""
        asking = server.udp(A)
        request = pb.RendezvousMessage(online_request=pb.OnlineRequest(peers=["", "x", "", "y"] * 50))
        asking.send_bytes(request.SerializeToString())
        server.reactor.settle()
        assert sum(len(payload) for payload, _ in server.reactor.datagrams) <= request.ByteSize() + 8
