"""The first frame of a connection to the relay: what is taken, what is closed, and when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rendezvous.wire.framing import encode_frame
from rendezvous.wire.messages import encode
from rendezvous.wire.rendezvous_pb2 import RegisterPeer, RequestRelay
from tests.hbbr.memory import FarEnd
from tests.hbbr.relay_fixture import PROPERTY, MemoryRelay, WsEnd, ask, request, say

KINDS = ["t", "w"]


def connect(relay: MemoryRelay, kind: str) -> FarEnd:
    """A client of a kind: t for TCP, w for WebSocket."""
    return relay.stream() if kind == "t" else relay.messages()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", ["", "wrong", "right ", "Right", "rightright"])
def test_a_wrong_key_is_closed(kind: str, key: str) -> None:
    """Whoever sends another key than the relay's is closed, counted, and leaves nothing."""
    relay = MemoryRelay(key="right")
    client = connect(relay, kind)
    ask(client, key=key)
    relay.drain()
    assert client.ended
    assert relay.dropped == {"wrong_key": 1}
    relay.drain()
    relay.check_nothing_left()


@pytest.mark.parametrize("kinds", ["tt", "tw", "wt", "ww"])
def test_the_right_key_is_let_in(kinds: str) -> None:
    """Two clients with the relay's key are joined."""
    relay = MemoryRelay(key="right")
    for kind in kinds:
        ask(connect(relay, kind), key="right")
        relay.settle()
    assert len(relay.relay.sessions) == 1
    assert relay.dropped == {}


@pytest.mark.parametrize("kinds", ["tt", "tw", "wt", "ww"])
def test_without_a_key_any_key_is_let_in(kinds: str) -> None:
    """A relay that has no key takes what clients send."""
    relay = MemoryRelay(key="")
    for kind, key in zip(kinds, ("", "something"), strict=True):
        ask(connect(relay, kind), key=key)
        relay.settle()
    assert len(relay.relay.sessions) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_one_with_a_wrong_key_does_not_disturb_a_wait(kind: str) -> None:
    """A stranger who knows the uuid but not the key neither joins nor ends the wait."""
    relay = MemoryRelay(key="right")
    first, stranger, second = relay.stream(), connect(relay, kind), relay.stream()
    ask(first, key="right")
    relay.settle()
    ask(stranger, key="wrong")
    relay.settle()
    assert relay.relay.sessions == set()
    ask(second, key="right")
    second.send(b"hello")
    relay.drain()
    assert bytes(first.received) == b"hello"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\xff\xff\xff", "malformed"),
        (b"", "malformed"),
        (b"plain text", "malformed"),
        (encode(RegisterPeer(id="123456789")), "not_a_relay_request"),
        (encode(RequestRelay(uuid="")), "empty_uuid"),
    ],
)
def test_what_asks_for_no_relay_is_closed(kind: str, payload: bytes, reason: str) -> None:
    """Anything but a RequestRelay with a uuid is closed and counted by reason."""
    relay = MemoryRelay()
    client = connect(relay, kind)
    say(client, payload)
    relay.drain()
    assert client.closed
    assert relay.dropped == {reason: 1}
    relay.check_nothing_left()


def test_a_frame_that_announces_too_much_is_closed_at_its_header() -> None:
    """A first frame of a gigabyte is refused as soon as it is announced."""
    relay = MemoryRelay()
    client = relay.stream()
    client.send(bytes([0xFF, 0xFF, 0xFF, 0xFF]))
    relay.settle()
    assert client.closed
    assert relay.dropped == {"frame_too_long": 1}
    relay.check_nothing_left()


def test_a_message_above_the_limit_is_closed() -> None:
    """A first WebSocket message above the limit is closed with 1009 and counted."""
    relay = MemoryRelay(max_message=65536)
    client = relay.messages()
    client.message(bytes(65537))
    relay.drain()
    assert client.closed
    assert client.reader.close_code == 1009
    assert relay.dropped == {"malformed_websocket": 1}
    relay.check_nothing_left()


@pytest.mark.parametrize("sent", [b"", encode_frame(request())[:1], encode_frame(request())[:-1]])
def test_a_stream_without_a_first_frame_is_closed_after_30_seconds(sent: bytes) -> None:
    """A TCP client that sends nothing, or part of a frame, is closed when its time is up and not before."""
    relay = MemoryRelay()
    client = relay.stream()
    client.send(sent)
    relay.advance(29.5)
    assert not client.closed
    relay.advance(1)
    assert client.closed
    assert relay.dropped == {"no_first_frame": 1}
    relay.check_nothing_left()


@pytest.mark.parametrize(("opened", "reason"), [(False, "no_handshake"), (True, "no_first_frame")])
def test_a_websocket_without_a_first_message_is_closed_after_30_seconds(opened: bool, reason: str) -> None:
    """A WebSocket client is closed when its time is up, whether its handshake was done or not."""
    relay = MemoryRelay()
    client = (
        relay.messages() if opened else WsEnd(relay.reactor.connect(relay.websocket, "192.0.2.1", 9999).connection)
    )
    relay.advance(29.5)
    assert not client.closed
    relay.advance(1)
    assert client.closed
    assert relay.dropped == {reason: 1}
    relay.check_nothing_left()


@pytest.mark.parametrize("kind", KINDS)
def test_pings_are_no_first_message(kind: str) -> None:
    """Bytes that make no first frame do not give a client more time."""
    relay = MemoryRelay()
    client = connect(relay, kind)
    for _ in range(40):
        if isinstance(client, WsEnd):
            client.message(b"", 0x9)
        elif client.connection.read == 0:
            client.send(encode_frame(bytes(64))[:20])
        relay.advance(1)
    assert client.closed
    assert relay.dropped == {"no_first_frame": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_waits_longer_than_30_seconds(kind: str) -> None:
    """A client whose other side does not come is closed 30 s after its request."""
    relay = MemoryRelay()
    client = connect(relay, kind)
    relay.advance(20)
    ask(client)
    relay.advance(29.5)
    assert not client.closed
    relay.advance(1)
    relay.drain()
    assert client.closed
    assert relay.dropped == {"not_joined": 1}
    relay.check_nothing_left()


def test_the_end_of_an_old_wait_leaves_a_new_one_alone() -> None:
    """A third connection with the same uuid waits its own 30 s, whatever the first one did."""
    relay = MemoryRelay()
    first, second = relay.joined("tt")
    relay.advance(20)
    first.reset()
    relay.advance(5)
    third = relay.stream()
    ask(third)
    relay.advance(20)
    assert second.closed
    assert not third.closed
    fourth = relay.stream()
    ask(fourth, behind=b"hello")
    relay.drain()
    assert bytes(third.received) == b"hello"


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_that_goes_while_it_waits_is_forgotten(kind: str) -> None:
    """Nobody is joined with a connection that is gone."""
    relay = MemoryRelay()
    first = connect(relay, kind)
    ask(first)
    relay.settle()
    first.reset()
    relay.settle()
    relay.check_nothing_left()
    second = connect(relay, kind)
    ask(second)
    relay.settle()
    assert relay.relay.sessions == set()
    assert not second.closed


def test_a_stream_that_ends_before_its_request_is_closed() -> None:
    """The end of the stream inside the first frame closes the connection at once."""
    relay = MemoryRelay()
    client = relay.stream()
    client.send(encode_frame(request())[:-1])
    client.finish()
    relay.settle()
    assert client.closed
    assert relay.dropped == {"no_first_frame": 1}
    relay.check_nothing_left()


@PROPERTY
@given(st.binary(max_size=200), st.sampled_from(KINDS))
def test_garbage_never_leaves_anything(garbage: bytes, kind: str) -> None:
    """Whatever a client sends first, no exception escapes, and everything is free when it is gone."""
    relay = MemoryRelay()
    client = connect(relay, kind)
    client.send(garbage)
    relay.settle()
    relay.advance(61)
    client.take()
    relay.advance(15)
    if not client.closed:
        client.reset()
    relay.settle()
    relay.check_nothing_left()


@pytest.mark.parametrize("width", [2, 3, 4])
def test_a_first_frame_may_have_a_longer_header_than_it_needs(width: int) -> None:
    """A request behind a header of 2, 3 or 4 bytes is a request."""
    relay = MemoryRelay()
    client = relay.stream()
    payload = request()
    client.send((len(payload) << 2 | width - 1).to_bytes(width, "little") + payload)
    relay.settle()
    assert len(relay.pairing) == 1
