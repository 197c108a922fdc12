"""Answers that nobody was asked for, to questions that somebody else was asked."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message

from rendezvous.hbbs.exchanges import GRACE
from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from rendezvous.wire.rendezvous_pb2 import PunchHoleResponse
from tests.client.wire import mangle
from tests.evidence import Evidence
from tests.hbbs.clients import StreamClient, only
from tests.hbbs.conftest import MakeServer
from tests.hbbs.server import A_V6, B_ID, B_V6, STRANGER, A, B, Server
from tests.hbbs.talk import B_PUNCHES, answer, hole, push_for, seen_at, sent, vouches_for, where

OTHER_ID = "another-1"
NEIGHBOR = B._replace(port=666)
"""Somebody behind the same NAT as the target."""
VICTIM = Address("192.0.2.99", 9999)
UDP_PORT = 50321
WAYS = ["tcp", "secured", "websocket", "udp"]
FORGERS = {"stranger": STRANGER, "neighbor": NEIGHBOR}


@pytest.fixture(autouse=True)
def counted(evidence: Evidence) -> None:
    """Each test is an attack."""
    evidence("Who forges an answer gets what is documented, and no more", attacks=1)


def forged(kind: str, asker: Address, id: str = B_ID, nonce: int = 12345) -> Message:
    """An answer of a kind, of who knows the asker's address, but none of the bytes that the target was sent."""
    values = {
        "id": id,
        "socket_addr": mangle((asker.host, asker.port), nonce),
        "relay_server": "evil.example",
        "version": "1.4.2",
    }
    if kind == "punch_hole_sent":
        return pb.PunchHoleSent(**values)  # type: ignore[arg-type]
    if kind == "local_addr":
        return pb.LocalAddr(local_addr=b"evil", **values)  # type: ignore[arg-type]
    return pb.RelayResponse(uuid="evil", **values)  # type: ignore[arg-type]


def give(server: Server, message: Message, source: Address, way: str) -> None:
    """Sends an answer; whatever it is, its sender gets nothing for it."""
    if way == "udp":
        assert server.udp(source).ask(message) == []
    else:
        client: StreamClient = getattr(server, way)(source)
        assert client.ask(message) == []
        assert client.closed


def gets_the_true_one(server: Server, asker: StreamClient, push: pb.PunchHole) -> bool:
    """Whether the asker, who has got nothing so far, gets the target's own answer."""
    assert asker.take() == []
    answer(server, sent(push))
    response = only(asker.take(), PunchHoleResponse)
    return where(response) == seen_at(B_PUNCHES) and vouches_for(response.pk)


@pytest.mark.parametrize("registered", [False, True], ids=["unknown", "registered"])
@pytest.mark.parametrize("forger", FORGERS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["punch_hole_sent", "relay_response"])
def test_without_the_bytes(make_server: MakeServer, kind: str, way: str, forger: str, registered: bool) -> None:
    """Who knows who asks whom, and from where, but was not sent the push, tells nobody anything: not in the
    target's name, not in its own, and not if it is registered itself, or at the target's address."""
    server = make_server()
    target, source = server.registered(), FORGERS[forger]
    if registered:
        server.registered(OTHER_ID, source)
    asker = server.tcp(A)
    push = hole(asker, target, udp_port=UDP_PORT)
    for number, id in enumerate((B_ID, OTHER_ID, "", B_ID, B_ID)):
        give(server, forged(kind, A, id, number * 77777), source, way)
    reason = "not_spoken_here" if way == "udp" and kind == "relay_response" else "no_such_exchange"
    assert server.dropped(reason) == 5
    assert gets_the_true_one(server, asker, push)
    server.advance(40)
    assert asker.take() == []


@pytest.mark.parametrize("forger", FORGERS)
@pytest.mark.parametrize("version", ["", "1.4.2"])
def test_a_local_address_where_none_was_asked_for(make_server: MakeServer, forger: str, version: str) -> None:
    """Who shares no network with the target is sent to no local address, by the target's neighbor neither."""
    server = make_server()
    target, asker = server.registered(), server.tcp(A)
    push = hole(asker, target)
    message = forged("local_addr", A)
    message.version = version  # type: ignore[attr-defined]
    give(server, message, FORGERS[forger], "tcp")
    server.advance(2 * GRACE)
    assert server.dropped("not_asked_for") == 1
    assert gets_the_true_one(server, asker, push)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["punch_hole_sent", "relay_response"])
def test_the_bytes_in_another_name(make_server: MakeServer, kind: str, way: str) -> None:
    """The very bytes that the target was sent are no answer in another one's name."""
    server = make_server()
    target = server.registered()
    server.registered(OTHER_ID, STRANGER)
    asker = server.tcp(A)
    push = hole(asker, target, udp_port=UDP_PORT)
    message = forged(kind, A, OTHER_ID)
    message.socket_addr = push.socket_addr  # type: ignore[attr-defined]
    give(server, message, STRANGER, way)
    assert gets_the_true_one(server, asker, push)


@pytest.mark.parametrize("kind", ["punch_hole_sent", "local_addr", "relay_response"])
@pytest.mark.parametrize("asker", [A, A_V6, VICTIM], ids=str)
def test_nobody_has_asked(make_server: MakeServer, kind: str, asker: Address) -> None:
    """An answer without a question goes nowhere, whatever address is in it, although one is connected there."""
    server = make_server()
    server.registered()
    there = server.tcp(asker)
    give(server, forged(kind, asker), B, "tcp")
    assert there.take() == []
    assert server.udp(asker).take() == []
    assert server.dropped("no_such_exchange") == 1


@pytest.mark.parametrize("kind", ["punch_hole_sent", "local_addr"])
def test_another_kind_than_was_asked_for(make_server: MakeServer, kind: str) -> None:
    """Who asks for the relay is not sent anywhere else, by the target itself neither."""
    server = make_server()
    target, asker = server.registered(), server.tcp(A)
    push = push_for(asker, target, pb.RequestRelay(id=B_ID, uuid="u"), pb.RequestRelay)
    message = forged(kind, A)
    message.socket_addr = push.socket_addr  # type: ignore[attr-defined]
    give(server, message, B, "tcp")
    assert asker.take() == []
    assert server.dropped("not_asked_for") == 1


def test_the_bytes_of_another_question(make_server: MakeServer) -> None:
    """Who was asked something has the bytes for that alone: they do not tell another asker's."""
    server = make_server()
    target = server.registered()
    first, second = server.tcp(A), server.tcp(A._replace(port=40008))
    push = hole(first, target)
    true = hole(second, target)
    assert push.socket_addr != true.socket_addr
    first.reset()
    again = server.tcp(A)
    assert again.ask(pb.PunchHoleRequest(id=B_ID)) == []
    answer(server, sent(push))
    assert again.take() == []
    assert gets_the_true_one(server, second, true)


# Where there is no nonce: LocalAddr, and askers on IPv6 ---------------------------------------------


def test_a_forged_local_address_of_a_stranger(make_server: MakeServer) -> None:
    """It waits for the target's own, and is gone when that comes."""
    server = make_server()
    asker = server.tcp(NEIGHBOR)
    push_for(asker, server.registered(), pb.PunchHoleRequest(id=B_ID), pb.FetchLocalAddr)
    give(server, forged("local_addr", NEIGHBOR), STRANGER, "tcp")
    server.advance(GRACE / 2)
    assert asker.take() == []
    true = pb.LocalAddr(id=B_ID, socket_addr=mangle(seen_at(NEIGHBOR), 1), local_addr=b"true", version="1.4.2")
    answer(server, true, B)
    assert only(asker.take(), PunchHoleResponse).socket_addr == b"true"


@pytest.mark.parametrize("version", ["1.4.2", ""], ids=["version", "no version"])
def test_a_forged_local_address_of_a_neighbor(make_server: MakeServer, version: str) -> None:
    """Somebody behind the same NAT as both, who knows the asker's port, is as good as the target: what it tells is
    passed on, and the session is unencrypted if it tells no version."""
    server = make_server()
    asker = server.tcp(NEIGHBOR)
    push_for(asker, server.registered(), pb.PunchHoleRequest(id=B_ID), pb.FetchLocalAddr)
    message = forged("local_addr", NEIGHBOR)
    message.version = version  # type: ignore[attr-defined]
    give(server, message, B._replace(port=667), "tcp")
    response = only(asker.take(), PunchHoleResponse)
    assert response.socket_addr == b"evil"
    assert vouches_for(response.pk) if version else not response.pk


@pytest.mark.parametrize("version", ["1.4.2", ""], ids=["version", "no version"])
def test_a_datagram_with_the_target_s_forged_address(make_server: MakeServer, version: str) -> None:
    """To an asker on IPv6, whose port is known, it is the target's; but it brings no unencrypted session."""
    server = make_server()
    asker = server.tcp(A_V6)
    push = hole(asker, server.registered(source=B_V6), udp_port=UDP_PORT)
    give(server, sent(push, version=version, relay_server="evil.example"), B_V6._replace(port=666), "udp")
    taken = asker.take()
    if version:
        response = only(taken, PunchHoleResponse)
        assert vouches_for(response.pk)
        assert where(response)[0] == B_V6.host
        return
    assert taken == []
    assert server.dropped("answer_from_elsewhere") == 1
    answer(server, sent(push), B_V6)
    assert vouches_for(only(asker.take(), PunchHoleResponse).pk)


# The target itself ---------------------------------------------------------------------------------


def test_where_a_target_can_send_its_asker(make_server: MakeServer) -> None:
    """A controlled client that means harm: the address it is seen at is its own, the others are what it says."""
    server = make_server()
    asker = server.tcp(A)
    push = hole(asker, server.registered())
    elsewhere = mangle(seen_at(VICTIM), 1)
    answer(server, sent(push, relay_server="evil.example", socket_addr_v6=elsewhere))
    response = only(asker.take(), PunchHoleResponse)
    assert where(response) == seen_at(B_PUNCHES)
    assert (response.relay_server, response.socket_addr_v6) == ("evil.example", elsewhere)


def test_what_an_asker_can_tell_its_target(make_server: MakeServer) -> None:
    """A controlling client that means harm: its address is the server's word, the rest passes as it is, with what
    only an administrator's server is to set."""
    server = make_server()
    asker, target = server.tcp(A), server.registered()
    request = pb.RequestRelay(
        id=B_ID, uuid="u", relay_server="evil.example", socket_addr=mangle(seen_at(VICTIM), 1)
    )
    request.control_permissions.permissions = 2**63
    push = push_for(asker, target, request, pb.RequestRelay)
    assert where(push) == seen_at(A)
    assert (push.relay_server, push.control_permissions) == ("evil.example", request.control_permissions)
