"""From a punch request to a stream between both sides, and the refusals."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import Identity, Registration
from tests.client.controlling import Controlling, RefusedError
from tests.client.links import Server, Transport
from tests.client.udp import UdpLink
from tests.client.wire import demangle, mangle
from tests.integration.server import ServerProcess
from tests.integration.support import NewControlled, StartServer, unique_source

TRANSPORTS: list[Transport] = ["tcp", "secured", "websocket"]


def test_direct_connection(
    view: Server,
    new_controlled: NewControlled,
    tcp_transport: Transport,
    registration: Registration,
) -> None:
    """From different addresses both sides meet on a punched TCP connection."""
    peer = new_controlled(view, registration)
    asker = Controlling(view, transport=tcp_transport, source=unique_source())
    with asker.connect(peer.id) as session:
        assert session.pk == peer.identity.pk
        assert session.round_trip(b"hello") == b"hello"
        assert session.way == ("relay" if registration == "websocket" else "direct")
    push = peer.wait_push("punch_hole").punch_hole
    assert demangle(push.socket_addr)[0] == session.link.local[0]
    assert not push.force_relay


def test_direct_connection_over_ipv6(
    server: ServerProcess, new_controlled: NewControlled, tcp_transport: Transport
) -> None:
    """A peer registered over IPv4 that dials the server's IPv6 address is met on ::1."""
    peer = new_controlled(server.view())
    peer.server = server.view("::1")
    peer.source = None
    asker = Controlling(server.view("::1"), transport=tcp_transport)
    with asker.connect(peer.id) as session:
        assert (session.way, session.pk) == ("direct", peer.identity.pk)
        assert session.link.remote[0] == "::1"
        assert session.round_trip(b"hello") == b"hello"


def test_both_on_one_ipv6_address(
    server: ServerProcess, new_controlled: NewControlled, tcp_transport: Transport
) -> None:
    """The peer is asked for its local address; on IPv6 it answers with the relay instead."""
    view = server.view("::1")
    peer = new_controlled(view)
    with Controlling(view, transport=tcp_transport).connect(peer.id) as session:
        assert (session.way, session.pk) == ("relay", peer.identity.pk)
        assert session.round_trip(b"hello") == b"hello"
    assert peer.wait_push("fetch_local_addr")


def test_answer_names_the_peer_as_the_server_sees_it(
    view: Server, new_controlled: NewControlled, transport: Transport
) -> None:
    """Address and port of the peer's own answer connection, its NAT type and the signed key."""
    peer = new_controlled(view)
    punched = Controlling(view, transport=transport, source=unique_source()).punch(peer.id)
    answer = punched.answer
    assert isinstance(answer, pb.PunchHoleResponse)
    assert punched.socket_addr[0] == peer.address[0]
    assert answer.nat_type == pb.ASYMMETRIC
    assert not answer.is_udp
    assert punched.pk == peer.identity.pk


@pytest.mark.parametrize("way", ["close", "reset"])
def test_answer_counts_when_its_connection_ends_at_once(
    view: Server, new_controlled: NewControlled, way: str
) -> None:
    """A peer that drops its connection right behind the answer, also by a reset, is heard."""
    peer = new_controlled(view, reset_answers=way == "reset")
    for _ in range(5):
        with Controlling(view, source=unique_source()).connect(peer.id) as session:
            assert session.round_trip(b"hello") == b"hello"


def test_local_addresses(
    view: Server, new_controlled: NewControlled, tcp_transport: Transport, source: str
) -> None:
    """From one address the peer is asked for its local one and met there."""
    peer = new_controlled(view, source=source)
    with Controlling(view, transport=tcp_transport, source=source).connect(peer.id) as session:
        assert (session.way, session.pk) == ("local", peer.identity.pk)
        assert session.link.remote[0] == source
        assert session.round_trip(b"hello") == b"hello"
    assert peer.wait_push("fetch_local_addr")
    assert len(peer.pushes.all()) == 1


def test_no_local_address_for_a_websocket(view: Server, new_controlled: NewControlled, source: str) -> None:
    """An asker on WebSocket gets no local address, also from the same address."""
    peer = new_controlled(view, source=source)
    with Controlling(view, transport="websocket", source=source).connect(peer.id) as session:
        assert session.way == "relay"
        assert session.round_trip(b"hello") == b"hello"
    kinds = {push.WhichOneof("union") for push in peer.pushes.all()}
    assert kinds == {"punch_hole", "request_relay"}


@pytest.mark.parametrize("key", ["", "OeVuKk5nlHiXp+APNn0Y3pC1Iwpwn44JGqrQCsWqmBw=", "x" * 500])
def test_wrong_key(view: Server, new_controlled: NewControlled, transport: Transport, key: str) -> None:
    """A punch request with a missing or another key is refused, known id or not."""
    peer = new_controlled(view)
    asker = Controlling(replace(view, key=key), transport=transport, source=unique_source())
    for peer_id in (peer.id, "999999999999"):
        with pytest.raises(RefusedError, match="LICENSE_MISMATCH"):
            asker.punch(peer_id)
    assert not peer.pushes.all()


def test_unknown_id(view: Server, transport: Transport) -> None:
    """An id that nobody has registered doesn't exist."""
    with pytest.raises(RefusedError, match="ID_NOT_EXIST"):
        Controlling(view, transport=transport).punch(Identity.make().id)


def test_offline_after_a_restart(start_server: StartServer, source: str) -> None:
    """A stored peer that hasn't been heard of is offline, not unknown, on every transport."""
    server = start_server()
    peer = Identity.make()
    with UdpLink(server.view().main, (source, 0)) as udp:
        assert udp.ask(peer.register_pk()).register_pk_response.result == 0
    server.restart()
    for transport in TRANSPORTS:
        with pytest.raises(RefusedError, match="OFFLINE"):
            Controlling(server.view(), transport=transport).punch(peer.id)


def test_no_key_is_asked_for_without_one(start_server: StartServer, new_controlled: NewControlled) -> None:
    """With an empty `-k` anybody may ask, and keys are signed all the same."""
    view = start_server("-k", "").view()
    peer = new_controlled(view)
    for key in ("", "anything"):
        asker = Controlling(replace(view, key=key), source=unique_source())
        assert asker.punch(peer.id).pk == peer.identity.pk


def test_no_signature_for_a_peer_that_names_no_version(view: Server, new_controlled: NewControlled) -> None:
    """An answer without a version is passed on without a key."""
    peer = new_controlled(view, version="")
    assert Controlling(view, source=unique_source()).punch(peer.id).answer.pk == b""


def test_fields_pass_from_asker_to_peer(view: Server, new_controlled: NewControlled, transport: Transport) -> None:
    """What the asker says about itself reaches the peer unchanged."""
    peer = new_controlled(view, follow_pushes=False)
    asker = Controlling(view, transport=transport, source=unique_source())
    address = mangle(("2001:db8::7", 4321))
    with asker.dial() as link:
        message = asker.punch_request(
            peer.id,
            nat_type=pb.SYMMETRIC,
            udp_port=4001,
            upnp_port=4002,
            force_relay=True,
            socket_addr_v6=address,
        )
        link.send(message)
        push = peer.wait_push("punch_hole").punch_hole
    assert push.nat_type == pb.SYMMETRIC
    assert (push.udp_port, push.upnp_port) == (4001, 4002)
    assert push.force_relay
    assert push.socket_addr_v6 == address


def test_fields_pass_from_peer_to_asker(view: Server, new_controlled: NewControlled, transport: Transport) -> None:
    """What the peer says about itself reaches the asker unchanged."""
    address = mangle(("2001:db8::8", 1234))
    fields: dict[str, object] = {
        "nat_type": pb.SYMMETRIC,
        "upnp_port": 4003,
        "socket_addr_v6": address,
        "relay_server": "relay.example:1234",
    }
    peer = new_controlled(view, answer_fields=fields)
    answer = Controlling(view, transport=transport, source=unique_source()).punch(peer.id).answer
    assert isinstance(answer, pb.PunchHoleResponse)
    assert answer.nat_type == pb.SYMMETRIC
    assert answer.upnp_port == 4003
    assert answer.socket_addr_v6 == address
    assert answer.relay_server == "relay.example:1234"


def test_many_askers_get_their_own_answers(view: Server, new_controlled: NewControlled) -> None:
    """Askers at one address, at the same time, are not mixed up."""
    peers = [new_controlled(view) for _ in range(3)]
    source = unique_source()
    asker = Controlling(view, source=source)
    links = [(peer, asker.dial()) for peer in peers for _ in range(3)]
    for peer, link in links:
        link.send(asker.punch_request(peer.id))
    for peer, link in links:
        with link:
            answer = link.receive().punch_hole_response
            assert demangle(answer.socket_addr)[0] == peer.address[0]


def test_nat_test_on_both_ports(view: Server, source: str) -> None:
    """Both ports see the same port of a client behind no NAT."""
    first, second = Controlling(view, source=source).nat_test()
    assert first.port == second.port > 0


def test_nat_test_brings_the_server_list(start_server: StartServer, source: str) -> None:
    """On P a client with an older serial gets the list; one that is up to date doesn't."""
    view = start_server("-s", "7", "-R", "one.example").view()
    first, _ = Controlling(view, source=source).nat_test(serial=6)
    assert (first.cu.serial, list(first.cu.rendezvous_servers)) == (7, ["one.example"])
    first, _ = Controlling(view, source=source).nat_test(serial=7)
    assert not first.HasField("cu")
