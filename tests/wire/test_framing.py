"""TCP frames: recorded headers, every way of cutting a stream, and limits."""

import tracemalloc
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rendezvous.wire.framing import (
    HEARTBEAT,
    MAX_PAYLOAD,
    FrameDecoder,
    FrameTooLong,
    encode_frame,
    frame_header,
)
from tests.wire import VECTORS

HEADERS = VECTORS["frame_headers"]
LONGER = VECTORS["frame_headers_longer_than_needed"]
HEADER_LIMITS = (0x3F, 0x3FFF, 0x3FFFFF, 0x3FFFFFFF)
"""The longest payload that a header of one, two, three and four bytes announces."""


def decoded(pieces: Iterable[bytes], max_length: int = MAX_PAYLOAD) -> tuple[list[bytes], bytes]:
    """The payloads in a stream that arrives in `pieces`, and what is left behind the last one."""
    decoder = FrameDecoder(max_length)
    payloads: list[bytes] = []
    for piece in pieces:
        decoder.feed(piece)
        while (payload := decoder.next_frame()) is not None:
            payloads.append(payload)
    return payloads, decoder.take_rest()


def single_bytes(data: bytes) -> list[bytes]:
    """`data` in pieces of one byte."""
    return [data[i : i + 1] for i in range(len(data))]


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """`data` cut at `places`, which may be anywhere."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def header_of(length: int, size: int) -> bytes:
    """The header of `size` bytes that announces `length`, which may be longer than needed."""
    return (length << 2 | size - 1).to_bytes(size, "little")


@st.composite
def frames(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A payload and a frame of it, whose header may be longer than needed."""
    payload = draw(st.binary(max_size=200))
    shortest = 1 if len(payload) <= HEADER_LIMITS[0] else 2
    return payload, header_of(len(payload), draw(st.integers(shortest, 4))) + payload


@pytest.mark.parametrize("vector", HEADERS, ids=lambda v: str(v["payload_len"]))
def test_shortest_header_is_written(vector: dict[str, Any]) -> None:
    """A payload gets the recorded header, and stands behind it unchanged."""
    length: int = vector["payload_len"]
    header = bytes.fromhex(vector["header"])
    assert frame_header(length) == header
    payload = bytes(range(256)) * (length // 256 + 1)
    assert encode_frame(payload[:length]) == header + payload[:length]


@pytest.mark.parametrize("vector", HEADERS, ids=lambda v: str(v["payload_len"]))
def test_recorded_headers_are_read(vector: dict[str, Any]) -> None:
    """A frame is read when it comes whole, and when its header and its end come byte by byte."""
    payload = b"\x5a" * vector["payload_len"]
    stream = bytes.fromhex(vector["header"]) + payload
    assert decoded([stream]) == ([payload], b"")
    middle = max(len(stream) - 5, 5)
    pieces = [*single_bytes(stream[:5]), stream[5:middle], *single_bytes(stream[middle:])]
    assert b"".join(pieces) == stream
    assert decoded(pieces) == ([payload], b"")


@pytest.mark.parametrize("vector", [v for v in HEADERS if v["payload_len"] <= 1 << 16], ids=lambda v: v["header"])
def test_frames_are_read_byte_by_byte(vector: dict[str, Any]) -> None:
    """A frame is whole at its last byte and not before."""
    payload = b"\x5a" * vector["payload_len"]
    stream = bytes.fromhex(vector["header"]) + payload
    assert decoded(single_bytes(stream[:-1])) == ([], stream[:-1])
    assert decoded(single_bytes(stream)) == ([payload], b"")


@pytest.mark.parametrize("vector", HEADERS[:11], ids=lambda v: v["header"])
@pytest.mark.parametrize("trailing", ["07", "fd", "0301", "0807"])
def test_trailing_bytes_stay(vector: dict[str, Any], trailing: str) -> None:
    """What follows a frame and is no whole frame itself waits for more."""
    payload = b"\x5a" * vector["payload_len"]
    stream = bytes.fromhex(vector["header"]) + payload + bytes.fromhex(trailing)
    for pieces in ([stream], single_bytes(stream)):
        assert decoded(pieces) == ([payload], bytes.fromhex(trailing))


@pytest.mark.parametrize("vector", LONGER, ids=lambda v: v["input"])
def test_headers_longer_than_needed_are_read(vector: dict[str, Any]) -> None:
    """A longer header than needed means the same, whole or byte by byte."""
    stream = bytes.fromhex(vector["input"])
    for pieces in ([stream], single_bytes(stream)):
        decoder = FrameDecoder(MAX_PAYLOAD)
        payload = None
        for piece in pieces:
            decoder.feed(piece)
            payload = decoder.next_frame() if payload is None else payload
        end = len(stream) - vector["left"]
        assert payload == stream[end - vector["payload_len"] : end]
        assert decoder.take_rest() == stream[end:]


@settings(deadline=None)
@given(st.lists(frames(), max_size=8), st.lists(st.integers(0, 2000), max_size=40), st.binary(max_size=3))
def test_any_cutting_gives_the_same_frames(
    written: list[tuple[bytes, bytes]], places: list[int], beginning: bytes
) -> None:
    """Several frames and the beginning of another are read alike however the stream is cut."""
    unfinished = header_of(500, 4) + beginning
    stream = b"".join(frame for _, frame in written) + unfinished
    assert decoded(cut(stream, places)) == ([payload for payload, _ in written], unfinished)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=300)), st.integers(1, 50))
def test_written_frames_are_read(payloads: list[bytes], size: int) -> None:
    """What is encoded is decoded, in pieces of any size."""
    stream = b"".join(encode_frame(payload) for payload in payloads)
    pieces = [stream[i : i + size] for i in range(0, len(stream), size)]
    assert decoded(pieces) == (payloads, b"")


def test_heartbeat_is_an_empty_frame() -> None:
    """A heartbeat is the single byte 0, and read as an empty payload."""
    assert HEARTBEAT == b"\x00" == encode_frame(b"")
    assert decoded([HEARTBEAT * 3]) == ([b"", b"", b""], b"")


@pytest.mark.parametrize(
    ("limit", "size"),
    [
        (limit, size)
        for limit in (0, 1, 0x3F, 0x40, 0x3FFF, 0x4000, 0x10000, 0x3FFFFF, 0x400000)
        for size in (1, 2, 3, 4)
        if limit < HEADER_LIMITS[size - 1]
    ],
)
def test_too_long_a_frame_is_refused_at_its_header(limit: int, size: int) -> None:
    """One byte more than allowed is refused as soon as the header is there, and not before."""
    header = header_of(limit + 1, size)
    decoder = FrameDecoder(limit)
    decoder.feed(header[:-1])
    assert decoder.next_frame() is None
    decoder.feed(header[-1:])
    with pytest.raises(FrameTooLong):
        decoder.next_frame()


@pytest.mark.parametrize("limit", [0, 1, 0x3F, 0x40, 0x3FFF, 0x4000, 0x10000])
def test_longest_allowed_frame_is_read(limit: int) -> None:
    """The limit itself is allowed."""
    assert decoded([encode_frame(bytes(limit))], limit) == ([bytes(limit)], b"")


def test_frames_before_one_that_is_too_long_are_read() -> None:
    """A sound frame is returned before the next one is refused."""
    decoder = FrameDecoder(10)
    decoder.feed(encode_frame(b"sound") + frame_header(11))
    assert decoder.next_frame() == b"sound"
    with pytest.raises(FrameTooLong):
        decoder.next_frame()


def test_nothing_is_reserved_for_what_is_announced() -> None:
    """An announced gigabyte costs no memory until it comes."""
    decoder = FrameDecoder(MAX_PAYLOAD)
    tracemalloc.start()
    try:
        decoder.feed(frame_header(MAX_PAYLOAD) + b"first bytes")
        assert decoder.next_frame() is None
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_no_header_announces_more_than_30_bits() -> None:
    """The longest payload has a header; one byte more is refused."""
    assert frame_header(MAX_PAYLOAD) == b"\xff\xff\xff\xff"
    with pytest.raises(FrameTooLong):
        frame_header(MAX_PAYLOAD + 1)


def test_decoder_tells_of_an_unfinished_frame() -> None:
    """A frame is unfinished from its first byte to its last."""
    decoder = FrameDecoder(100)
    assert not decoder.unfinished
    for byte in single_bytes(encode_frame(b"abc"))[:-1]:
        decoder.feed(byte)
        assert decoder.next_frame() is None
        assert decoder.unfinished
    decoder.feed(b"c")
    assert decoder.next_frame() == b"abc"
    assert not decoder.unfinished


@settings(deadline=None)
@given(st.binary(max_size=600), st.integers(0, 300), st.lists(st.integers(0, 600), max_size=10))
def test_random_bytes_give_frames_or_are_refused(stream: bytes, limit: int, places: list[int]) -> None:
    """Whatever comes in, frames within the limit come out, or FrameTooLong."""
    decoder = FrameDecoder(limit)
    taken = 0
    try:
        for piece in cut(stream, places):
            decoder.feed(piece)
            while (payload := decoder.next_frame()) is not None:
                taken += (stream[taken] & 3) + 1
                assert stream[taken : taken + len(payload)] == payload
                assert len(payload) <= limit
                taken += len(payload)
    except FrameTooLong:
        size = (stream[taken] & 3) + 1
        assert int.from_bytes(stream[taken : taken + size], "little") >> 2 > limit
    else:
        assert decoder.take_rest() == stream[taken:]
