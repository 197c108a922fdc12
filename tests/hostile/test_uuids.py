"""The relay's uuids: guessed, seen, used again. Whoever has one is a side, and what is said is the sides' own to
encrypt; the relay's own promise is that nobody else is."""

from __future__ import annotations

import uuid

import pytest

from tests.client.wire import frame
from tests.evidence import Evidence
from tests.hbbr.memory import FarEnd
from tests.hbbr.relay_fixture import MemoryRelay, WsEnd, ask, say

KINDS = ["tt", "ww", "tw"]
THIEF = "203.0.113.66"
GUESSES = 300
SECRET, OWN = b"for the other side alone", b"what the thief says"


@pytest.fixture(autouse=True)
def counted(evidence: Evidence) -> None:
    """Each test is an attack."""
    evidence("Who plays with the uuids of relay sessions gets what is documented, and no more", attacks=1)


def client(relay: MemoryRelay, kind: str, host: str) -> FarEnd:
    """A client over TCP (t) or WebSocket (w)."""
    return relay.stream(host) if kind == "t" else relay.messages(host)


def told(one: FarEnd) -> bytes:
    """What a client was sent of the other side's words since the last time; over WebSocket since it is there."""
    data = one.take()
    return b"".join(one.inbox) if isinstance(one, WsEnd) else data


@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("kind", "tw")
def test_a_third_side(kinds: str, kind: str) -> None:
    """Who comes with the uuid of a running session hears nothing of it and says nothing in it; it waits in vain."""
    relay = MemoryRelay()
    first, second = relay.joined(kinds, uuid="u1")
    thief = client(relay, kind, THIEF)
    ask(thief, "u1")
    say(thief, OWN)
    relay.settle()
    say(first, SECRET)
    relay.settle()
    assert SECRET in told(second)
    for _ in range(3):
        relay.advance(9)
        say(first, b"still here")
    relay.advance(4)
    assert relay.dropped == {"not_joined": 1}
    relay.settle()
    assert told(thief) == b""
    assert len(relay.relay.sessions) == 1


@pytest.mark.parametrize("kind", "tw")
def test_guesses(kind: str) -> None:
    """Guesses wait like everybody, up to their address's limit, and join nobody; who belongs together meets."""
    relay = MemoryRelay(max_waiting=100, max_waiting_per_address=50)
    true = str(uuid.uuid4())
    near = [true[:-1], true + " ", true.upper() + "X", true.replace("-", ""), "\0" + true]
    first = client(relay, "t", "192.0.2.1")
    ask(first, true)
    relay.settle()
    for number in range(GUESSES):
        ask(client(relay, kind, THIEF), near[number] if number < len(near) else str(uuid.uuid4()))
    relay.settle()
    assert relay.relay.sessions == set()
    assert relay.dropped == {"too_many_waiting_from_address": GUESSES - 50}
    second = client(relay, "t", "192.0.2.2")
    ask(second, true)
    relay.settle()
    say(first, SECRET)
    relay.settle()
    assert SECRET in told(second)


@pytest.mark.parametrize("early", [False, True], ids=["late", "early"])
@pytest.mark.parametrize("kind", "tw")
def test_the_same_side_twice(kind: str, early: bool) -> None:
    """A side that dials again with its uuid meets itself. The other one then waits in vain."""
    relay = MemoryRelay()
    one, again, other = (client(relay, kind, host) for host in ("192.0.2.1", "192.0.2.1", "192.0.2.2"))
    ask(one, "u1")
    if early:
        say(one, SECRET)
    ask(again, "u1")
    relay.settle()
    if not early:
        say(one, SECRET)
    relay.settle()
    ask(other, "u1")
    relay.settle()
    assert SECRET in told(again)
    [session] = relay.relay.sessions
    assert {side.source.host for side in session.sides} == {"192.0.2.1"}
    relay.advance(31)
    assert SECRET not in told(other)
    assert relay.dropped["not_joined"] == 1


@pytest.mark.parametrize("kinds", KINDS)
def test_a_uuid_that_was_seen(kinds: str) -> None:
    """Who has seen the uuid and is there before the other side is taken for it, and gets what is said to that one,
    which is left alone."""
    relay = MemoryRelay()
    first = client(relay, kinds[0], "192.0.2.1")
    ask(first, "u1")
    say(first, SECRET)
    thief = client(relay, kinds[1], THIEF)
    ask(thief, "u1")
    relay.settle()
    assert SECRET in told(thief)
    late = client(relay, kinds[1], "192.0.2.2")
    ask(late, "u1")
    relay.advance(31)
    assert SECRET not in told(late)
    assert relay.dropped["not_joined"] == 1


def test_the_longest_uuids() -> None:
    """A uuid may be as long as a first frame, and is kept for as long as its side waits; more are not let in."""
    relay = MemoryRelay(max_waiting=10)
    longest = [str(number) + "x" * 65_500 for number in range(20)]
    for text in longest:
        ask(client(relay, "t", "192.0.2.1"), text)
    relay.settle()
    assert len(relay.pairing) == 10
    too_long = client(relay, "t", "192.0.2.1")
    too_long.send(frame(bytes(65_537)))
    relay.settle()
    assert relay.dropped == {"too_many_waiting": 10, "frame_too_long": 1}
    relay.advance(31)
    relay.drain()
    assert len(relay.pairing) == 0


def test_a_uuid_after_its_session() -> None:
    """When a session is over its uuid is nobody's: two that bring it meet, and get nothing of the first one's."""
    relay = MemoryRelay()
    first, second = relay.joined("tt", uuid="u1")
    say(first, SECRET)
    relay.drain()
    first.reset()
    second.reset()
    relay.drain()
    third, fourth = relay.joined("tt", uuid="u1", hosts=(THIEF, THIEF))
    say(third, OWN)
    relay.settle()
    assert told(fourth) == frame(OWN)
