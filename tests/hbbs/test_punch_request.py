"""PunchHoleRequest: what the asker is refused, and what the target is told."""

from __future__ import annotations

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from rendezvous.wire.rendezvous_pb2 import PunchHoleResponse
from tests.hbbs.clients import StreamClient, only
from tests.hbbs.conftest import MakeServer
from tests.hbbs.server import A_V6, B_ID, B_V6, A, B, Server, record
from tests.hbbs.talk import hole, push_for, seen_at, where
from tests.peers.memory_store import MemoryPeerStore

MASK = {"mask": "192.168.0.0/16", "local_ip": "192.168.1.5", "relay_servers": "relay.example"}
A_INSIDE = Address("192.168.7.7", 40007)
B_INSIDE = Address("192.168.9.9", 50009)
ANY_NAT = pb.ASYMMETRIC


def failure(client: StreamClient, id: str = B_ID, licence_key: str = "") -> PunchHoleResponse.Failure:
    """The failure that a PunchHoleRequest is answered with."""
    response = only(client.ask(pb.PunchHoleRequest(id=id, licence_key=licence_key)), PunchHoleResponse)
    assert response == PunchHoleResponse(failure=response.failure)
    return response.failure


@pytest.fixture(params=["tcp", "secured", "websocket"])
def transport(request: pytest.FixtureRequest) -> str:
    """How the asker is connected."""
    kind: str = request.param
    return kind


class TestFailures:
    """Answers without the target."""

    @pytest.mark.parametrize("sent", ["", "KEY", "key ", "ke", "keyy", "other", "ключ"])
    def test_wrong_licence_key(self, make_server: MakeServer, transport: str, sent: str) -> None:
        """Any other text than the key is LICENSE_MISMATCH, and the target hears nothing."""
        server = make_server(licence_key="key")
        target = server.registered()
        client = getattr(server, transport)(A)
        assert failure(client, licence_key=sent) == PunchHoleResponse.LICENSE_MISMATCH
        assert target.take() == []

    def test_licence_key_first_of_all(self, make_server: MakeServer) -> None:
        """Without the key nobody learns which ids there are."""
        server = make_server(licence_key="key")
        assert failure(server.tcp(A), id="unknown-1") == PunchHoleResponse.LICENSE_MISMATCH

    def test_right_licence_key(self, make_server: MakeServer, transport: str) -> None:
        """With the key the request goes on."""
        server = make_server(licence_key="key")
        target = server.registered()
        hole(getattr(server, transport)(A), target, licence_key="key")

    def test_no_licence_key_asked(self, server: Server) -> None:
        """A server without a key takes whatever the client sends."""
        target = server.registered()
        hole(server.tcp(A), target, licence_key="anything")

    @pytest.mark.parametrize("id", ["unknown-1", ""])
    def test_unknown(self, server: Server, transport: str, id: str) -> None:
        """An id that nobody has is ID_NOT_EXIST."""
        assert failure(getattr(server, transport)(A), id=id) == PunchHoleResponse.ID_NOT_EXIST

    def test_stored_but_not_there(self, make_server: MakeServer, transport: str) -> None:
        """A peer that is only stored is OFFLINE."""
        server = make_server(MemoryPeerStore(record(B_ID, B.host)))
        assert failure(getattr(server, transport)(A)) == PunchHoleResponse.OFFLINE

    def test_gone(self, server: Server, transport: str) -> None:
        """A peer that has not registered for 30 s is OFFLINE, and hears nothing."""
        target = server.registered()
        server.advance(30)
        assert failure(getattr(server, transport)(A)) == PunchHoleResponse.OFFLINE
        assert target.take() == []

    def test_connection_gone(self, server: Server) -> None:
        """A peer whose connection has ended is OFFLINE."""
        target = server.secured(B)
        server.register_on(target)
        target.reset()
        assert failure(server.tcp(A)) == PunchHoleResponse.OFFLINE

    def test_may_ask_again(self, server: Server) -> None:
        """After a failure the same connection, or a new one, may ask again."""
        assert failure(server.tcp(A)) == PunchHoleResponse.ID_NOT_EXIST
        target = server.registered()
        hole(server.tcp(A), target)


class TestPunchHole:
    """What the target is told of the asker."""

    def test_where_the_asker_is(self, server: Server, transport: str) -> None:
        """The target gets the asker's address as the server sees it, also when it is on a connection."""
        target = server.registered()
        assert where(hole(getattr(server, transport)(A), target)) == seen_at(A)
        connected = server.secured(B)
        server.register_on(connected)
        assert where(hole(getattr(server, transport)(A._replace(port=41000)), connected)) == (A.host, 41000)

    def test_ipv6(self, server: Server) -> None:
        """An asker on IPv6 is told to a target on either family."""
        assert where(hole(server.tcp(A_V6), server.registered())) == seen_at(A_V6)
        assert where(hole(server.tcp(A_V6), server.registered("other-id", B_V6), id="other-id")) == seen_at(A_V6)

    def test_fields_are_passed_through(self, server: Server) -> None:
        """What the asker told of its ways in is passed on."""
        fields = {"udp_port": 50123, "force_relay": True, "upnp_port": 4321, "socket_addr_v6": bytes(range(18))}
        push = hole(server.tcp(A), server.registered(), **fields)
        assert {name: getattr(push, name) for name in fields} == fields

    @pytest.mark.parametrize("nat_type", [pb.UNKNOWN_NAT, pb.ASYMMETRIC, pb.SYMMETRIC])
    def test_nat_type(self, server: Server, nat_type: pb.NatType) -> None:
        """The asker's NAT type is passed on."""
        assert hole(server.tcp(A), server.registered(), nat_type=nat_type).nat_type == nat_type

    def test_nonce(self, server: Server) -> None:
        """The bytes that stand for one IPv4 address differ from request to request."""
        target = server.registered()
        pushes = set()
        for _ in range(20):
            client = server.tcp(A)
            pushes.add(hole(client, target).socket_addr)
            client.reset()
        assert len(pushes) == 20

    def test_relay_server(self, make_server: MakeServer) -> None:
        """The configured relay is told as it was configured, and nothing when there is none."""
        server = make_server(relay_servers="relay.example:21999")
        assert hole(server.tcp(A), server.registered()).relay_server == "relay.example:21999"
        assert hole((other := make_server()).tcp(A), other.registered()).relay_server == ""

    def test_relay_servers_in_turn(self, make_server: MakeServer) -> None:
        """Several relays come in turn."""
        server = make_server(relay_servers="r1.example,r2.example")
        target = server.registered()
        told = [hole(server.tcp(A._replace(port=1000 + i)), target).relay_server for i in range(4)]
        assert sorted(told[:2]) == ["r1.example", "r2.example"]
        assert told[:2] == told[2:]


class TestLocal:
    """Clients that may reach each other locally."""

    @pytest.mark.parametrize("always", ["no", "yes"])
    def test_same_address(self, make_server: MakeServer, always: str) -> None:
        """With the same public address the target is asked for its local one, always-use-relay or not."""
        server = make_server(always_use_relay=always, relay_servers="relay.example")
        target = server.registered()
        same = Address(B.host, 40007)
        request = pb.PunchHoleRequest(id=B_ID, socket_addr_v6=b"v6")
        push = push_for(server.tcp(same), target, request, pb.FetchLocalAddr)
        assert where(push) == seen_at(same)
        assert (push.relay_server, push.socket_addr_v6) == ("relay.example", b"v6")

    def test_same_address_with_a_udp_port(self, make_server: MakeServer) -> None:
        """Two homes may share an address: the request for a UDP punch is punched for, not where all is relayed."""
        same = Address(B.host, 40007)
        server = make_server()
        assert hole(server.tcp(same), server.registered(), udp_port=5).udp_port == 5
        server = make_server(always_use_relay="yes")
        request = pb.PunchHoleRequest(id=B_ID, udp_port=5)
        push_for(server.tcp(same), server.registered(), request, pb.FetchLocalAddr)

    def test_same_ipv6_address(self, server: Server) -> None:
        """The same holds for IPv6."""
        target = server.registered(source=B_V6)
        asker = server.tcp(Address(B_V6.host, 40007))
        push_for(asker, target, pb.PunchHoleRequest(id=B_ID), pb.FetchLocalAddr)

    def test_same_address_over_websocket(self, server: Server) -> None:
        """An asker on WebSocket can't be reached locally: the target punches."""
        hole(server.websocket(Address(B.host, 40007)), server.registered())

    def test_both_inside_the_mask(self, make_server: MakeServer) -> None:
        """Two clients inside the mask exchange local addresses, with the public relay to fall back on."""
        server = make_server(**MASK)
        target = server.registered(source=B_INSIDE)
        request = pb.PunchHoleRequest(id=B_ID)
        push = push_for(server.tcp(A_INSIDE), target, request, pb.FetchLocalAddr)
        assert push.relay_server == "relay.example"
        request.udp_port = 5
        push_for(server.tcp(A_INSIDE._replace(port=5)), target, request, pb.FetchLocalAddr)

    def test_both_inside_the_mask_with_always_use_relay(self, make_server: MakeServer) -> None:
        """With always-use-relay they still do, and fall back on LOCAL_IP."""
        server = make_server(**MASK, always_use_relay="yes")
        target = server.registered(source=B_INSIDE)
        push = push_for(server.tcp(A_INSIDE), target, pb.PunchHoleRequest(id=B_ID), pb.FetchLocalAddr)
        assert push.relay_server == "192.168.1.5"

    def test_mask_over_websocket(self, make_server: MakeServer) -> None:
        """Inside the mask an asker on WebSocket is punched for, too."""
        server = make_server(**MASK)
        push = hole(server.websocket(A_INSIDE), server.registered(source=B_INSIDE), nat_type=ANY_NAT)
        assert (push.nat_type, push.relay_server) == (ANY_NAT, "relay.example")


class TestMustRelay:
    """Clients that are sent to the relay: the asker is presented as symmetric."""

    def test_always_use_relay(self, make_server: MakeServer) -> None:
        """With always-use-relay every asker is symmetric."""
        server = make_server(always_use_relay="yes", relay_servers="relay.example")
        push = hole(server.tcp(A), server.registered(), nat_type=ANY_NAT)
        assert (push.nat_type, push.relay_server) == (pb.SYMMETRIC, "relay.example")

    @pytest.mark.parametrize(
        ("asker", "target", "relay_server"),
        [(A_INSIDE, B, "relay.example"), (A, B_INSIDE, "192.168.1.5"), (A_V6, B_INSIDE, "192.168.1.5")],
    )
    def test_one_side_inside_the_mask(
        self, make_server: MakeServer, asker: Address, target: Address, relay_server: str
    ) -> None:
        """With one side inside the asker is symmetric; a target inside is told LOCAL_IP."""
        server = make_server(**MASK)
        push = hole(server.tcp(asker), server.registered(source=target), nat_type=ANY_NAT)
        assert (push.nat_type, push.relay_server) == (pb.SYMMETRIC, relay_server)

    def test_always_use_relay_with_a_target_inside(self, make_server: MakeServer) -> None:
        """A target inside is told LOCAL_IP, also with always-use-relay and over WebSocket."""
        server = make_server(**MASK, always_use_relay="yes")
        target = server.registered(source=B_INSIDE)
        for asker in (server.tcp(A), server.websocket(A_INSIDE)):
            push = hole(asker, target, nat_type=ANY_NAT)
            assert (push.nat_type, push.relay_server) == (pb.SYMMETRIC, "192.168.1.5")

    def test_always_use_relay_with_the_asker_inside(self, make_server: MakeServer) -> None:
        """A target outside is told the public relay, also with always-use-relay."""
        server = make_server(**MASK, always_use_relay="yes")
        push = hole(server.tcp(A_INSIDE), server.registered(), nat_type=ANY_NAT)
        assert (push.nat_type, push.relay_server) == (pb.SYMMETRIC, "relay.example")

    @pytest.mark.parametrize("target", [B, B_V6])
    def test_both_outside(self, make_server: MakeServer, target: Address) -> None:
        """The mask is nothing to those outside."""
        server = make_server(**MASK)
        push = hole(server.tcp(A), server.registered(source=target), nat_type=ANY_NAT)
        assert (push.nat_type, push.relay_server) == (ANY_NAT, "relay.example")

    def test_local_ip_without_a_mask(self, make_server: MakeServer) -> None:
        """LOCAL_IP counts only with a mask."""
        server = make_server(local_ip="192.168.1.5", relay_servers="relay.example", always_use_relay="yes")
        assert hole(server.tcp(A), server.registered(source=B_INSIDE)).relay_server == "relay.example"


class TestRepeats:
    """The same request once more."""

    def test_pushed_again_and_answered_once(self, server: Server, transport: str) -> None:
        """Each of three requests on a connection is pushed with the same bytes; one answer comes of them."""
        target = server.registered()
        asker = getattr(server, transport)(A)
        pushes = []
        for seconds in (3, 6, 9):
            pushes.append(hole(asker, target))
            server.advance(seconds)
            server.udp(B).ask(pb.RegisterPeer(id=B_ID))
        assert len({push.socket_addr for push in pushes}) == 1
        server.tcp(B).send(pb.PunchHoleSent(id=B_ID, socket_addr=pushes[0].socket_addr, version="1"))
        assert len(asker.take()) == 1
        server.tcp(B).send(pb.PunchHoleSent(id=B_ID, socket_addr=pushes[1].socket_addr, version="1"))
        assert asker.take() == []

    def test_not_without_end(self, server: Server) -> None:
        """One connection can't make the server push for ever."""
        target = server.registered()
        asker = server.tcp(A)
        for _ in range(100):
            asker.send(pb.PunchHoleRequest(id=B_ID))
        assert 3 <= len(target.take()) <= 10


@pytest.mark.parametrize("message", [pb.PunchHoleRequest(id=B_ID), pb.RequestRelay(id=B_ID, uuid="u")])
def test_needs_a_connection(server: Server, message: pb.PunchHoleRequest | pb.RequestRelay) -> None:
    """Over UDP, and on P-1, nobody is asked for."""
    target = server.registered()
    assert server.udp(A).ask(message) == []
    client = server.nat_port(A)
    assert client.ask(message) == []
    assert client.closed
    assert target.take() == []
