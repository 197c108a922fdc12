"""How much of unfinished messages the sides of sessions may keep, in all and from one address."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rendezvous.admission import Refused
from rendezvous.hbbr.unfinished import Kept, Unfinished
from rendezvous.wire.framing import encode_frame
from tests.hbbr.memory import FarEnd
from tests.hbbr.relay_fixture import PROPERTY, MemoryRelay, WsEnd, say
from tests.hbbr.ws_wire import CONT, PONG, client_frame

MOST, MOST_OF_ONE = 1_000_000, 400_000
HALF = bytes(150_000)
"""What one side keeps: two of an address are below its limit, three above."""
IN_ALL, FROM_ADDRESS = "too_many_unfinished_bytes", "too_many_unfinished_bytes_from_address"


def begin(client: FarEnd, payload: bytes = HALF) -> None:
    """The client sends a message but for its last byte."""
    if isinstance(client, WsEnd):
        client.send(client_frame(payload + b"!", mask=bytes(4))[:-1])
    else:
        client.send(encode_frame(payload + b"!")[:-1])


def fragments(client: FarEnd) -> None:
    """The client sends a message but for its last fragment, with a pong behind each that has come."""
    client.send(client_frame(b"", fin=False))
    for start in range(0, len(HALF), 15_000):
        client.send(client_frame(HALF[start : start + 15_000], CONT, fin=False) + client_frame(b"", PONG))


def limited(**options: int) -> MemoryRelay:
    """A relay with the limits of these tests."""
    return MemoryRelay(**{"max_unfinished": MOST, "max_unfinished_per_address": MOST_OF_ONE, **options})


def sender(relay: MemoryRelay, kind: str, number: int, host: str = "192.0.2.1") -> FarEnd:
    """The first side, of one kind, of a session with the other kind."""
    kinds = "tw" if kind == "t" else "wt"
    return relay.joined(kinds, uuid=f"u{number}", hosts=(host, f"198.51.100.{number}"))[0]


@pytest.mark.parametrize(("kind", "begins"), [("t", begin), ("w", begin), ("w", fragments)])
def test_one_address_keeps_so_much(kind: str, begins: Callable[[FarEnd], None]) -> None:
    """The side that would exceed what its address may keep is closed with its session, and counted; no other is."""
    relay = limited()
    sides = [sender(relay, kind, number) for number in range(3)]
    for side in sides:
        begins(side)
        relay.settle()
    assert relay.dropped == {FROM_ADDRESS: 1}
    assert len(relay.relay.sessions) == 2
    assert relay.relay.ended == {"too much unfinished": 1}
    begin(sender(relay, kind, 9, "192.0.2.9"))
    relay.settle()
    assert relay.dropped == {FROM_ADDRESS: 1}


@pytest.mark.parametrize("kind", "tw")
def test_all_together_keep_so_much(kind: str) -> None:
    """However many addresses there are, no more is kept."""
    relay = limited(max_unfinished=700_000)
    for number in range(6):
        begin(sender(relay, kind, number, f"192.0.2.{number}"))
        relay.settle()
    assert relay.dropped == {IN_ALL: 2}
    assert relay.unfinished.kept <= 700_000


@pytest.mark.parametrize("kind", "tw")
@pytest.mark.parametrize("end", ["whole", "reset", "other side"])
def test_room_comes_back(kind: str, end: str) -> None:
    """When messages are whole, their side is gone or its session over, as much may be kept as before."""
    relay = limited()
    for number in range(6):
        side, other = relay.joined("tw" if kind == "t" else "wt", uuid=f"u{number}", hosts=("192.0.2.1", ""))
        begin(side)
        relay.settle()
        assert relay.unfinished.kept >= len(HALF)
        if end == "whole":
            side.send(b"!")
        else:
            (side if end == "reset" else other).reset()
        relay.settle()
        assert relay.unfinished.kept == 0
        relay.drain()
    assert relay.dropped == {}


@pytest.mark.parametrize("kind", "tw")
def test_whole_messages_are_as_long_and_many_as_ever(kind: str) -> None:
    """What comes whole is not kept, however much there is of it."""
    relay = limited()
    side = sender(relay, kind, 1)
    for _ in range(20):
        say(side, HALF)
        relay.drain()
    assert relay.dropped == {}
    assert relay.unfinished.kept == 0


def test_an_ipv6_network_is_one_address() -> None:
    """Who has a whole /64 keeps as much as one address."""
    relay = limited()
    for number in range(3):
        begin(sender(relay, "t", number, f"2001:db8::{number + 1}"))
    begin(sender(relay, "t", 3, "2001:db8:0:1::1"))
    relay.settle()
    assert relay.dropped == {FROM_ADDRESS: 1}


@PROPERTY
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 50)), max_size=60))
def test_counts_like_a_model(events: list[tuple[int, int]]) -> None:
    """Whatever grows and shrinks, both limits hold exactly, and nothing is left when all are done."""
    unfinished, model = Unfinished(120, 60), [0] * 6
    sides: list[Kept] = [unfinished.of(f"192.0.2.{number % 3}") for number in range(6)]
    for number, count in events:
        after = [*model[:number], count, *model[number + 1 :]]
        more = count > model[number]
        if more and sum(after) > 120:
            with pytest.raises(Refused, match=f"^{IN_ALL}$"):
                sides[number].set(count)
        elif more and after[number] + after[(number + 3) % 6] > 60:
            with pytest.raises(Refused, match=f"^{FROM_ADDRESS}$"):
                sides[number].set(count)
        else:
            sides[number].set(count)
            model = after
        assert unfinished.kept == sum(model)
    for side in sides:
        side.set(0)
    assert (unfinished.kept, unfinished._by_network) == (0, {})
