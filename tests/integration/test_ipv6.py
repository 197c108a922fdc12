"""IPv6: which address goes where when one side or both use it, and listening on one address only."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import Controlled, Identity, Registration
from tests.client.controlling import Controlling, Punched, connect_directly
from tests.client.links import Link, PlainLink, Server, Transport, connected_socket, dial, dial_relay
from tests.client.udp import UdpLink
from tests.client.wire import Address, demangle, mangle
from tests.integration.server import ServerProcess
from tests.integration.support import NewControlled, StartServer, unique_source

NAT_TEST = pb.RendezvousMessage(test_nat_request=pb.TestNatRequest(serial=3))
RELAY = "relay.example:21117"
V6 = "::1"
ASKERS_V6 = mangle(("2001:db8::a", 1111))
PEERS_V6 = mangle(("2001:db8::b", 2222))


@pytest.fixture
def view6(server: ServerProcess) -> Server:
    """The shared server by its IPv6 address."""
    return server.view(V6)


def asker_on(view: Server, transport: Transport = "tcp") -> Controlling:
    """A controlling client that uses the family of the server's address."""
    return Controlling(view, transport=transport, source="" if view.host == V6 else unique_source())


@contextmanager
def asked(asker: Controlling, peer: Controlled, kind: str) -> Iterator[tuple[Link, pb.RendezvousMessage]]:
    """The asker's waiting connection, and what the peer is told of it."""
    with asker.dial() as link:
        link.send(asker.punch_request(peer.id, socket_addr_v6=ASKERS_V6))
        yield link, peer.wait_push(kind)


def answer_over(view: Server, message: pb.RendezvousMessage, source: str = "") -> Address:
    """Answer on a new connection as a controlled client does; the address that it came from."""
    with PlainLink(connected_socket(view.main, (source, 0) if source else None)) as link:
        link.send(message)
        link.wait_closed(15)
        return link.local


def punch_hole_sent(peer: Controlled, push: pb.RendezvousMessage) -> pb.RendezvousMessage:
    """B's answer to PunchHole."""
    content = pb.PunchHoleSent(
        socket_addr=push.punch_hole.socket_addr,
        id=peer.id,
        relay_server=RELAY,
        nat_type=pb.ASYMMETRIC,
        version="1.4.2",
        socket_addr_v6=PEERS_V6,
    )
    return pb.RendezvousMessage(punch_hole_sent=content)


class TestPunching:
    """Each side learns the other's address as the server sees it, in whichever family that is."""

    @pytest.mark.parametrize("asking", ["127.0.0.1", V6])
    def test_mixed_families(
        self, server: ServerProcess, new_controlled: NewControlled, transport: Transport, asking: str
    ) -> None:
        """One side on IPv4, the other on IPv6: each hears the other's address in its own family, A a signed key."""
        registered, source = ("127.0.0.1", unique_source()) if asking == V6 else (V6, "")
        peer = new_controlled(server.view(registered), source=source, follow_pushes=False)
        asker = asker_on(server.view(asking), transport)
        with asked(asker, peer, "punch_hole") as (link, push):
            assert demangle(push.punch_hole.socket_addr) == link.local
            assert (len(push.punch_hole.socket_addr) == 18) == (asking == V6)
            answered_from = answer_over(peer.server, punch_hole_sent(peer, push), source)
            punched = Punched(link.receive().punch_hole_response, link.local, peer.server.public_key, peer.id)
        assert punched.socket_addr == answered_from
        assert (len(punched.answer.socket_addr) == 18) == (registered == V6)
        assert punched.pk == peer.identity.pk

    def test_websocket_asker_on_the_same_address(self, view6: Server, new_controlled: NewControlled) -> None:
        """Both on one IPv6 address and A on WebSocket: punching, and each hears the other's IPv6 address."""
        peer = new_controlled(view6)
        punched = asker_on(view6, "websocket").punch(peer.id)
        push = peer.wait_push("punch_hole").punch_hole
        assert demangle(push.socket_addr) == punched.local
        assert (punched.local[0], punched.socket_addr[0]) == (V6, V6)
        with connect_directly(punched.socket_addr) as link:
            link.send_payload(b"hello")
            assert link.receive_payload() == b"hello"

    @pytest.mark.parametrize("registered", ["127.0.0.1", V6])
    @pytest.mark.parametrize("answering", ["127.0.0.1", V6])
    @pytest.mark.parametrize("asking", ["127.0.0.1", V6])
    def test_families_of_a_dual_stack_peer(
        self, server: ServerProcess, new_controlled: NewControlled, registered: str, answering: str, asking: str
    ) -> None:
        """A hears the address that the answer came from, over whichever family; second addresses pass both ways."""
        source = unique_source()
        peer = new_controlled(
            server.view(registered), source="" if registered == V6 else source, follow_pushes=False
        )
        asker = asker_on(server.view(asking), "websocket")
        with asked(asker, peer, "punch_hole") as (link, push):
            assert demangle(push.punch_hole.socket_addr) == link.local
            assert push.punch_hole.socket_addr_v6 == ASKERS_V6
            message = punch_hole_sent(peer, push)
            answered_from = answer_over(server.view(answering), message, "" if answering == V6 else source)
            answer = link.receive().punch_hole_response
        assert demangle(answer.socket_addr) == answered_from
        assert answer.socket_addr_v6 == PEERS_V6
        assert not answer.is_local

    def test_stranger_can_not_answer(self, view: Server, view6: Server, new_controlled: NewControlled) -> None:
        """A's IPv6 address holds no secret, so only the peer's own IPv4 address may answer; it still can then."""
        peer = new_controlled(view, source=unique_source(), follow_pushes=False)
        with asked(asker_on(view6), peer, "punch_hole") as (link, push):
            message = punch_hole_sent(peer, push)
            answer_over(view, message, unique_source())
            with pytest.raises(TimeoutError):
                link.receive(0.3)
            answered_from = answer_over(view, message, peer.address[0])
            assert demangle(link.receive().punch_hole_response.socket_addr) == answered_from

    def test_udp(self, view6: Server, new_controlled: NewControlled) -> None:
        """UDP punching over IPv6: the port of the test reaches the peer, and its UDP address comes back."""
        peer, asker = new_controlled(view6), asker_on(view6, "websocket")
        with UdpLink(view6.main) as udp:
            port = asker.udp_test(udp)
            assert port == udp.local[1]
            punched = asker.punch(peer.id, udp_port=port)
            answer = punched.answer
            assert isinstance(answer, pb.PunchHoleResponse)
            assert answer.is_udp
            assert punched.socket_addr[0] == V6
            assert peer.wait_push("punch_hole").punch_hole.udp_port == port
            assert asker.talk_udp(udp, punched.socket_addr, b"hello") == b"hello"


class TestSecondAddresses:
    """`socket_addr_v6` passes both ways through the other exchanges as well."""

    @pytest.mark.parametrize("transport", ["tcp", "secured"])
    @pytest.mark.parametrize("host", ["127.0.0.1", V6])
    def test_local_addresses(
        self, server: ServerProcess, new_controlled: NewControlled, host: str, transport: Transport
    ) -> None:
        """FetchLocalAddr and LocalAddr."""
        view, source = server.view(host), "" if host == V6 else unique_source()
        peer = new_controlled(view, source=source, follow_pushes=False)
        asker = Controlling(view, transport=transport, source=source)
        local = mangle(("fd00::7", 4444))
        with asked(asker, peer, "fetch_local_addr") as (link, push):
            fetch = push.fetch_local_addr
            assert demangle(fetch.socket_addr) == link.local
            assert fetch.socket_addr_v6 == ASKERS_V6
            content = pb.LocalAddr(
                socket_addr=mangle(link.local),
                local_addr=local,
                relay_server=RELAY,
                id=peer.id,
                version="1.4.2",
                socket_addr_v6=PEERS_V6,
            )
            answer_over(view, pb.RendezvousMessage(local_addr=content), source)
            punched = Punched(link.receive().punch_hole_response, link.local, view.public_key, peer.id)
        assert isinstance(punched.answer, pb.PunchHoleResponse)
        assert punched.answer.is_local
        assert punched.answer.socket_addr == local
        assert punched.answer.socket_addr_v6 == PEERS_V6
        assert punched.pk == peer.identity.pk

    @pytest.mark.parametrize("transport", ["tcp", "secured", "websocket"])
    def test_relay_of_the_peers_own_accord(
        self, view: Server, view6: Server, new_controlled: NewControlled, transport: Transport
    ) -> None:
        """PunchHole answered by RelayResponse."""
        peer = new_controlled(view6, nat_type=pb.SYMMETRIC, answer_fields={"socket_addr_v6": PEERS_V6})
        answer = asker_on(view, transport).punch(peer.id, socket_addr_v6=ASKERS_V6).answer
        assert isinstance(answer, pb.RelayResponse)
        assert answer.socket_addr_v6 == PEERS_V6
        assert peer.wait_push("punch_hole").punch_hole.socket_addr_v6 == ASKERS_V6


class TestPresence:
    """Where a peer is that changes its family."""

    def test_reached_over_the_last_family(self, view: Server, view6: Server, new_controlled: NewControlled) -> None:
        """A registration over the other family moves the peer there, with its key unchanged."""
        identity = Identity.make()
        asker = asker_on(view)
        with UdpLink(view.main, (unique_source(), 0)) as first, UdpLink(view6.main) as second:
            for udp, other in ((first, second), (second, first), (first, second)):
                assert udp.ask(identity.register_pk()).register_pk_response.result == pb.RegisterPkResponse.OK
                with asker.dial() as link:
                    link.send(asker.punch_request(identity.id))
                    assert udp.receive().HasField("punch_hole")
                    with pytest.raises(TimeoutError):
                        other.receive(0.1)

    def test_session(
        self, view: Server, view6: Server, new_controlled: NewControlled, registration: Registration
    ) -> None:
        """An IPv4 client and an IPv6 client meet at a relay that each reaches in its own family."""
        peer = new_controlled(view6, registration)
        asker = asker_on(view)
        request, answer = asker.request_relay(peer.id)
        assert answer.uuid in ("", request.uuid)
        with asker.dial_relay("", request.uuid, peer.id) as link:
            link.send_payload(b"hello")
            assert link.receive_payload() == b"hello"


def tcp_ports(view: Server) -> list[Address]:
    """All five TCP ports."""
    return [view.second, view.main, view.relay, view.websocket, view.relay_websocket]


def answers_datagrams(address: Address) -> bool:
    """Whether a NAT test over UDP is answered; False when nobody listens there."""
    with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.settimeout(5)
        made.connect(address)
        made.send(NAT_TEST.SerializeToString())
        try:
            return pb.RendezvousMessage.FromString(made.recv(65535)).HasField("test_nat_response")
        except ConnectionRefusedError:
            return False


def assert_serves(view: Server) -> None:
    """Every port of the server answers at this address."""
    assert answers_datagrams(view.main)
    for transport in ("tcp", "secured", "websocket"):
        with dial(transport, view) as link:
            assert link.ask(NAT_TEST).test_nat_response.port == link.local[1]
    first, second = Controlling(view).nat_test()
    assert first.port == second.port
    request = pb.RequestRelay(uuid="a uuid", licence_key=view.key)
    with dial_relay("tcp", view.relay) as one, dial_relay("websocket", view.relay) as other:
        for link in (one, other):
            link.send(pb.RendezvousMessage(request_relay=request))
        one.send_payload(b"hello")
        assert other.receive_payload() == b"hello"


def assert_absent(view: Server) -> None:
    """No port of the server is open at this address."""
    assert not answers_datagrams(view.main)
    for address in tcp_ports(view):
        with pytest.raises(ConnectionRefusedError):
            connected_socket(address).close()


@pytest.mark.parametrize(
    ("bind", "elsewhere"),
    [
        (V6, ["127.0.0.1"]),
        ("127.0.0.1", [V6, "127.0.0.2"]),
    ],
)
def test_bind(start_server: StartServer, bind: str, elsewhere: list[str]) -> None:
    """The server listens on the given address with all ports, and nowhere else."""
    view = start_server("--bind", bind).view(bind)
    assert_serves(view)
    for host in elsewhere:
        assert_absent(replace(view, host=host))


def test_no_bind(view: Server, view6: Server) -> None:
    """Without it the server listens on both families."""
    for there in (view, view6):
        assert_serves(there)
