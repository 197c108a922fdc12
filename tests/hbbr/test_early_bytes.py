"""What a side sends right behind its first frame, before the other side came, arrives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rendezvous.wire.framing import encode_frame
from tests.hbbr.memory import FarEnd
from tests.hbbr.relay_fixture import PROPERTY, MemoryRelay, WsEnd, ask, request, say
from tests.hbbr.ws_wire import client_frame, in_pieces

MESSAGES = st.lists(st.binary(max_size=300), max_size=8)
CUTS = st.lists(st.integers(0, 3000), max_size=12)


def opening(client: FarEnd, messages: list[bytes]) -> bytes:
    """The bytes of a first frame and of messages behind it."""
    if isinstance(client, WsEnd):
        return b"".join(client_frame(payload) for payload in [request(), *messages])
    return b"".join(encode_frame(payload) for payload in [request(), *messages])


def arrived(client: FarEnd) -> bytes:
    """What a client of a mixed session got, as the bytes of TCP frames."""
    if isinstance(client, WsEnd):
        return b"".join(encode_frame(message) for message in client.inbox)
    return bytes(client.received)


@PROPERTY
@given(kinds=st.sampled_from(["tt", "tw", "wt", "ww"]), early=MESSAGES, late=MESSAGES, cuts=CUTS)
def test_early_bytes_arrive_in_any_chunking(
    kinds: str, early: list[bytes], late: list[bytes], cuts: list[int]
) -> None:
    """Both sides' early and later bytes arrive in order, however the network cut them."""
    relay = MemoryRelay()
    made: list[FarEnd] = []
    for kind in kinds:
        client = relay.stream() if kind == "t" else relay.messages()
        made.append(client)
        for piece in in_pieces(opening(client, early), cuts):
            client.send(piece)
            relay.settle()
    for client in made:
        for payload in late:
            say(client, payload)
    relay.drain()
    expected = b"".join(encode_frame(payload) for payload in early + late)
    assert [arrived(client) for client in made] == [expected, expected]


@PROPERTY
@given(early=st.binary(max_size=2000), cuts=CUTS)
def test_early_bytes_of_a_stream_are_no_frames(early: bytes, cuts: list[int]) -> None:
    """Between two TCP sides early bytes pass raw, whatever they look like."""
    relay = MemoryRelay()
    first, second = relay.stream(), relay.stream()
    for piece in in_pieces(encode_frame(request()) + early, cuts):
        first.send(piece)
        relay.settle()
    ask(second, behind=early)
    relay.drain()
    assert bytes(second.received) == early
    assert bytes(first.received) == early


def test_a_side_that_ends_before_it_has_sent_anything_is_let_go() -> None:
    """Who gives up while it waits, with nothing for the other side, waits no longer."""
    relay = MemoryRelay()
    first = relay.stream()
    ask(first)
    first.finish()
    relay.drain()
    assert first.closed
    assert relay.dropped == {"left": 1}
    relay.check_nothing_left()


@pytest.mark.parametrize("size", [1, 1000, 60_000, 300_000])
def test_early_bytes_of_a_side_that_has_finished_arrive(size: int) -> None:
    """A side that has already ended its direction is joined: its bytes and its end arrive, and it can receive."""
    relay = MemoryRelay()
    first, second = relay.stream(), relay.stream()
    data = bytes(range(256)) * (size // 256 + 1)
    ask(first, behind=data[:size])
    first.finish()
    relay.settle()
    ask(second)
    relay.drain()
    assert bytes(second.received) == data[:size]
    assert second.ended
    assert not second.closed
    second.send(b"answer")
    second.finish()
    relay.drain()
    assert bytes(first.received) == b"answer"
    assert first.ended


def test_early_messages_of_a_stream_that_has_finished_arrive_over_websocket() -> None:
    """A TCP side that has already ended leaves its messages to the WebSocket side before the session ends."""
    relay = MemoryRelay()
    first, second = relay.stream(), relay.messages()
    ask(first, behind=encode_frame(b"one") + encode_frame(b"") + encode_frame(b"two"))
    first.finish()
    relay.settle()
    ask(second)
    relay.drain()
    assert second.inbox == [b"one", b"", b"two"]
    assert second.ended


@pytest.mark.parametrize("kind", ["t", "w"])
def test_a_side_that_waits_is_held_back(kind: str) -> None:
    """Much early data stays in the kernel until the other side is there, and then arrives whole."""
    relay = MemoryRelay()
    client = relay.stream() if kind == "t" else relay.messages()
    ask(client)
    for number in range(100):
        if isinstance(client, WsEnd):
            client.message(bytes([number]) * 10_000)
        else:
            client.send(bytes([number]) * 10_000)
    relay.settle()
    assert client.connection.read <= 3 * 65536
    other = relay.stream()
    ask(other)
    relay.drain()
    if kind == "t":
        assert bytes(other.received) == b"".join(bytes([number]) * 10_000 for number in range(100))
    else:
        assert bytes(other.received) == b"".join(encode_frame(bytes([n]) * 10_000) for n in range(100))


def test_early_empty_messages_are_held_back() -> None:
    """Messages without a byte count too: a client that waits can't fill the memory with them."""
    relay = MemoryRelay()
    client = relay.messages()
    ask(client)
    for _ in range(20):
        client.send(client_frame(b"") * 5000)
    relay.settle()
    assert client.connection.read <= 3 * 65536
    other = relay.messages()
    ask(other)
    relay.drain()
    assert other.inbox == [b""] * 100_000
