"""Answers whose bytes prove nothing and that come from elsewhere: the target's own goes first, for a while."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf.message import Message

from rendezvous.hbbs.exchanges import GRACE
from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from rendezvous.wire.rendezvous_pb2 import PunchHoleResponse
from tests.client.wire import mangle
from tests.hbbs.clients import StreamClient, only
from tests.hbbs.conftest import MakeServer
from tests.hbbs.server import A_V6, B_ID, B_V6, STRANGER, A, B, Server
from tests.hbbs.talk import B_PUNCHES, answer, hole, push_for, seen_at, sent, vouches_for, where

SECOND_LINE = Address("198.51.100.77", 50009)
"""Another address of the target's network, which the server has never heard of."""
FORGER = STRANGER
SOON = GRACE / 5


@pytest.fixture(params=["tcp", "secured", "websocket"])
def asker(request: pytest.FixtureRequest, server: Server) -> StreamClient:
    """An asker on each kind of connection, on IPv6, so that its bytes hold no nonce."""
    client: StreamClient = getattr(server, request.param)(A_V6)
    return client


def relay(push: pb.PunchHole | pb.RequestRelay, **fields: object) -> pb.RelayResponse:
    """The answer of a target that chooses the relay."""
    values: dict[str, object] = {"socket_addr": push.socket_addr, "id": B_ID, "uuid": "u-1", "version": "1.4.2"}
    return pb.RelayResponse(**(values | fields))  # type: ignore[arg-type]


ANSWERS: dict[str, Callable[[pb.PunchHole], Message]] = {"punch_hole_sent": sent, "relay_response": relay}


class TestAlone:
    """No answer has come from where the target registered."""

    @pytest.mark.parametrize("kind", ANSWERS)
    def test_after_the_grace(self, server: Server, asker: StreamClient, kind: str) -> None:
        """The asker gets it then, and not before; who brought it has been let go at once."""
        push = hole(asker, server.registered())
        target = answer(server, ANSWERS[kind](push), SECOND_LINE)
        assert target.closed
        assert target.new_bytes() == b""
        server.advance(GRACE - 0.01)
        assert asker.take() == []
        server.advance(0.02)
        [response] = asker.take()
        assert isinstance(response, PunchHoleResponse | pb.RelayResponse)
        assert vouches_for(response.pk)
        if isinstance(response, PunchHoleResponse):
            assert where(response) == seen_at(SECOND_LINE)

    def test_dropped_at_once(self, server: Server, asker: StreamClient) -> None:
        """It counts although the connection that brought it is long gone."""
        push = hole(asker, server.registered())
        answer(server, sent(push), SECOND_LINE).reset()
        server.advance(GRACE)
        assert len(asker.take()) == 1

    def test_other_family(self, server: Server, asker: StreamClient) -> None:
        """Over the other family than the registration's nothing is compared: it counts at once, if signed."""
        push = hole(asker, server.registered())
        answer(server, sent(push, version=""), B_V6)
        assert server.dropped("answer_from_elsewhere") == 1
        assert asker.take() == []
        answer(server, sent(push), B_V6)
        assert where(only(asker.take(), PunchHoleResponse)) == seen_at(B_V6)

    def test_over_udp(self, server: Server, asker: StreamClient) -> None:
        """A target that answers over UDP from its second line is found there; its repeats change nothing."""
        push = hole(asker, server.registered(), udp_port=4242)
        for port in (1, 2, 3):
            assert server.udp(SECOND_LINE._replace(port=port)).ask(sent(push)) == []
        server.advance(GRACE)
        response = only(asker.take(), PunchHoleResponse)
        assert response.is_udp
        assert where(response) == (SECOND_LINE.host, 1)
        assert server.dropped("answer_from_elsewhere") == 2

    def test_asked_for_the_relay(self, server: Server, asker: StreamClient) -> None:
        """A RelayResponse to a RequestRelay, which brings no key, comes later as well."""
        push = push_for(asker, server.registered(), pb.RequestRelay(id=B_ID, uuid="u-1"), pb.RequestRelay)
        answer(server, pb.RelayResponse(socket_addr=push.socket_addr, version="1.4"), SECOND_LINE)
        assert asker.take() == []
        server.advance(GRACE)
        assert only(asker.take(), pb.RelayResponse) == pb.RelayResponse(version="1.4")

    @pytest.mark.parametrize("kind", ["tcp", "secured"])
    def test_local_addr(self, server: Server, kind: str) -> None:
        """A LocalAddr, which never brings the server's bytes, comes later even on IPv4."""
        local_asker: StreamClient = getattr(server, kind)(Address(B.host, 40007))
        answer(server, local_addr(server, local_asker), SECOND_LINE)
        assert local_asker.take() == []
        server.advance(GRACE)
        assert only(local_asker.take(), PunchHoleResponse).is_local

    def test_repeated_question(self, server: Server, asker: StreamClient) -> None:
        """An asker that repeats its question meanwhile is answered once, and not later."""
        target = server.registered()
        push = hole(asker, target)
        answer(server, sent(push), SECOND_LINE)
        server.advance(GRACE - SOON)
        hole(asker, target)
        answer(server, sent(push), SECOND_LINE)
        server.advance(SOON)
        assert len(asker.take()) == 1
        server.advance(2 * GRACE)
        assert asker.take() == []

    def test_just_before_the_deadline(self, make_server: MakeServer) -> None:
        """The grace doesn't outlast the exchange: at its deadline the asker gets what there is."""
        server = make_server(exchange_timeout="10")
        asker = server.tcp(A_V6)
        push = hole(asker, server.registered())
        server.advance(10 - SOON)
        answer(server, sent(push), SECOND_LINE)
        server.advance(SOON)
        assert len(asker.take()) == 1
        assert server.dropped("exchange_timed_out") == 0


class TestBesideTheReal:
    """Somebody has guessed where the asker is."""

    @pytest.mark.parametrize("kind", ANSWERS)
    def test_forged_one_first(self, server: Server, asker: StreamClient, kind: str) -> None:
        """The target's own answer wins, at once, and the forged one is never delivered."""
        push = hole(asker, server.registered(source=B_V6))
        answer(server, ANSWERS[kind](push), B_V6._replace(host="2001:db8:f::1"))
        server.advance(GRACE - SOON)
        answer(server, sent(push), B_V6._replace(port=50100))
        assert where(only(asker.take(), PunchHoleResponse)) == (B_V6.host, 50100)
        server.advance(40)
        assert asker.take() == []

    def test_forged_local_address_first(self, server: Server) -> None:
        """A forged LocalAddr loses as well."""
        asker = server.tcp(Address(B.host, 40007))
        local = local_addr(server, asker)
        local.local_addr = b"forged"
        answer(server, local, FORGER)
        local.local_addr = b"real"
        answer(server, local)
        server.advance(GRACE)
        assert only(asker.take(), PunchHoleResponse).socket_addr == b"real"

    def test_forged_one_second(self, server: Server, asker: StreamClient) -> None:
        """After the target's own answer nobody waits any more."""
        push = hole(asker, server.registered())
        answer(server, sent(push))
        answer(server, sent(push), FORGER)
        server.advance(GRACE)
        assert where(only(asker.take(), PunchHoleResponse)) == seen_at(B_PUNCHES)
        assert server.dropped("no_such_exchange") == 1

    def test_one_is_kept(self, server: Server, asker: StreamClient) -> None:
        """The first one stays; the others are counted, cost no memory and win no time."""
        push = hole(asker, server.registered())
        answer(server, sent(push), SECOND_LINE)
        for number in range(1, 21):
            server.advance(GRACE / 40)
            answer(server, sent(push), FORGER._replace(port=number))
        server.advance(GRACE / 2 + 0.01)
        assert where(only(asker.take(), PunchHoleResponse)) == seen_at(SECOND_LINE)
        assert server.dropped("answer_from_elsewhere") == 20

    @pytest.mark.parametrize("kind", ["punch_hole_sent", "relay_response", "relay_without_id", "local_addr"])
    def test_unencrypted_session(self, server: Server, kind: str) -> None:
        """Without a signed key, which an answer without a version gets none of, it doesn't count."""
        if kind == "local_addr":
            asker = server.tcp(Address(B.host, 40007))
            forged: Message = local_addr(server, asker, version="")
        else:
            asker = server.tcp(A_V6)
            push = hole(asker, server.registered())
            forged = {
                "punch_hole_sent": sent(push, version=""),
                "relay_response": relay(push, version=""),
                "relay_without_id": relay(push, id="", version=""),
            }[kind]
        forger = answer(server, forged, FORGER)
        assert forger.closed
        server.advance(2 * GRACE)
        assert asker.take() == []
        assert server.dropped("answer_from_elsewhere") == 1

    def test_relay_without_id_brings_the_key(self, server: Server, asker: StreamClient) -> None:
        """An asker that has punched gets the signed key, also when a RelayResponse doesn't ask for it."""
        push = hole(asker, server.registered())
        answer(server, relay(push, id=""), SECOND_LINE)
        server.advance(GRACE)
        assert vouches_for(only(asker.take(), pb.RelayResponse).pk)

    @pytest.mark.parametrize("confirmed", [False, True])
    def test_server_that_signs_nothing(self, make_server: MakeServer, confirmed: bool) -> None:
        """Without a secret key only the target's own answer counts."""
        server = make_server(signing_key=None)
        asker = server.tcp(A_V6)
        push = hole(asker, server.registered())
        answer(server, sent(push), B_PUNCHES if confirmed else SECOND_LINE)
        server.advance(GRACE)
        assert len(asker.take()) == confirmed

    @pytest.mark.parametrize("fields", [{"id": "another-1"}, {"id": ""}, {"socket_addr": b""}])
    def test_wrong_id_or_asker(self, server: Server, asker: StreamClient, fields: dict[str, object]) -> None:
        """What doesn't fit is not kept."""
        push = hole(asker, server.registered())
        answer(server, sent(push, **fields), SECOND_LINE)
        server.advance(GRACE)
        assert asker.take() == []


class TestNonce:
    """An asker on IPv4, whose bytes nobody can guess."""

    @pytest.mark.parametrize("kind", ANSWERS)
    @pytest.mark.parametrize("source", [SECOND_LINE, B_V6])
    def test_at_once(self, server: Server, kind: str, source: Address) -> None:
        """Who has the bytes is the target, wherever it answers from, and nothing is waited for."""
        asker = server.tcp(A)
        push = hole(asker, server.registered())
        answer(server, ANSWERS[kind](push), source)
        assert len(asker.take()) == 1

    def test_other_bytes(self, server: Server) -> None:
        """Who doesn't have them is nobody, also when the address in them is the asker's."""
        asker = server.tcp(A)
        push = hole(asker, server.registered())
        answer(server, sent(push, socket_addr=mangle(where(push), 12345)))
        server.advance(GRACE)
        assert asker.take() == []
        assert server.dropped("no_such_exchange") == 1


class TestGone:
    """The exchange ends before the grace does."""

    def test_asker(self, server: Server, asker: StreamClient) -> None:
        """An asker that has gone gets nothing, and nothing is left of its exchange."""
        push = hole(asker, server.registered())
        answer(server, sent(push), SECOND_LINE)
        asker.reset()
        before = asker.new_bytes()
        server.advance(40)
        assert (before, asker.new_bytes()) == (b"", b"")
        assert server.dropped("exchange_timed_out") == 0
        assert server.dropped("internal_error") == 0

    def test_asker_back_at_the_same_address(self, server: Server) -> None:
        """A new connection doesn't get the answer to the old one's question."""
        target = server.registered()
        old = server.tcp(A_V6)
        answer(server, sent(hole(old, target), relay_server="old"), SECOND_LINE)
        old.reset()
        new = server.tcp(A_V6)
        fresh = hole(new, target)
        server.advance(GRACE)
        assert new.take() == []
        answer(server, sent(fresh, relay_server="new"))
        assert only(new.take(), PunchHoleResponse).relay_server == "new"

    def test_another_question(self, server: Server, asker: StreamClient) -> None:
        """A new question on the same connection takes the place of the old one, with what was kept."""
        target = server.registered()
        answer(server, sent(hole(asker, target)), SECOND_LINE)
        push_for(asker, target, pb.RequestRelay(id=B_ID, uuid="u-1"), pb.RequestRelay)
        server.advance(GRACE)
        assert asker.take() == []


def local_addr(server: Server, asker: StreamClient, **fields: object) -> pb.LocalAddr:
    """The target's answer to the FetchLocalAddr of an asker that shares its address."""
    push = push_for(asker, server.registered(), pb.PunchHoleRequest(id=B_ID), pb.FetchLocalAddr)
    values: dict[str, object] = {"id": B_ID, "local_addr": b"192.168...", "version": "1.4.2"}
    return pb.LocalAddr(socket_addr=mangle(where(push), 12345), **(values | fields))  # type: ignore[arg-type]
