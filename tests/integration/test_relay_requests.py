"""How both sides agree to meet at a relay."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import Registration
from tests.client.controlling import Controlling, RefusedError
from tests.client.links import Server, Transport
from tests.client.wire import demangle
from tests.integration.support import NewControlled, StartServer, unique_source

WaitPush = Callable[[str], pb.RendezvousMessage]
# Field 1000 with the text "later": something that a newer client may send.
UNKNOWN_FIELD = bytes.fromhex("c23e056c61746572")


def test_relay_fallback(
    view: Server,
    new_controlled: NewControlled,
    transport: Transport,
    registration: Registration,
) -> None:
    """RequestRelay without a key reaches the peer, and both meet at the relay."""
    peer = new_controlled(view, registration)
    asker = Controlling(view, transport=transport, source=unique_source())
    with asker.connect_by_relay(peer.id) as session:
        assert session.round_trip(b"over the relay") == b"over the relay"
    push = peer.wait_push("request_relay").request_relay
    assert demangle(push.socket_addr)[0] == session.link.local[0]


def test_unreachable_direct_address_falls_back_to_the_relay(
    view: Server, new_controlled: NewControlled, tcp_transport: Transport
) -> None:
    """A punch that leads nowhere ends at the relay all the same."""
    peer = new_controlled(view)
    asker = Controlling(view, transport=tcp_transport, source=unique_source())
    answer = asker.punch(peer.id).answer
    assert isinstance(answer, pb.PunchHoleResponse)
    with asker.connect_by_relay(peer.id, answer.relay_server) as session:
        assert session.round_trip(b"hello") == b"hello"


def test_forced_relay(view: Server, new_controlled: NewControlled, transport: Transport) -> None:
    """`force_relay` makes the peer answer the punch with RelayResponse and a uuid of its own."""
    peer = new_controlled(view)
    asker = Controlling(view, transport=transport, source=unique_source())
    punched = asker.punch(peer.id, force_relay=True)
    answer = punched.answer
    assert isinstance(answer, pb.RelayResponse)
    assert answer.uuid
    assert answer.socket_addr == b""
    assert answer.WhichOneof("union") == "pk"
    assert punched.pk == peer.identity.pk
    with asker.connect(peer.id, force_relay=True) as session:
        assert (session.way, session.pk) == ("relay", peer.identity.pk)
        assert session.round_trip(b"hello") == b"hello"


def test_request_passes_through_with_unknown_fields(
    view: Server, new_controlled: NewControlled, transport: Transport
) -> None:
    """The request reaches the peer as it was sent, newer fields included, and its asker added."""
    peer = new_controlled(view, follow_pushes=False)
    asker = Controlling(view, transport=transport, source=unique_source())
    request = asker.relay_request(
        peer.id,
        "relay.example:1",
        conn_type=pb.FILE_TRANSFER,
        switch_code="code",
        control_permissions=pb.ControlPermissions(permissions=9),
        controlled_context=pb.ControlledContext(conn_audit_ref="ref"),
    ).request_relay
    request.MergeFromString(UNKNOWN_FIELD)
    with asker.dial() as link:
        link.send(pb.RendezvousMessage(request_relay=request))
        push = peer.wait_push("request_relay").request_relay
    assert push.socket_addr != b""
    assert UNKNOWN_FIELD in push.SerializeToString()
    assert push.relay_server == "relay.example:1"
    expected = pb.RequestRelay.FromString(request.SerializeToString())
    expected.socket_addr = push.socket_addr
    assert push == expected


def test_answer_passes_through_with_unknown_fields(
    view: Server, new_controlled: NewControlled, transport: Transport
) -> None:
    """The peer's RelayResponse reaches the asker with its newer fields, the address cleared."""
    peer = new_controlled(view, follow_pushes=False)
    asker = Controlling(view, transport=transport, source=unique_source())
    with asker.dial() as link:
        link.send(asker.relay_request(peer.id))
        push = peer.wait_push("request_relay").request_relay
        answer = pb.RelayResponse(
            socket_addr=push.socket_addr,
            version="1.4.2",
            feedback=0,
            upnp_port=77,
            socket_addr_v6=b"\1" * 18,
        )
        answer.MergeFromString(UNKNOWN_FIELD)
        with Controlling(view).dial((peer.address[0], 0)) as own:
            own.send(pb.RendezvousMessage(relay_response=answer))
            own.wait_closed(15)
        received = link.receive().relay_response
    assert UNKNOWN_FIELD in received.SerializeToString()
    assert received.upnp_port == 77
    assert received.socket_addr_v6 == b"\1" * 18
    assert received.socket_addr == b""


def test_refusal_reaches_the_asker(view: Server, new_controlled: NewControlled, transport: Transport) -> None:
    """A peer's refuse_reason is told to the asker."""
    peer = new_controlled(view, refuse_reason="not now")
    asker = Controlling(view, transport=transport, source=unique_source())
    with pytest.raises(RefusedError, match="not now"):
        asker.request_relay(peer.id)


def test_always_use_relay(start_server: StartServer, new_controlled: NewControlled, transport: Transport) -> None:
    """With ALWAYS_USE_RELAY the peer is told that the asker is behind a symmetric NAT."""
    view = start_server(env={"ALWAYS_USE_RELAY": "Y"}).view()
    peer = new_controlled(view)
    asker = Controlling(view, transport=transport, source=unique_source())
    with asker.connect(peer.id) as session:
        assert session.way == "relay"
        assert session.round_trip(b"hello") == b"hello"
    assert peer.wait_push("punch_hole").punch_hole.nat_type == pb.SYMMETRIC


def test_same_address_is_local_also_with_always_use_relay(
    start_server: StartServer, new_controlled: NewControlled, source: str
) -> None:
    """From one address local addresses are exchanged, always-use-relay or not."""
    view = start_server(env={"ALWAYS_USE_RELAY": "Y"}).view()
    peer = new_controlled(view, source=source)
    with Controlling(view, source=source).connect(peer.id) as session:
        assert session.way == "local"


def test_relay_servers_in_turn(start_server: StartServer, new_controlled: NewControlled) -> None:
    """Relays that answer are named in turn."""
    other = start_server(part="hbbr")
    port = other.port + 1
    first = start_server(ready=False)
    own = f"127.0.0.1:{first.port + 1}"
    first.flags = ("-r", f"{own},127.0.0.1:{port}")
    view = first.start().view()
    peer = new_controlled(view, own_relay=own)
    asker = Controlling(view, source=unique_source())
    for _ in range(4):
        asker.punch(peer.id)
    named = [push.punch_hole.relay_server for push in peer.pushes.all()]
    assert set(named) == {own, f"127.0.0.1:{port}"}
    assert named[0] == named[2] != named[1] == named[3]


def test_one_named_relay_is_used_by_both(start_server: StartServer, new_controlled: NewControlled) -> None:
    """The name given with `-r` reaches both sides, here that of a relay on a port of its own."""
    server = start_server(ready=False)
    server.relay_port = server.port + 3
    server.flags = ("-r", f"127.0.0.1:{server.relay_port}")
    view = server.start().view()
    peer = new_controlled(view)
    asker = Controlling(view, source=unique_source())
    answer = asker.punch(peer.id).answer
    assert answer.relay_server == f"127.0.0.1:{server.relay_port}"
    with asker.connect_by_relay(peer.id, answer.relay_server) as session:
        assert session.round_trip(b"hello") == b"hello"


@pytest.fixture(scope="module")
def masked(start_module_server: StartServer) -> Server:
    """A server whose local network is 127.77.0.0/16."""
    server = start_module_server(ready=False)
    server.flags = ("--mask", "127.77.0.0/16", "-r", f"relay.example:{server.port + 1}")
    server.env = {"LOCAL_IP": "127.0.0.9"}
    return server.start().view()


class TestMask:
    """`--mask` with `LOCAL_IP`: who is inside, who is outside, and which relay each is told."""

    INSIDE = "127.77.1."
    OUTSIDE = "127.78.1."

    def test_both_inside(self, masked: Server, new_controlled: NewControlled) -> None:
        """Two addresses of the local network exchange local addresses."""
        peer = new_controlled(masked, source=self.INSIDE + "1")
        with Controlling(masked, source=self.INSIDE + "2").connect(peer.id) as session:
            assert session.way == "local"

    def test_only_the_peer_inside(self, masked: Server, new_controlled: NewControlled) -> None:
        """The peer is sent to the relay at LOCAL_IP; the asker hears of the public one."""
        peer = new_controlled(masked, source=self.INSIDE + "1", follow_pushes=False)
        asker = Controlling(masked, source=self.OUTSIDE + "1")
        push, answer = self.relayed(masked, peer.id, asker, peer.address[0], peer.wait_push)
        assert push.nat_type == pb.SYMMETRIC
        assert push.relay_server == "127.0.0.9"
        assert answer.relay_server == f"relay.example:{masked.port + 1}"

    def test_only_the_asker_inside(self, masked: Server, new_controlled: NewControlled) -> None:
        """The peer hears of the public relay; the asker is told LOCAL_IP."""
        peer = new_controlled(masked, source=self.OUTSIDE + "2", follow_pushes=False)
        asker = Controlling(masked, source=self.INSIDE + "3")
        push, answer = self.relayed(masked, peer.id, asker, peer.address[0], peer.wait_push)
        assert push.nat_type == pb.SYMMETRIC
        assert push.relay_server == f"relay.example:{masked.port + 1}"
        assert answer.relay_server == "127.0.0.9"

    def test_both_outside(self, masked: Server, new_controlled: NewControlled) -> None:
        """Nobody inside: an ordinary punch."""
        peer = new_controlled(masked, source=self.OUTSIDE + "4")
        with Controlling(masked, source=self.OUTSIDE + "5").connect(peer.id) as session:
            assert session.way == "direct"
        push = peer.wait_push("punch_hole").punch_hole
        assert push.nat_type == pb.ASYMMETRIC

    def relayed(
        self, view: Server, peer_id: str, asker: Controlling, address: str, wait: WaitPush
    ) -> tuple[pb.PunchHole, pb.RelayResponse]:
        """The push and the asker's answer when the peer answers with what it was told."""
        with asker.dial() as link:
            link.send(asker.punch_request(peer_id))
            push = wait("punch_hole").punch_hole
            answer = pb.RelayResponse(
                socket_addr=push.socket_addr,
                uuid="a-relay-uuid",
                relay_server=push.relay_server,
                id=peer_id,
                version="1.4.2",
            )
            with Controlling(view).dial((address, 0)) as own:
                own.send(pb.RendezvousMessage(relay_response=answer))
                own.wait_closed(15)
            return push, link.receive().relay_response
