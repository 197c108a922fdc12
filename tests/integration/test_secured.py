"""Secured TCP on port P: the key exchange, sealed messages, and everything that closes it."""

from __future__ import annotations

import contextlib

import pytest
from nacl.utils import random as random_bytes

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import Identity
from tests.client.controlling import Controlling
from tests.client.links import (
    LinkClosedError,
    PlainLink,
    SecuredLink,
    Server,
    Transport,
    connected_socket,
    dial,
    readable,
)
from tests.client.wire import SealedDirection, answer_key_exchange, open_id_pk
from tests.integration.support import StartServer, unique_source

TRANSPORTS: list[Transport] = ["tcp", "secured", "websocket"]
NAT_TEST = pb.RendezvousMessage(test_nat_request=pb.TestNatRequest(serial=3))
UNKNOWN = pb.RendezvousMessage(punch_hole_request=pb.PunchHoleRequest(id="999999999"))


def plain(view: Server) -> PlainLink:
    """A connection to P that hides nothing from the test."""
    return PlainLink(connected_socket(view.main, (unique_source(), 0)), skip_key_exchange=False)


def secured(view: Server) -> SecuredLink:
    """A connection whose key exchange is done."""
    link = dial("secured", view, (unique_source(), 0))
    assert isinstance(link, SecuredLink)
    return link


def test_silent_client_gets_a_fresh_signed_key(view: Server) -> None:
    """Each connection has an ephemeral key of its own, signed with the server's key."""
    keys = set()
    for _ in range(3):
        with plain(view) as link:
            offer = link.receive()
            assert offer.WhichOneof("union") == "key_exchange"
            assert len(offer.key_exchange.keys) == 1
            signed = offer.key_exchange.keys[0]
            assert len(signed) == 64 + 32
            keys.add(signed)
            answer_key_exchange(offer.key_exchange, view.public_key)
    assert len(keys) == 3


def test_client_that_wants_none_goes_on_in_the_clear(view: Server) -> None:
    """The offer is skipped, and the message behind it is answered in the clear."""
    with plain(view) as link:
        assert link.receive().WhichOneof("union") == "key_exchange"
        assert link.ask(NAT_TEST).test_nat_response.port == link.local[1]


def test_sealed_question_gets_a_sealed_answer(view: Server) -> None:
    """After the exchange both directions are sealed with nonces from one."""
    with secured(view) as link:
        assert link.ask(NAT_TEST).test_nat_response.port == link.local[1]


def test_several_sealed_messages_in_a_row(view: Server) -> None:
    """Nonces count on; heartbeats in between are neither sealed nor counted."""
    identity = Identity.make()
    with secured(view) as link:
        for _ in range(2):
            link.send_payload(b"")
            answer = link.ask(identity.register_pk())
            assert answer.register_pk_response.result == pb.RegisterPkResponse.OK


def test_no_offer_on_the_second_port(view: Server) -> None:
    """P-1 is silent until it is asked, and answers in the clear."""
    with PlainLink(connected_socket(view.second), skip_key_exchange=False) as link:
        assert not readable(link.socket, 0.4)
        assert link.ask(NAT_TEST).WhichOneof("union") == "test_nat_response"


def test_no_offer_on_websocket(view: Server) -> None:
    """The first message of a WebSocket is the answer to the first question."""
    with dial("websocket", view) as link:
        with pytest.raises(TimeoutError):
            link.receive_payload(0.4)
        assert link.ask(NAT_TEST).WhichOneof("union") == "test_nat_response"


def test_no_offer_without_a_secret_key(start_server: StartServer) -> None:
    """A server whose key is mere text has nothing to sign with; it offers and signs nothing."""
    server = start_server("-k", "some text")
    view = server.view()
    with plain(view) as link:
        assert not readable(link.socket, 0.4)
        assert link.ask(NAT_TEST).WhichOneof("union") == "test_nat_response"
    server.wait_line("warn")


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [b""],
        [b"\1" * 32],
        [b"\1" * 31, b"\1" * 48],
        [b"\1" * 32, b"\1" * 47],
        [b"\1" * 32, b"\1" * 48],
        [bytes(32), bytes(48)],
        [b"\1" * 32, b"\1" * 48, b"\1"],
    ],
    ids=["none", "empty", "one", "short key", "short box", "wrong box", "zero", "three"],
)
def test_wrong_key_exchange_is_closed(view: Server, keys: list[bytes]) -> None:
    """A key exchange that doesn't open ends the connection."""
    with plain(view) as link:
        link.receive()
        link.send(pb.RendezvousMessage(key_exchange=pb.KeyExchange(keys=keys)))
        link.wait_closed(15)
    with secured(view) as link:
        assert link.ask(NAT_TEST).HasField("test_nat_response")


def exchanged(view: Server) -> tuple[PlainLink, bytes]:
    """A connection with the exchange done by hand, and its session key."""
    link = plain(view)
    answer, session_key = answer_key_exchange(link.receive().key_exchange, view.public_key)
    link.send(answer)
    return link, session_key


def test_repeated_key_exchange_is_closed(view: Server) -> None:
    """A second key exchange, sealed or not, ends the connection."""
    for sealed in (True, False):
        link, session_key = exchanged(view)
        again = pb.RendezvousMessage(key_exchange=pb.KeyExchange(keys=[b"\1" * 32, b"\1" * 48]))
        payload = again.SerializeToString()
        with link:
            link.send_payload(SealedDirection(session_key).seal(payload) if sealed else payload)
            link.wait_closed(15)


@pytest.mark.parametrize("case", ["nonce", "replay", "cut", "clear", "other key", "garbage"])
def test_what_does_not_open_is_closed(view: Server, case: str) -> None:
    """Wrong nonce order, replays, truncated boxes and clear text end the connection."""
    link, session_key = exchanged(view)
    sealing = SealedDirection(session_key)
    message = Identity.make().register_pk().SerializeToString()
    payload = {
        "clear": message,
        "cut": sealing.seal(message)[:12],
        "other key": SealedDirection(random_bytes(32)).seal(message),
        "garbage": random_bytes(100),
    }.get(case)
    with link:
        if case == "replay":
            payload = SealedDirection(session_key).seal(message)
            link.send_payload(payload)
            opened = SealedDirection(session_key).open(link.receive_payload())
            assert pb.RendezvousMessage.FromString(opened).HasField("register_pk_response")
        elif case == "nonce":
            sealing.seal(message)
            payload = sealing.seal(message)
        assert payload is not None
        link.send_payload(payload)
        link.wait_closed(15)


def test_key_of_a_peer_is_signed_with_the_same_key(view: Server) -> None:
    """The offer's signature and that of a peer's key belong to one server key."""
    with plain(view) as link:
        signed = link.receive().key_exchange.keys[0]
    assert len(signed) == 96
    with pytest.raises(Exception, match=r"(?i)forged|corrupt"):
        open_id_pk(b"\0" + signed[1:], view.public_key)


def test_health_check_is_held_open(start_server: StartServer) -> None:
    """A HealthCheck is kept with heartbeats for as long as the client answers them."""
    view = start_server("--keep-alive", "2").view()
    with secured(view) as link:
        link.send(pb.RendezvousMessage(hc=pb.HealthCheck(token="a token")))
        for _ in range(4):
            assert link.receive_any(3) is None, "only heartbeats come"
            link.send_payload(b"")


def test_silent_health_check_is_given_up(start_server: StartServer) -> None:
    """Without answers to its heartbeats the connection is closed."""
    view = start_server("--keep-alive", "2").view()
    with secured(view) as link:
        link.send(pb.RendezvousMessage(hc=pb.HealthCheck(token="a token")))
        link.wait_closed(6)


def test_http_proxy_with_nothing_to_forward_to(view: Server) -> None:
    """The answer is an error, or the end of the connection, at once."""
    request = pb.HttpProxyRequest(method="GET", path="/api/login-options")
    with secured(view) as link:
        link.send(pb.RendezvousMessage(http_proxy_request=request))
        try:
            answer = link.receive(3)
        except LinkClosedError:
            return
        assert answer.http_proxy_response.error


def test_waiting_asker_gets_no_heartbeat(start_server: StartServer) -> None:
    """While a punch waits for its answer nothing is sent, also with a short keep-alive."""
    view = start_server("--keep-alive", "2").view()
    peer = Identity.make()
    with secured(view) as registered, contextlib.ExitStack() as stack:
        answer = registered.ask(peer.register_pk())
        assert answer.register_pk_response.result == pb.RegisterPkResponse.OK
        links = []
        for transport in TRANSPORTS:
            asker = Controlling(view, transport=transport, source=unique_source())
            links.append(stack.enter_context(asker.dial()))
            links[-1].send(asker.punch_request(peer.id))
            kind = registered.receive(3, answer_heartbeats=True).WhichOneof("union")
            assert kind == "punch_hole"
        for wait in (0.8, 0.8, 0.8):
            registered.send_payload(b"")
            for number, link in enumerate(links):
                with pytest.raises(TimeoutError):
                    link.receive_any(0 if number else wait)
