"""Registration that lives on a secured TCP connection or a WebSocket."""

from __future__ import annotations

import time
from typing import Literal

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import Controlled, Identity
from tests.client.controlling import Controlling
from tests.client.links import Server, dial
from tests.client.threads import wait_until
from tests.client.udp import UdpLink
from tests.integration.support import NewControlled, StartServer, unique_source

Living = Literal["secured", "websocket"]
LIVING: list[Living] = ["secured", "websocket"]
pytestmark = pytest.mark.parametrize("living", LIVING)


def online(view: Server, peer_id: str) -> bool:
    """The peer's state as others see it."""
    return Controlling(view).online([peer_id]) == [True]


def result_of(view: Server, living: Living, identity: Identity) -> int:
    """Register once down a new connection; the result."""
    with dial(living, view, (unique_source(), 0)) as link:
        return link.ask(identity.register_pk()).register_pk_response.result


def test_presence_is_the_connection(view: Server, new_controlled: NewControlled, living: Living) -> None:
    """Online while the connection lives, offline as soon as it has ended."""
    peer = new_controlled(view, living)
    assert online(view, peer.id)
    peer.stop()
    wait_until(lambda: not online(view, peer.id), 20, "the peer goes offline")
    with pytest.raises(Exception, match="OFFLINE"):
        Controlling(view).punch(peer.id)


def test_keep_alive_is_announced_and_kept(
    start_server: StartServer, new_controlled: NewControlled, living: Living
) -> None:
    """The answer carries the time; empty frames come within it, and answering keeps the link."""
    view = start_server("--keep-alive", "2").view()
    peer = new_controlled(view, living)
    answer = peer.answers.wait(lambda message: message.HasField("register_pk_response"))
    assert answer.register_pk_response.keep_alive == 2
    link = peer.link
    assert link is not None
    wait_until(lambda: link.heartbeats >= 1, 20, "the first heartbeat")
    wait_until(lambda: link.heartbeats >= 4, 20, "more heartbeats")
    assert online(view, peer.id)
    assert not peer.lost.is_set()


def test_a_silent_connection_is_given_up(
    start_server: StartServer, new_controlled: NewControlled, living: Living
) -> None:
    """Who answers no heartbeat is offline within one and a half times keep_alive."""
    view = start_server("--keep-alive", "2").view()
    begin = time.monotonic()
    peer = new_controlled(view, living, answer_heartbeats=False)
    assert online(view, peer.id)
    wait_until(lambda: not online(view, peer.id), 12, "the silent peer goes offline")
    assert time.monotonic() - begin < 12
    assert peer.lost.wait(10)


def test_pushes_come_down_the_connection(view: Server, new_controlled: NewControlled, living: Living) -> None:
    """PunchHole and RequestRelay reach the peer where it is registered."""
    peer = new_controlled(view, living)
    asker = Controlling(view, source=unique_source())
    with asker.connect(peer.id) as session:
        assert session.round_trip(b"hello") == b"hello"
        assert session.pk == peer.identity.pk
        assert session.way == ("direct" if living == "secured" else "relay")
    with asker.connect_by_relay(peer.id) as session:
        assert session.round_trip(b"again") == b"again"
    kinds = [push.WhichOneof("union") for push in peer.pushes.all()]
    assert kinds == ["punch_hole", "request_relay"]


def test_local_address_is_asked_for_down_the_connection(
    view: Server, new_controlled: NewControlled, living: Living, source: str
) -> None:
    """With one address on both sides the peer is asked for its local one."""
    peer = new_controlled(view, living, source=source)
    with Controlling(view, source=source).connect(peer.id) as session:
        assert session.way == ("local" if living == "secured" else "relay")
        assert session.round_trip(b"hello") == b"hello"
    assert peer.wait_push("fetch_local_addr")


def test_a_new_registration_replaces_the_old_one(
    view: Server, new_controlled: NewControlled, living: Living
) -> None:
    """The same peer registers on a second connection; pushes go there, the first's end is no loss."""
    identity = Identity.make()
    first = new_controlled(view, living, identity=identity)
    second = new_controlled(view, living, identity=identity)
    first.stop()
    assert_reached(view, second)


def assert_reached(view: Server, peer: Controlled) -> None:
    """A new asker reaches the peer at once."""
    with Controlling(view, source=unique_source()).connect(peer.id) as session:
        assert session.round_trip(b"hello") == b"hello"
    assert peer.wait_push("punch_hole")


def test_registration_moves_between_transports(view: Server, new_controlled: NewControlled, living: Living) -> None:
    """From UDP to a connection and back: the last registration gets the pushes."""
    identity = Identity.make()
    source = unique_source()
    with UdpLink(view.main, (source, 0)) as udp:
        assert udp.ask(identity.register_pk()).register_pk_response.result == 0
        on_link = new_controlled(view, living, identity=identity, source=source)
        assert_reached(view, on_link)
        with pytest.raises(TimeoutError):
            udp.receive(0.1)
    back = new_controlled(view, "udp", identity=identity, source=source)
    assert_reached(view, back)


def test_uuid_and_key_rules_hold_here_too(view: Server, new_controlled: NewControlled, living: Living) -> None:
    """Another machine doesn't get a known id, a short id nobody, and the owner stays reachable."""
    peer = new_controlled(view, living)
    mismatch = pb.RegisterPkResponse.UUID_MISMATCH
    assert result_of(view, living, Identity.make(peer.id)) == mismatch
    assert result_of(view, living, Identity.make("abcde")) == mismatch
    assert_reached(view, peer)


def test_a_reset_connection_is_no_presence(view: Server, living: Living) -> None:
    """A client that vanishes with a reset goes offline and may come back at once."""
    identity = Identity.make()
    link = dial(living, view, (unique_source(), 0))
    assert link.ask(identity.register_pk()).register_pk_response.result == 0
    assert online(view, identity.id)
    link.reset()
    wait_until(lambda: not online(view, identity.id), 20, "the peer goes offline")
    assert result_of(view, living, identity) == 0
