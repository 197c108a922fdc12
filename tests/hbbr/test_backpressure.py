"""A fast sender and a slow reader: the relay holds a bounded amount, and everything arrives."""

from __future__ import annotations

import tracemalloc

import pytest

from rendezvous.wire.framing import encode_frame
from tests.hbbr.memory import FarEnd
from tests.hbbr.relay_fixture import MemoryRelay, WsEnd
from tests.hbbr.ws_wire import PING, client_frame

BOUND = 512 * 1024
"""Bytes that a session of small messages may hold for one direction."""


def flood(client: FarEnd, messages: int, size: int) -> list[bytes]:
    """Much more than buffers hold, in numbered messages."""
    sent = [number.to_bytes(4, "big") * (size // 4) for number in range(messages)]
    frame = client_frame if isinstance(client, WsEnd) else encode_frame
    client.send(b"".join(frame(payload) for payload in sent))
    return sent


def got(client: FarEnd, sent: list[bytes]) -> bool:
    """Whether a client of a mixed or TCP session got exactly `sent`."""
    if isinstance(client, WsEnd):
        return client.inbox == sent
    return bytes(client.received) == b"".join(map(encode_frame, sent))


@pytest.mark.parametrize("kinds", ["tt", "tw", "wt", "ww"])
@pytest.mark.parametrize("size", [40, 1400, 16_000, 64_000])
def test_a_reader_that_takes_nothing_holds_its_sender_back(kinds: str, size: int) -> None:
    """The sender is not read from while its reader takes nothing; then everything arrives in order."""
    relay = MemoryRelay()
    sender, reader = relay.joined(kinds)
    sent = flood(sender, 8_000_000 // size if size > 40 else 50_000, size)
    relay.settle()
    assert sender.unread > 1_000_000
    assert reader.held < BOUND
    read_before = sender.connection.read
    relay.advance(20)
    assert sender.connection.read == read_before
    relay.drain()
    assert got(reader, sent)


@pytest.mark.parametrize("kinds", ["tt", "tw", "wt", "ww"])
def test_large_messages_hold_little_more_than_one(kinds: str) -> None:
    """With messages of 1 MiB a session holds about one of them for a reader that takes nothing."""
    relay = MemoryRelay()
    sender, reader = relay.joined(kinds)
    sent = flood(sender, 10, 1 << 20)
    relay.settle()
    assert sender.unread > 6 << 20
    assert reader.held < (1 << 20) + BOUND
    relay.drain()
    assert got(reader, sent)


@pytest.mark.parametrize("kinds", ["tt", "tw", "wt", "ww"])
def test_one_direction_does_not_stop_the_other(kinds: str) -> None:
    """While one direction is stuck, the other passes."""
    relay = MemoryRelay()
    first, second = relay.joined(kinds)
    sent = flood(first, 500, 10_000)
    relay.settle()
    back = flood(second, 500, 10_000)
    relay.drain(first)
    assert got(first, back)
    assert first.unread > 1_000_000
    relay.drain()
    assert got(second, sent)


@pytest.mark.parametrize("kinds", ["tt", "tw", "wt", "ww"])
def test_both_directions_stuck_at_once(kinds: str) -> None:
    """Two sides that send and take nothing are both held back, and both get everything."""
    relay = MemoryRelay()
    pair = relay.joined(kinds)
    sent = [flood(client, 500, 10_000) for client in pair]
    relay.settle()
    assert all(client.unread > 1_000_000 and client.held < BOUND for client in pair)
    relay.drain()
    assert got(pair[1], sent[0])
    assert got(pair[0], sent[1])


@pytest.mark.parametrize("kinds", ["tt", "tw", "wt", "ww"])
def test_a_reader_that_sips_gets_everything(kinds: str) -> None:
    """A reader that takes a few bytes at a time never makes the relay hold more."""
    relay = MemoryRelay()
    sender, reader = relay.joined(kinds, window=3000)
    sent = flood(sender, 100, 7000)
    most = 0
    while not got(reader, sent):
        relay.settle()
        most = max(most, reader.held)
        assert reader.take(1777), "the reader waits, but nothing comes"
    assert most < BOUND


@pytest.mark.parametrize("kind", ["t", "w"])
def test_a_reader_that_takes_nothing_is_cut_off_in_the_end(kind: str) -> None:
    """A stuck session is a silent one: 30 s after the last byte it ends, and nothing is left."""
    relay = MemoryRelay()
    sender, _ = relay.joined("t" + kind)
    flood(sender, 500, 10_000)
    relay.advance(100)
    sender.reset()
    relay.settle()
    relay.check_nothing_left()


@pytest.mark.parametrize("joined", [True, False])
def test_pings_do_not_fill_the_memory(joined: bool) -> None:
    """A client that sends pings and takes no pongs is held back or closed."""
    relay = MemoryRelay()
    client = relay.joined("wt")[0] if joined else relay.messages()
    for _ in range(80):
        client.send(client_frame(bytes(100), PING) * 600)
    relay.settle()
    assert client.held < BOUND
    if not client.closed and client.unread:
        relay.drain()
        assert not client.unread


def test_empty_fragments_do_not_fill_the_memory() -> None:
    """A message of endless empty fragments takes no memory that grows with them."""
    relay = MemoryRelay()
    client = relay.messages()
    client.send(client_frame(b"", fin=False))
    relay.settle()
    pieces = client_frame(b"", 0, fin=False) * 10_000
    tracemalloc.start()
    try:
        for _ in range(5):
            client.send(pieces)
            relay.settle()
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 150_000
