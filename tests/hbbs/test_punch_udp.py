"""PunchHoleSent over UDP: honored for the very punch that is pending, once, and a lever for nobody."""

from __future__ import annotations

import secrets

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from rendezvous.wire.rendezvous_pb2 import PunchHoleResponse
from tests.client.wire import mangle
from tests.hbbs.clients import only
from tests.hbbs.server import A_V6, B_ID, B_V6, STRANGER, A, B, Server
from tests.hbbs.talk import B_PUNCHES, answer, hole, seen_at, sent, vouches_for, where

UDP_PORT = 50321


def send(server: Server, message: pb.PunchHoleSent, source: Address = B_PUNCHES) -> None:
    """Sends a datagram, which must not be answered."""
    assert server.udp(source).ask(message) == []


def test_is_udp(server: Server) -> None:
    """The asker learns where the target's UDP socket is, and that it is one."""
    asker = server.tcp(A)
    push = hole(asker, server.registered(), udp_port=UDP_PORT)
    assert push.udp_port == UDP_PORT
    send(server, sent(push, nat_type=pb.ASYMMETRIC, relay_server="r", socket_addr_v6=b"v6"))
    response = only(asker.take(), PunchHoleResponse)
    assert response.is_udp
    assert where(response) == seen_at(B_PUNCHES)
    assert vouches_for(response.pk)
    assert (response.nat_type, response.relay_server, response.socket_addr_v6) == (pb.ASYMMETRIC, "r", b"v6")


def test_once(server: Server) -> None:
    """Of the target's three datagrams one is an answer."""
    asker = server.tcp(A)
    push = hole(asker, server.registered(), udp_port=UDP_PORT)
    for i in range(3):
        send(server, sent(push), B._replace(port=60000 + i))
    assert where(only(asker.take(), PunchHoleResponse)) == (B.host, 60000)


def test_over_tcp_is_not_udp(server: Server) -> None:
    """An answer over TCP is not marked as UDP, although a UDP port was offered."""
    asker = server.tcp(A)
    push = hole(asker, server.registered(), udp_port=UDP_PORT)
    answer(server, sent(push))
    assert not only(asker.take(), PunchHoleResponse).is_udp


def test_only_when_asked_with_a_udp_port(server: Server) -> None:
    """Without udp_port in the request a datagram is no answer; one over TCP still is."""
    asker = server.tcp(A)
    push = hole(asker, server.registered())
    send(server, sent(push))
    assert asker.take() == []
    answer(server, sent(push))
    assert len(asker.take()) == 1


def test_two_requests_of_one_client(server: Server) -> None:
    """Of two connections, one with udp_port and one without, each gets its own answer."""
    target = server.registered()
    with_udp, without = server.tcp(A), server.tcp(A._replace(port=40008))
    push_udp, push_tcp = hole(with_udp, target, udp_port=UDP_PORT), hole(without, target)
    send(server, sent(push_udp))
    assert without.take() == []
    answer(server, sent(push_tcp))
    assert only(with_udp.take(), PunchHoleResponse).is_udp
    assert not only(without.take(), PunchHoleResponse).is_udp


@pytest.mark.parametrize("id", ["another-1", "", B_ID + " ", B_ID[:-1]])
def test_exactly_this_id(server: Server, id: str) -> None:
    """The right bytes in another's name are refused, and the true answer still counts."""
    asker = server.tcp(A)
    push = hole(asker, server.registered(), udp_port=UDP_PORT)
    send(server, sent(push, id=id))
    assert asker.take() == []
    send(server, sent(push))
    assert len(asker.take()) == 1


def test_guesses_are_refused(server: Server) -> None:
    """A stranger who knows id and address, but not the nonce, gets nothing through."""
    asker = server.tcp(A)
    push = hole(asker, server.registered(), udp_port=UDP_PORT)
    for _ in range(300):
        guess = mangle(seen_at(A), secrets.randbits(32))
        assert where(pb.PunchHoleSent(socket_addr=guess)) == seen_at(A)
        if guess != push.socket_addr:
            send(server, sent(push, socket_addr=guess), STRANGER)
            answer(server, sent(push, socket_addr=guess), STRANGER)
            answer(server, pb.RelayResponse(id=B_ID, socket_addr=guess), STRANGER)
    assert asker.take() == []
    assert server.reactor.datagrams == []


@pytest.mark.parametrize("padding", [b"\0", b"\0\0\0"])
def test_same_address_in_other_bytes(server: Server, padding: bytes) -> None:
    """The bytes are compared, not what they mean."""
    asker = server.tcp(A)
    push = hole(asker, server.registered(), udp_port=UDP_PORT)
    if len(push.socket_addr + padding) <= 16:
        assert where(sent(push, socket_addr=push.socket_addr + padding)) == seen_at(A)
    send(server, sent(push, socket_addr=push.socket_addr + padding))
    assert asker.take() == []


@pytest.mark.parametrize("socket_addr", [b"", b"\0" * 16, b"x" * 17, b"x" * 18, b"x" * 100])
def test_nonsense_is_refused(server: Server, socket_addr: bytes) -> None:
    """Bytes that are no address of an asker are counted and dropped."""
    asker = server.tcp(A)
    hole(asker, server.registered(), udp_port=UDP_PORT)
    send(server, pb.PunchHoleSent(id=B_ID, socket_addr=socket_addr, version="1"))
    assert asker.take() == []
    assert sum(server.drops.counts.values()) == 1


def test_nothing_pending(server: Server) -> None:
    """Without a pending punch a datagram goes nowhere, whatever it names."""
    server.registered()
    for named in (A, STRANGER, B):
        send(server, pb.PunchHoleSent(id=B_ID, socket_addr=mangle(seen_at(named)), version="1"))
    assert server.reactor.datagrams == []


def test_relay_request_is_no_punch(server: Server) -> None:
    """A pending relay request is not answered by PunchHoleSent, over UDP or TCP."""
    target = server.registered()
    asker = server.tcp(A)
    asker.send(pb.RequestRelay(id=B_ID, uuid="u"))
    push = only(target.take(), pb.RequestRelay)
    message = pb.PunchHoleSent(id=B_ID, socket_addr=push.socket_addr, version="1")
    send(server, message)
    answer(server, message)
    assert asker.take() == []
    answer(server, pb.RelayResponse(socket_addr=push.socket_addr, uuid="u"))
    assert len(asker.take()) == 1


def test_ipv6_asker(server: Server) -> None:
    """For an asker on IPv6, without a nonce, the datagram must come from the target's address."""
    asker = server.tcp(A_V6)
    push = hole(asker, server.registered(source=B_V6), udp_port=UDP_PORT)
    send(server, sent(push), Address("2001:db8:b::bad", B_V6.port))
    assert asker.take() == []
    send(server, sent(push), B_V6._replace(port=3))
    assert only(asker.take(), PunchHoleResponse).is_udp


@pytest.mark.parametrize(
    "message",
    [pb.RelayResponse(id=B_ID), pb.LocalAddr(id=B_ID), pb.RegisterPkResponse(), pb.PunchHole(), pb.HealthCheck()],
)
def test_other_answers_need_a_connection(
    server: Server, message: pb.RelayResponse | pb.LocalAddr | pb.PunchHole
) -> None:
    """Other answers are not taken over UDP."""
    asker = server.tcp(A)
    push = hole(asker, server.registered(), udp_port=UDP_PORT)
    if "socket_addr" in message.DESCRIPTOR.fields_by_name:
        message = type(message).FromString(message.SerializeToString())
        message.socket_addr = push.socket_addr
    assert server.udp(B).ask(message) == []
    assert asker.take() == []
    assert server.dropped("not_spoken_here") == 1
