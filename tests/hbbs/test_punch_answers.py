"""What the target answers, and what the asker gets of it."""

from __future__ import annotations

from typing import Any

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from rendezvous.wire.rendezvous_pb2 import PunchHoleResponse
from tests.client.wire import frame, mangle
from tests.hbbs.clients import StreamClient, only, wrap
from tests.hbbs.conftest import MakeServer
from tests.hbbs.server import A_V6, B_ID, B_V6, STRANGER, A, B, Server
from tests.hbbs.talk import B_PUNCHES, answer, hole, push_for, seen_at, sent, vouches_for, where


@pytest.fixture(params=["tcp", "secured", "websocket"])
def asker(request: pytest.FixtureRequest, server: Server) -> StreamClient:
    """An asker on each kind of connection."""
    client: StreamClient = getattr(server, request.param)(A)
    return client


class TestPunchHoleSent:
    """The target has punched."""

    def test_response(self, server: Server, asker: StreamClient) -> None:
        """The asker gets the target's address as the server sees it, its signed key, and what it told."""
        push = hole(asker, server.registered())
        fields = {"relay_server": "r", "nat_type": pb.SYMMETRIC, "socket_addr_v6": b"v6", "upnp_port": 77}
        target = answer(server, sent(push, **fields))
        response = only(asker.take(), PunchHoleResponse)
        assert where(response) == seen_at(B_PUNCHES)
        assert vouches_for(response.pk)
        assert {name: getattr(response, name) for name in fields} == fields
        assert response.WhichOneof("union") == "nat_type"
        assert not response.is_udp
        assert response.feedback == 0
        assert target.closed

    @pytest.mark.parametrize("transport", ["secured", "websocket"])
    def test_over_other_connections(self, server: Server, asker: StreamClient, transport: str) -> None:
        """The target may answer over any kind of connection."""
        push = hole(asker, server.registered())
        answer(server, sent(push), transport=transport)
        assert where(only(asker.take(), PunchHoleResponse)) == seen_at(B_PUNCHES)

    def test_dropped_at_once(self, server: Server, asker: StreamClient) -> None:
        """A target that closes right after sending has still answered."""
        push = hole(asker, server.registered())
        target = server.tcp(B_PUNCHES)
        target.send_bytes(frame(wrap(sent(push))))
        target.reset()
        assert len(asker.take()) == 1

    def test_no_answer_to_the_target(self, server: Server, asker: StreamClient) -> None:
        """The target gets nothing on its connection, not even a key exchange."""
        push = hole(asker, server.registered())
        target = answer(server, sent(push))
        assert target.new_bytes() == b""

    def test_without_version(self, server: Server, asker: StreamClient) -> None:
        """A target that tells no version is reached unencrypted: no key is signed."""
        push = hole(asker, server.registered())
        answer(server, sent(push, version=""))
        assert only(asker.take(), PunchHoleResponse).pk == b""

    def test_without_a_secret_key(self, make_server: MakeServer) -> None:
        """A server without a secret key signs nothing."""
        server = make_server(signing_key=None)
        asker = server.tcp(A)
        push = hole(asker, server.registered())
        answer(server, sent(push))
        assert only(asker.take(), PunchHoleResponse).pk == b""

    def test_ipv6_target(self, server: Server, asker: StreamClient) -> None:
        """The asker is told a target's IPv6 address in its 18 bytes."""
        push = hole(asker, server.registered(source=B_V6))
        answer(server, sent(push), B_V6)
        assert where(only(asker.take(), PunchHoleResponse)) == seen_at(B_V6)

    def test_once(self, server: Server, asker: StreamClient) -> None:
        """A second answer to the same request finds nobody waiting."""
        push = hole(asker, server.registered())
        for _ in range(3):
            answer(server, sent(push))
        assert len(asker.take()) == 1
        assert server.dropped("no_such_exchange") == 2

    def test_two_askers_get_their_own(self, server: Server) -> None:
        """Answers find the asker whose bytes they bring, in whatever order."""
        target = server.registered()
        askers = [server.tcp(A), server.websocket(A._replace(port=40008)), server.tcp(STRANGER)]
        pushes = [hole(client, target) for client in askers]
        for i in (2, 0, 1):
            answer(server, sent(pushes[i], relay_server=f"r{i}"), B._replace(port=60000 + i))
        told = [only(client.take(), PunchHoleResponse) for client in askers]
        assert [response.relay_server for response in told] == ["r0", "r1", "r2"]
        assert [where(response) for response in told] == [(B.host, 60000 + i) for i in range(3)]

    def test_same_address_on_two_ports(self, server: Server) -> None:
        """An address may have a connection to P and one to P+2: each gets its own answer."""
        target = server.registered()
        askers = [server.tcp(A), server.websocket(A)]
        pushes = [hole(client, target) for client in askers]
        for i in range(2):
            answer(server, sent(pushes[i], relay_server=f"r{i}"))
        told = [only(client.take(), PunchHoleResponse).relay_server for client in askers]
        assert told == ["r0", "r1"]


class TestLocalAddr:
    """The target tells its local address."""

    def fetch(self, server: Server, asker: StreamClient, source: Address = B) -> pb.LocalAddr:
        """The answer to the FetchLocalAddr of an asker that shares the target's address."""
        target = server.registered(source=source)
        push = push_for(asker, target, pb.PunchHoleRequest(id=B_ID), pb.FetchLocalAddr)
        return pb.LocalAddr(
            id=B_ID,
            socket_addr=mangle(where(push), 12345),
            local_addr=b"192.168...",
            relay_server="r",
            version="1.4.2",
            socket_addr_v6=b"v6",
        )

    @pytest.mark.parametrize("kind", ["tcp", "secured"])
    def test_response(self, server: Server, kind: str) -> None:
        """The asker gets it unchanged, marked as local, although the asker's address is encoded anew."""
        asker: StreamClient = getattr(server, kind)(Address(B.host, 40007))
        target = answer(server, self.fetch(server, asker))
        response = only(asker.take(), PunchHoleResponse)
        assert response.socket_addr == b"192.168..."
        assert response.WhichOneof("union") == "is_local"
        assert response.is_local
        assert vouches_for(response.pk)
        assert (response.relay_server, response.socket_addr_v6) == ("r", b"v6")
        assert target.closed

    def test_without_version(self, server: Server) -> None:
        """Without a version no key is signed."""
        asker = server.tcp(Address(B.host, 40007))
        local = self.fetch(server, asker)
        local.version = ""
        answer(server, local)
        assert only(asker.take(), PunchHoleResponse).pk == b""

    def test_ipv6(self, server: Server) -> None:
        """It works among IPv6 clients."""
        asker = server.tcp(Address(B_V6.host, 40007))
        answer(server, self.fetch(server, asker, B_V6), B_V6)
        assert only(asker.take(), PunchHoleResponse).is_local

    @pytest.mark.parametrize("fields", [{"id": "another-1"}, {"id": ""}, {"socket_addr": b""}])
    def test_wrong_id_or_asker(self, server: Server, fields: dict[str, object]) -> None:
        """For another id or asker nobody gets anything."""
        asker = server.tcp(Address(B.host, 40007))
        local = self.fetch(server, asker)
        for name, value in fields.items():
            setattr(local, name, value)
        target = answer(server, local)
        assert asker.take() == []
        assert target.closed


class TestRelayResponse:
    """The target goes to the relay at once."""

    def test_response(self, server: Server, asker: StreamClient) -> None:
        """The asker gets the same without the address, and with the signed key in the place of the id."""
        push = hole(asker, server.registered())
        fields: dict[str, Any] = {
            "uuid": "u",
            "relay_server": "r",
            "version": "1.4.2",
            "socket_addr_v6": b"v6",
            "upnp_port": 5,
        }
        target = answer(server, pb.RelayResponse(socket_addr=push.socket_addr, id=B_ID, **fields))
        response = only(asker.take(), pb.RelayResponse)
        assert response.socket_addr == b""
        assert response.WhichOneof("union") == "pk"
        assert vouches_for(response.pk)
        assert {name: getattr(response, name) for name in fields} == fields
        assert response.feedback == 0
        assert target.closed

    def test_wrong_id(self, server: Server, asker: StreamClient) -> None:
        """An answer in another's name is nobody's."""
        push = hole(asker, server.registered())
        answer(server, pb.RelayResponse(socket_addr=push.socket_addr, id="another-1", version="1"))
        assert asker.take() == []


class TestIPv6Asker:
    """An asker whose bytes hold no nonce."""

    def test_from_the_target(self, server: Server) -> None:
        """The target's own address, with any port, may answer."""
        asker = server.tcp(A_V6)
        push = hole(asker, server.registered(source=B_V6))
        answer(server, sent(push), B_V6._replace(port=9))
        assert where(only(asker.take(), PunchHoleResponse)) == (B_V6.host, 9)

    def test_target_on_ipv4(self, server: Server) -> None:
        """For a target on IPv4 it is its IPv4 address."""
        asker = server.tcp(A_V6)
        push = hole(asker, server.registered())
        answer(server, sent(push))
        assert where(only(asker.take(), PunchHoleResponse)) == seen_at(B_PUNCHES)


class TestWaiting:
    """The end of waiting."""

    def test_nothing_while_waiting(self, server: Server, asker: StreamClient) -> None:
        """Nothing at all, no empty frame either, goes to an asker that waits."""
        target = server.registered()
        hole(asker, target)
        asker.new_bytes()
        for _ in range(29):
            server.advance(1)
            target.ask(pb.RegisterPeer(id=B_ID))
        assert asker.new_bytes() == b""

    def test_deadline(self, server: Server, asker: StreamClient) -> None:
        """After the deadline the asker is let go, and an answer comes too late."""
        push = hole(asker, server.registered())
        server.advance(31)
        assert server.dropped("exchange_timed_out") == 1
        assert asker.closed
        answer(server, sent(push))
        assert asker.take() == []
        assert server.dropped("no_such_exchange") == 1

    def test_asker_gone(self, server: Server, asker: StreamClient) -> None:
        """An answer for an asker that has gone is dropped."""
        push = hole(asker, server.registered())
        asker.reset()
        answer(server, sent(push))
        assert server.dropped("no_such_exchange") == 1

    def test_asker_back_at_the_same_address(self, server: Server) -> None:
        """A new connection from the same address does not get what the old one asked for."""
        target = server.registered()
        old = server.tcp(A)
        push = hole(old, target)
        old.reset()
        new = server.tcp(A)
        fresh = hole(new, target)
        answer(server, sent(push, relay_server="old"))
        assert new.take() == []
        answer(server, sent(fresh, relay_server="new"))
        assert only(new.take(), PunchHoleResponse).relay_server == "new"
