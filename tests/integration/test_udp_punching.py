"""Punching over UDP, and what the server refuses to send for strangers."""

from __future__ import annotations

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import Controlled
from tests.client.controlling import Controlling, Punched
from tests.client.links import Link, PlainLink, Server, Transport, connected_socket
from tests.client.udp import UdpLink
from tests.client.wire import mangle
from tests.integration.support import NewControlled, unique_source


def nat_barrier(udp: UdpLink) -> None:
    """Return when the server has read everything sent from this socket before."""
    answer = udp.ask(pb.RendezvousMessage(test_nat_request=pb.TestNatRequest()))
    assert answer.HasField("test_nat_response")


def sent(push: pb.PunchHole, peer_id: str, **fields: bytes) -> pb.RendezvousMessage:
    """The peer's answer to a push, changed where asked."""
    message = pb.PunchHoleSent(
        socket_addr=fields.get("socket_addr", push.socket_addr),
        id=peer_id,
        relay_server="",
        nat_type=pb.ASYMMETRIC,
        version="1.4.2",
    )
    return pb.RendezvousMessage(punch_hole_sent=message)


def waiting_asker(
    view: Server, peer: Controlled, udp_port: int = 0, transport: Transport = "tcp"
) -> tuple[Link, pb.PunchHole]:
    """An asker whose request has reached the peer and isn't answered yet."""
    asker = Controlling(view, transport=transport, source=unique_source())
    link = asker.dial()
    before = len(peer.pushes.all())
    link.send(asker.punch_request(peer.id, udp_port=udp_port))
    peer.pushes.wait(lambda _: len(peer.pushes.all()) > before)
    return link, peer.pushes.all()[-1].punch_hole


def test_both_sides_meet_over_udp(
    view: Server, new_controlled: NewControlled, tcp_transport: Transport, source: str
) -> None:
    """Two requests, one with the UDP port: one answer by UDP, one by TCP, and datagrams flow."""
    peer = new_controlled(view)
    asker = Controlling(view, transport=tcp_transport, source=source)
    with UdpLink(view.main, (source, 0)) as udp:
        port = asker.udp_test(udp)
        assert port == udp.local[1]
        by_udp, by_tcp = asker.punch_twice(peer.id, port)
        assert (flags(by_udp), flags(by_tcp)) == (True, False)
        assert by_udp.pk == by_tcp.pk == peer.identity.pk
        assert by_udp.socket_addr[0] == by_tcp.socket_addr[0] == peer.address[0]
        assert asker.talk_udp(udp, by_udp.socket_addr, b"over udp") == b"over udp"
    ports = {push.punch_hole.udp_port for push in peer.pushes.all()}
    assert ports == {port, 0}


def flags(punched: Punched) -> bool:
    """Whether the answer says that the peer came by UDP."""
    assert isinstance(punched.answer, pb.PunchHoleResponse)
    return punched.answer.is_udp


def test_udp_answer_counts_once(view: Server, new_controlled: NewControlled, source: str) -> None:
    """The first of several equal datagrams is the answer; the asker gets no second one."""
    peer = new_controlled(view, follow_pushes=False)
    link, push = waiting_asker(view, peer, udp_port=4000)
    with link, UdpLink(view.main, (peer.address[0], 0)) as punching:
        for _ in range(3):
            punching.send(sent(push, peer.id))
        nat_barrier(punching)
        answer = link.receive().punch_hole_response
        assert answer.is_udp
        with pytest.raises((TimeoutError, ConnectionError)):
            link.receive(0.3)


@pytest.mark.parametrize("wrong", ["nonce", "id", "asker"])
def test_udp_answer_must_fit_the_pending_punch(view: Server, new_controlled: NewControlled, wrong: str) -> None:
    """Another nonce, another id or another asker: dropped, and the right one still counts."""
    peer = new_controlled(view, follow_pushes=False)
    other = new_controlled(view, follow_pushes=False)
    link, push = waiting_asker(view, peer, udp_port=4000)
    forged = {
        "nonce": sent(push, peer.id, socket_addr=mangle(link.local, clock=12345)),
        "id": sent(push, other.id),
        "asker": sent(push, peer.id, socket_addr=mangle((link.local[0], 9))),
    }[wrong]
    with link, UdpLink(view.main, (unique_source(), 0)) as stranger:
        stranger.send(forged)
        nat_barrier(stranger)
        with pytest.raises(TimeoutError):
            link.receive(0.2)
        with UdpLink(view.main, (peer.address[0], 0)) as punching:
            punching.send(sent(push, peer.id))
            answer = link.receive().punch_hole_response
            assert answer.is_udp


@pytest.mark.parametrize("over", ["udp", "tcp", "websocket"])
def test_nobody_is_sent_what_a_stranger_made_up(view: Server, new_controlled: NewControlled, over: str) -> None:
    """Answers that name a waiting victim's address, guessed, reach neither TCP nor UDP of it."""
    peer = new_controlled(view, follow_pushes=False)
    victim_link, push = waiting_asker(view, peer, udp_port=4000)
    with victim_link, UdpLink(view.main, (victim_link.local[0], 0)) as victim_udp:
        for victim in (victim_link.local, victim_udp.local):
            address = mangle(victim)
            for message in made_up(address, peer.id):
                deliver(view, over, message)
        with pytest.raises(TimeoutError):
            victim_link.receive(0.2)
        with pytest.raises(TimeoutError):
            victim_udp.receive_from(0.05)
        assert push.socket_addr != mangle(victim_link.local)


def made_up(address: bytes, peer_id: str) -> list[pb.RendezvousMessage]:
    """Each kind of answer, naming an address that the sender has guessed."""
    return [
        pb.RendezvousMessage(punch_hole_sent=pb.PunchHoleSent(socket_addr=address, id=peer_id, version="1.4.2")),
        pb.RendezvousMessage(
            local_addr=pb.LocalAddr(socket_addr=address, local_addr=address, id=peer_id, version="1.4.2")
        ),
        pb.RendezvousMessage(
            relay_response=pb.RelayResponse(socket_addr=address, uuid="made-up", id=peer_id, version="1.4.2")
        ),
        pb.RendezvousMessage(punch_hole=pb.PunchHole(socket_addr=address)),
        pb.RendezvousMessage(fetch_local_addr=pb.FetchLocalAddr(socket_addr=address)),
        pb.RendezvousMessage(punch_hole_response=pb.PunchHoleResponse(socket_addr=address, pk=b"x")),
    ]


def deliver(view: Server, over: str, message: pb.RendezvousMessage) -> None:
    """Send one message from a stranger's address and wait until the server has taken it."""
    source = (unique_source(), 0)
    if over == "udp":
        with UdpLink(view.main, source) as udp:
            udp.send(message)
            nat_barrier(udp)
        return
    transport: Transport = "websocket" if over == "websocket" else "tcp"
    asker = Controlling(view, transport=transport)
    with asker.dial(source) as link:
        link.send(message)
        try:
            link.send(pb.RendezvousMessage(test_nat_request=pb.TestNatRequest()))
            link.receive(2)
        except ConnectionError:
            pass


def test_peer_is_found_by_its_registered_address_only(view: Server, new_controlled: NewControlled) -> None:
    """LocalAddr carries no nonce: from another address than the peer's it isn't passed on."""
    source = unique_source()
    peer = new_controlled(view, follow_pushes=False, source=source)
    asker = Controlling(view, source=source)
    with asker.dial() as link:
        link.send(asker.punch_request(peer.id))
        peer.wait_push("fetch_local_addr")
        answer = pb.LocalAddr(
            socket_addr=mangle(link.local),
            local_addr=mangle(("127.0.0.1", 9)),
            id=peer.id,
            version="1.4.2",
        )
        message = pb.RendezvousMessage(local_addr=answer)
        with PlainLink(connected_socket(view.main, (unique_source(), 0))) as stranger:
            stranger.send(message)
            with pytest.raises((TimeoutError, ConnectionError)):
                stranger.receive(0.2)
        with pytest.raises(TimeoutError):
            link.receive(0.1)
        with PlainLink(connected_socket(view.main, (source, 0))) as own:
            own.send(message)
            assert link.receive().punch_hole_response.is_local
