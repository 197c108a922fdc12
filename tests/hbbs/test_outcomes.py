"""How punch and relay requests are counted: each once, by how it ended."""

from __future__ import annotations

import pytest

from rendezvous.hbbs.exchanges import GRACE
from rendezvous.hbbs.history import RECENT
from rendezvous.metrics import Outcomes
from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from tests.client.wire import mangle
from tests.hbbs.clients import StreamClient
from tests.hbbs.conftest import MakeServer
from tests.hbbs.server import B_ID, STRANGER, A, B, Server, register_pk
from tests.hbbs.talk import B_PUNCHES, answer, hole, push_for, sent, where


def counted(outcomes: Outcomes) -> dict[str, int]:
    """What is not 0."""
    return {outcome: n for outcome, n in outcomes.counts.items() if n}


def punches(server: Server) -> dict[str, int]:
    """How punch requests ended."""
    return counted(server.service.spoken.punching.outcomes)


def relay_requests(server: Server) -> dict[str, int]:
    """How relay requests ended."""
    return counted(server.service.spoken.relaying.outcomes)


@pytest.fixture
def asker(server: Server) -> StreamClient:
    """A client that asks over TCP."""
    return server.tcp(A)


def test_punched(server: Server, asker: StreamClient) -> None:
    """Over TCP, after the time it took; B's second answer counts no more."""
    push = hole(asker, server.registered())
    server.advance(0.2)
    for _ in range(2):
        answer(server, sent(push))
    assert punches(server) == {"punched": 1}
    seconds = server.service.spoken.punching.outcomes.seconds
    assert seconds.sum == pytest.approx(0.2)
    assert seconds.counts[seconds.bounds.index(0.25)] == 1


def test_punched_over_udp(server: Server, asker: StreamClient) -> None:
    """Over UDP it counts as such."""
    target = server.registered()
    push = hole(asker, target, udp_port=5000)
    server.udp(B_PUNCHES).send(sent(push))
    assert punches(server) == {"punched_udp": 1}


def test_local(server: Server) -> None:
    """On the same network, local addresses are exchanged."""
    asker, target = server.tcp(Address(B.host, 40007)), server.registered()
    push = push_for(asker, target, pb.PunchHoleRequest(id=B_ID), pb.FetchLocalAddr)
    answer(server, pb.LocalAddr(id=B_ID, socket_addr=mangle(where(push), 1), local_addr=b"192", version="1.4"))
    assert punches(server) == {"local": 1}


@pytest.mark.parametrize(("reason", "outcome"), [("", "relayed"), ("no", "refused")])
def test_relayed(server: Server, asker: StreamClient, reason: str, outcome: str) -> None:
    """An answer that names a relay, or refuses, to either kind of request."""
    target = server.registered()
    push = hole(asker, target)

    def response(push: pb.PunchHole | pb.RequestRelay) -> pb.RelayResponse:
        return pb.RelayResponse(id=B_ID, socket_addr=push.socket_addr, version="1.4", refuse_reason=reason)

    answer(server, response(push))
    request = push_for(server.tcp(STRANGER), target, pb.RequestRelay(id=B_ID, uuid="u"), pb.RequestRelay)
    answer(server, response(request))
    assert punches(server) == relay_requests(server) == {outcome: 1}


def test_unanswered(server: Server, asker: StreamClient) -> None:
    """At the deadline it timed out, once, also when the asker leaves later; no time is noted."""
    hole(asker, server.registered())
    server.advance(31)
    asker.reset()
    assert punches(server) == {"timed_out": 1}
    assert sum(server.service.spoken.punching.outcomes.seconds.counts) == 0


def test_abandoned(server: Server, asker: StreamClient) -> None:
    """The asker asks for something else on its connection, or leaves."""
    target = server.registered()
    hole(asker, target)
    push_for(asker, target, pb.RequestRelay(id=B_ID, uuid="u"), pb.RequestRelay)
    assert (punches(server), relay_requests(server)) == ({"abandoned": 1}, {})
    asker.reset()
    assert (punches(server), relay_requests(server)) == ({"abandoned": 1}, {"abandoned": 1})


def test_a_repeat_is_no_request_of_its_own(server: Server, asker: StreamClient) -> None:
    """What is asked again while it is pending counts once."""
    target = server.registered()
    push = hole(asker, target)
    hole(asker, target)
    answer(server, sent(push))
    assert punches(server) == {"punched": 1}


def test_an_answer_from_elsewhere(server: Server) -> None:
    """An answer that counts only because no better one came is counted when it is passed on."""
    asker = server.tcp(Address("2001:db8::7", 40007))
    push = hole(asker, server.registered())
    answer(server, sent(push), STRANGER)
    assert punches(server) == {}
    server.advance(GRACE)
    assert punches(server) == {"punched": 1}


def test_answered_at_once(make_server: MakeServer) -> None:
    """A wrong key, an id that nobody has, and one whose client is offline."""
    server = make_server(licence_key="key")
    server.udp(B).ask(register_pk(B_ID))
    server.advance(40)
    for number, (id, key) in enumerate([(B_ID, "wrong"), ("nobody", "key"), (B_ID, "key")]):
        server.tcp(A._replace(port=number + 1)).ask(pb.PunchHoleRequest(id=id, licence_key=key))
    server.tcp(A).ask(pb.RequestRelay(id=B_ID, uuid="u"))
    assert punches(server) == {"wrong_key": 1, "unknown": 1, "offline": 1}
    assert relay_requests(server) == {"offline": 1}


def test_recent_requests(server: Server, asker: StreamClient) -> None:
    """The latest are remembered with who asked for whom, how it ended and after how long; no more than a bound."""
    push = hole(asker, server.registered())
    server.advance(0.2)
    answer(server, sent(push))
    recent = server.service.exchanges.recent
    (attempt,) = recent
    assert (attempt.asker, attempt.id, attempt.outcome) == (A, B_ID, "punched")
    assert attempt.seconds == pytest.approx(0.2)
    for number in range(RECENT):
        asker.send(pb.PunchHoleRequest(id=f"{number}" * 200))
    assert len(recent) == RECENT
    assert len(recent[-1].id) <= 100
