"""The server's pings at the relay: dead sides are found, sides that wait or are held back are none."""

from __future__ import annotations

import pytest

from tests.hbbr.relay_fixture import MemoryRelay, WsEnd, ask, say
from tests.hbbr.test_passing import websocket_of
from tests.hbbr.ws_wire import PING

HOUR = 3600.0


def pass_time(relay: MemoryRelay, seconds: int) -> None:
    """Time passes; everybody reads all the while."""
    for _ in range(seconds):
        relay.advance(1)
        relay.drain()


def pings_of(client: WsEnd) -> int:
    """How often a client was asked."""
    return sum(frame.opcode == PING for frame in client.reader.frames)


@pytest.mark.parametrize("kinds", ["wt", "tw", "ww"])
def test_a_side_that_answers_no_ping_ends_its_session(kinds: str) -> None:
    """The session is over a minute after the last byte of the dead side; the other side is closed in order."""
    relay = MemoryRelay(idle=HOUR)
    pair = relay.joined(kinds)
    at = kinds.index("w")
    dead, other = websocket_of(pair[at]), pair[1 - at]
    pass_time(relay, 100)
    assert pings_of(dead) == 3
    assert len(relay.relay.sessions) == 1
    dead.pongs = False
    pass_time(relay, 19)
    assert len(relay.relay.sessions) == 1
    pass_time(relay, 42)
    assert dead.closed
    assert other.closed
    assert relay.relay.sessions == set()
    assert relay.dropped == {"no_pong": 1}
    relay.check_nothing_left()


@pytest.mark.parametrize("kinds", ["wt", "ww"])
def test_pongs_do_not_keep_a_session(kinds: str) -> None:
    """A session that nobody uses ends, however well its sides answer."""
    relay = MemoryRelay(idle=45)
    client, _ = relay.joined(kinds)
    pass_time(relay, 44)
    assert pings_of(websocket_of(client)) == 1
    assert len(relay.relay.sessions) == 1
    pass_time(relay, 2)
    assert relay.relay.sessions == set()
    assert relay.dropped == {"idle": 1}
    relay.check_nothing_left()


def test_a_side_that_waits_for_the_other_is_not_dead() -> None:
    """It has the time of the pairing, even if it does not read meanwhile, and can be joined then."""
    relay = MemoryRelay(pairing=600)
    first = relay.messages()
    ask(first)
    relay.advance(590)
    assert not first.closed
    second = relay.stream()
    ask(second)
    relay.settle()
    say(second, b"hello")
    relay.drain()
    assert first.inbox == [b"hello"]
    assert pings_of(first) == 19
    assert relay.dropped == {}


@pytest.mark.parametrize("kinds", ["wt", "ww"])
def test_a_side_that_is_held_back_is_not_dead(kinds: str) -> None:
    """A sender whose other side takes nothing is not read from, so its silence proves nothing."""
    relay = MemoryRelay(idle=HOUR)
    sender, receiver = relay.joined(kinds, window=1000)
    for _ in range(40):
        say(sender, bytes(10_000))
    for _ in range(300):
        relay.advance(1)
        websocket_of(sender).take()
    relay.settle()
    assert sender.unread > 0
    assert relay.dropped == {}
    assert len(relay.relay.sessions) == 1
    relay.drain()
    assert sender.unread == 0
    assert len(receiver.received) > 400_000
    assert relay.dropped == {}


def test_a_side_that_is_above_its_bandwidth_is_not_dead() -> None:
    """A sender that the rate holds back is asked, and stays."""
    relay = MemoryRelay(idle=HOUR, single=0.001)
    sender, receiver = relay.joined("wt")
    say(sender, bytes(50_000))
    for _ in range(4):
        say(sender, bytes(1000))
    websocket_of(sender).pongs = False
    pass_time(relay, 200)
    assert relay.dropped == {}
    assert len(relay.relay.sessions) == 1
    assert len(receiver.received) > 50_000
