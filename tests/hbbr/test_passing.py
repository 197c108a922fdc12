"""What passes between two joined sides, for every pair of transports."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rendezvous.wire.framing import FrameDecoder, encode_frame
from tests.hbbr.memory import FarEnd
from tests.hbbr.relay_fixture import PROPERTY, MemoryRelay, WsEnd, ask
from tests.hbbr.ws_wire import BINARY, CONT, PING, PONG, TEXT, client_frame, in_pieces

SIZES = [0, 1, 0x3F, 0x40, 0x3FFF, 0x4000, 65535, 65536, 0x3FFFFF, 0x400000]
"""Message sizes around every change of a header's length, up to 4 MiB."""


def websocket_of(client: FarEnd) -> WsEnd:
    """`client`, which is one over WebSocket."""
    assert isinstance(client, WsEnd)
    return client


def sample(size: int) -> bytes:
    """`size` bytes that don't repeat at a power of two."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


@PROPERTY
@given(st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=500)), max_size=20))
def test_streams_pass_raw_both_ways(sent: list[tuple[bool, bytes]]) -> None:
    """Between TCP sides bytes pass as they are, in both directions at once."""
    relay = MemoryRelay()
    first, second = relay.joined("tt")
    for forth, data in sent:
        (first if forth else second).send(data)
    relay.drain()
    assert bytes(second.received) == b"".join(data for forth, data in sent if forth)
    assert bytes(first.received) == b"".join(data for forth, data in sent if not forth)


def test_a_stream_of_megabytes_passes_whole() -> None:
    """Eight megabytes arrive byte for byte."""
    relay = MemoryRelay()
    first, second = relay.joined("tt")
    data = sample(8 << 20)
    first.send(data)
    relay.drain()
    assert bytes(second.received) == data


@PROPERTY
@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=500)), max_size=20))
def test_websockets_pass_message_by_message(sent: list[tuple[bool, bytes]]) -> None:
    """Between WebSocket sides each message arrives as one message, empty ones included."""
    relay = MemoryRelay()
    first, second = map(websocket_of, relay.joined("ww"))
    for forth, data in sent:
        (first if forth else second).message(data)
    relay.drain()
    assert second.inbox == [data for forth, data in sent if forth]
    assert first.inbox == [data for forth, data in sent if not forth]


@pytest.mark.parametrize("kinds", ["tw", "wt"])
@pytest.mark.parametrize("size", SIZES)
def test_a_frame_is_a_message_both_ways(kinds: str, size: int) -> None:
    """A TCP frame of any size is one binary message, and a message is one frame with the shortest header."""
    relay = MemoryRelay()
    pair = relay.joined(kinds)
    stream, messages = pair if kinds == "tw" else pair[::-1]
    payload = sample(size)
    stream.send(encode_frame(payload) + encode_frame(b"after"))
    messages = websocket_of(messages)
    messages.message(payload)
    messages.message(b"after")
    relay.drain()
    assert messages.inbox == [payload, b"after"]
    assert bytes(stream.received) == encode_frame(payload) + encode_frame(b"after")


@pytest.mark.parametrize("size", SIZES)
def test_large_messages_pass_between_websockets(size: int) -> None:
    """A message of any size up to 4 MiB arrives whole."""
    relay = MemoryRelay()
    first, second = map(websocket_of, relay.joined("ww"))
    first.message(sample(size))
    relay.drain()
    assert second.inbox == [sample(size)]


@PROPERTY
@given(
    st.lists(st.tuples(st.binary(max_size=300), st.integers(1, 4)), max_size=10),
    st.lists(st.integers(1, 3000), max_size=10),
)
def test_longer_headers_than_needed_and_any_chunking(frames: list[tuple[bytes, int]], cuts: list[int]) -> None:
    """Frames are frames however long their headers are and wherever the network cuts them."""
    relay = MemoryRelay()
    stream, messages = relay.joined("tw")
    data = b""
    for payload, width in frames:
        width = max(width, len(encode_frame(payload)) - len(payload))
        data += (len(payload) << 2 | width - 1).to_bytes(width, "little") + payload
    for piece in in_pieces(data, cuts):
        stream.send(piece)
    relay.drain()
    assert websocket_of(messages).inbox == [payload for payload, _ in frames]


def test_a_fragmented_message_is_one_frame() -> None:
    """Fragments, with a ping in between, become one frame; the ping is answered and passes nowhere."""
    relay = MemoryRelay()
    messages, stream = relay.joined("wt")
    messages = websocket_of(messages)
    messages.send(client_frame(b"one ", BINARY, fin=False) + client_frame(b"?", PING))
    messages.send(client_frame(b"", CONT, fin=False) + client_frame(b"two", CONT))
    relay.drain()
    assert bytes(stream.received) == encode_frame(b"one two")
    assert [(frame.opcode, frame.payload) for frame in messages.reader.frames] == [(PONG, b"?")]


@pytest.mark.parametrize("kinds", ["wt", "ww"])
@pytest.mark.parametrize("fin", [True, False])
def test_a_text_message_ends_the_session(kinds: str, fin: bool) -> None:
    """A text message closes its sender with 1003 and the session; only what came before it arrives."""
    relay = MemoryRelay()
    sender, receiver = relay.joined(kinds)
    websocket_of(sender).message(b"before")
    sender.send(client_frame(b"text", TEXT, fin=fin) + client_frame(b"behind", CONT if not fin else BINARY))
    relay.drain()
    assert websocket_of(sender).reader.close_code == 1003
    if isinstance(receiver, WsEnd):
        assert receiver.inbox == [b"before"]
    else:
        assert bytes(receiver.received) == encode_frame(b"before")
    assert relay.dropped == {"malformed_websocket": 1}
    relay.check_nothing_left()


def test_a_long_message_right_behind_the_request() -> None:
    """What a side may send once it is joined, it may send in one piece with the request that joins it."""
    relay = MemoryRelay()
    stream, messages = relay.stream(), relay.messages()
    ask(stream)
    ask(messages, behind=client_frame(bytes(100_000)))
    relay.drain()
    assert bytes(stream.received) == encode_frame(bytes(100_000))
    assert messages.reader.close_code is None


@pytest.mark.parametrize("kinds", ["wt", "ww"])
def test_a_message_above_the_limit_ends_the_session(kinds: str) -> None:
    """A message that is too long closes its sender with 1009 and the session; what came before it arrives."""
    relay = MemoryRelay(max_message=100_000)
    sender, receiver = relay.joined(kinds)
    websocket_of(sender).message(bytes(100_000))
    websocket_of(sender).message(bytes(100_001))
    relay.drain()
    assert websocket_of(sender).reader.close_code == 1009
    assert sender.ended
    assert receiver.ended
    if isinstance(receiver, WsEnd):
        assert receiver.inbox == [bytes(100_000)]
    else:
        assert bytes(receiver.received) == encode_frame(bytes(100_000))
    assert sum(relay.dropped.values()) == 1
    assert relay.relay.sessions == set()


def test_a_frame_above_the_limit_ends_a_mixed_session() -> None:
    """A TCP frame that announces too much ends the session before a byte of it is kept."""
    relay = MemoryRelay(max_message=100_000)
    stream, messages = relay.joined("tw")
    stream.send(encode_frame(bytes(100_000)) + encode_frame(bytes(100_001))[:4])
    relay.drain()
    assert websocket_of(messages).inbox == [bytes(100_000)]
    assert stream.ended
    assert messages.ended
    assert relay.dropped == {"frame_too_long": 1}


def test_streams_between_tcp_sides_have_no_message_limit() -> None:
    """Bytes that would be a frame above the limit pass between two TCP sides."""
    relay = MemoryRelay(max_message=65536)
    first, second = relay.joined("tt")
    first.send(b"\xff\xff\xff\xff" + bytes(100_000))
    relay.drain()
    assert bytes(second.received) == b"\xff\xff\xff\xff" + bytes(100_000)


def test_sessions_do_not_mix() -> None:
    """Each of many sessions gets its own bytes only."""
    relay = MemoryRelay()
    pairs = [relay.joined(kinds, uuid=f"u{n}") for n, kinds in enumerate(["tt", "tw", "wt", "ww"] * 5)]
    for number, (first, _) in enumerate(pairs):
        payload = f"session {number}".encode()
        first.send(client_frame(payload) if isinstance(first, WsEnd) else encode_frame(payload))
    relay.drain()
    for number, (_, second) in enumerate(pairs):
        if isinstance(second, WsEnd):
            assert second.inbox == [f"session {number}".encode()]
        else:
            decoder = FrameDecoder(1000)
            decoder.feed(bytes(second.received))
            assert decoder.next_frame() == f"session {number}".encode()
            assert not decoder.unfinished
