"""RequestRelay and RelayResponse."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message

from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from tests.hbbs.clients import StreamClient, only
from tests.hbbs.conftest import MakeServer
from tests.hbbs.server import B_ID, STRANGER, A, B, Server, record
from tests.hbbs.talk import B_PUNCHES, answer, hole, push_for, seen_at, sent, vouches_for, where
from tests.peers.memory_store import MemoryPeerStore

MASK = {"mask": "192.168.0.0/16", "local_ip": "192.168.1.5", "relay_servers": "relay.example"}
A_INSIDE = Address("192.168.7.7", 40007)

UNKNOWN_FIELD = bytes([0xFA, 0x3E, 4]) + b"next"
"""A field with number 1007, as a newer client may send it."""


def with_unknown(message: Message) -> bytes:
    """A serialized message and a field that no schema of today has."""
    return message.SerializeToString() + UNKNOWN_FIELD


def request(server: Server, asker: StreamClient, **fields: object) -> pb.RequestRelay:
    """The RequestRelay that the target gets."""
    target = server.registered()
    message = pb.RequestRelay(**({"id": B_ID, "uuid": "u-1"} | fields))  # type: ignore[arg-type]
    return push_for(asker, target, message, pb.RequestRelay)


@pytest.fixture(params=["tcp", "secured", "websocket"])
def asker(request: pytest.FixtureRequest, server: Server) -> StreamClient:
    """An asker on each kind of connection."""
    client: StreamClient = getattr(server, request.param)(A)
    return client


class TestRequest:
    """What the target is told."""

    def test_unchanged_but_for_the_address(self, server: Server, asker: StreamClient) -> None:
        """Every field that the asker set arrives, and socket_addr is the asker's address."""
        message = pb.RequestRelay(
            id=B_ID,
            uuid="u-1",
            relay_server="r.example",
            secure=True,
            licence_key="k",
            conn_type=pb.FILE_TRANSFER,
            token="t",
            control_permissions=pb.ControlPermissions(permissions=0x2A),
            controlled_context=pb.ControlledContext(conn_audit_ref="ref"),
            switch_code="s",
        )
        push = push_for(asker, server.registered(), message, pb.RequestRelay)
        assert where(push) == seen_at(A)
        push.ClearField("socket_addr")
        assert push == message

    def test_unknown_fields_survive(self, server: Server, asker: StreamClient) -> None:
        """A field of a newer client is passed on."""
        message = pb.RequestRelay.FromString(with_unknown(pb.RequestRelay(id=B_ID, uuid="u")))
        push = push_for(asker, server.registered(), message, pb.RequestRelay)
        assert UNKNOWN_FIELD in push.SerializeToString()

    def test_claimed_address_is_not_believed(self, server: Server, asker: StreamClient) -> None:
        """A socket_addr that the asker sends itself is replaced."""
        assert where(request(server, asker, socket_addr=b"elsewhere")) == seen_at(A)

    def test_no_licence_key_is_asked(self, make_server: MakeServer) -> None:
        """The relay asks for the key, not this server: askers send none here."""
        server = make_server(licence_key="key")
        request(server, server.tcp(A))

    def test_repeated(self, server: Server, asker: StreamClient) -> None:
        """The same request on the same connection is pushed again, and answered once."""
        first, second = request(server, asker), request(server, asker)
        assert first == second
        for _ in range(2):
            answer(server, pb.RelayResponse(socket_addr=first.socket_addr, uuid="u-1", version="1"))
        assert len(asker.take()) == 1

    @pytest.mark.parametrize("known", [False, True])
    def test_target_not_there(self, make_server: MakeServer, known: bool) -> None:
        """For a target that is offline or unknown the asker is refused at once, with a reason."""
        server = make_server(MemoryPeerStore(record(B_ID, B.host)) if known else None)
        response = only(server.tcp(A).ask(pb.RequestRelay(id=B_ID, uuid="u-1")), pb.RelayResponse)
        assert response.refuse_reason
        assert response.pk == b""


class TestResponse:
    """What the asker gets."""

    def test_with_id(self, server: Server, asker: StreamClient) -> None:
        """An id becomes the signed key, the address is cleared, the rest stays."""
        push = request(server, asker)
        message = pb.RelayResponse(
            socket_addr=push.socket_addr, uuid="u-1", relay_server="r", id=B_ID, version="1.4", socket_addr_v6=b"v6"
        )
        target = answer(server, message)
        response = only(asker.take(), pb.RelayResponse)
        assert vouches_for(response.pk)
        response.ClearField("union")
        message.ClearField("union")
        message.ClearField("socket_addr")
        assert response == message
        assert target.closed

    def test_without_id(self, server: Server, asker: StreamClient) -> None:
        """Without an id the answer to a relay request has no key either."""
        push = request(server, asker)
        answer(server, pb.RelayResponse(socket_addr=push.socket_addr, version="1.4"))
        assert only(asker.take(), pb.RelayResponse) == pb.RelayResponse(version="1.4")

    def test_without_version(self, server: Server, asker: StreamClient) -> None:
        """With an id but without a version no key is signed, and the id is not passed on."""
        push = request(server, asker)
        answer(server, pb.RelayResponse(socket_addr=push.socket_addr, id=B_ID))
        response = only(asker.take(), pb.RelayResponse)
        assert (response.pk, response.id) == (b"", "")

    def test_refused(self, server: Server, asker: StreamClient) -> None:
        """A reason for refusing is passed on."""
        push = request(server, asker)
        answer(server, pb.RelayResponse(socket_addr=push.socket_addr, refuse_reason="no"))
        assert only(asker.take(), pb.RelayResponse).refuse_reason == "no"

    @pytest.mark.parametrize("upnp_port", [0, 4444])
    def test_unknown_and_newer_fields_survive(self, server: Server, asker: StreamClient, upnp_port: int) -> None:
        """upnp_port and fields of a newer client are passed on."""
        push = request(server, asker)
        message = pb.RelayResponse(socket_addr=push.socket_addr, id=B_ID, version="1", upnp_port=upnp_port)
        answer(server, pb.RelayResponse.FromString(with_unknown(message)))
        response = only(asker.take(), pb.RelayResponse)
        assert response.upnp_port == upnp_port
        assert UNKNOWN_FIELD in response.SerializeToString()

    def test_claimed_key_is_not_passed_on(self, server: Server, asker: StreamClient) -> None:
        """The target can't put a key of its own into the answer to a punch request."""
        push = hole(asker, server.registered())
        answer(server, pb.RelayResponse(socket_addr=push.socket_addr, pk=b"forged", version="1"))
        answer(server, sent(push))
        for response in asker.take():
            assert getattr(response, "pk", b"") != b"forged"

    def test_dropped_at_once(self, server: Server, asker: StreamClient) -> None:
        """The server closes the target's connection after the answer."""
        push = request(server, asker)
        target = answer(server, pb.RelayResponse(socket_addr=push.socket_addr))
        assert target.closed
        assert target.transport.lost

    @pytest.mark.parametrize("source", [STRANGER, B_PUNCHES])
    def test_stale_bytes(self, server: Server, asker: StreamClient, source: Address) -> None:
        """Bytes of an asker that is not waiting any more are nobody's."""
        push = request(server, asker)
        asker.reset()
        target = answer(server, pb.RelayResponse(socket_addr=push.socket_addr), source)
        assert target.closed
        assert server.dropped("no_such_exchange") == 1


class TestRelayName:
    """The name of the relay in a RelayResponse, with a mask."""

    def name(self, server: Server, source: Address, relay_server: str) -> str:
        """What an asker at `source` gets when the target names `relay_server`."""
        asker = server.tcp(source)
        push = request(server, asker)
        answer(server, pb.RelayResponse(socket_addr=push.socket_addr, relay_server=relay_server))
        return only(asker.take(), pb.RelayResponse).relay_server

    @pytest.mark.parametrize(
        ("source", "named", "expected"),
        [
            (A_INSIDE, "relay.example", "192.168.1.5"),
            (A_INSIDE, "192.168.1.5", "192.168.1.5"),
            (A_INSIDE, "other.example", "192.168.1.5"),
            (A_INSIDE, "", ""),
            (A, "192.168.1.5", "relay.example"),
            (A, "relay.example", "relay.example"),
            (A, "other.example", "other.example"),
            (A, "", ""),
        ],
    )
    def test_with_a_mask(self, make_server: MakeServer, source: Address, named: str, expected: str) -> None:
        """Inside the mask it is LOCAL_IP; outside, a public one where LOCAL_IP was named."""
        assert self.name(make_server(**MASK), source, named) == expected

    @pytest.mark.parametrize("named", ["192.168.1.5", "relay.example", "other.example", ""])
    def test_without_a_mask(self, make_server: MakeServer, named: str) -> None:
        """Without a mask the name stays."""
        server = make_server(local_ip="192.168.1.5", relay_servers="relay.example")
        assert self.name(server, A, named) == named
        assert self.name(server, A_INSIDE, named) == named
