"""Where bodies end, in whatever pieces they come."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rendezvous.web.bodies import LONGEST_TRAILERS, Chunks, Sized

HIDDEN = b"GET /admin HTTP/1.1\r\nHost: x\r\n\r\n"
EXTENSIONS = st.sampled_from([b"", b";a", b';a=b;c="d e"', b";" + b"x" * 200])
TRAILERS = st.lists(st.sampled_from([b"Trailer: x\r\n", b"a:\r\n", b"X-Sum: \xe9\t,\r\n"]), max_size=4)
SIZES = st.sampled_from([b"%x", b"%X", b"%08x"])


def chunk(data: bytes, size: bytes, extension: bytes) -> bytes:
    """One chunk."""
    return size % len(data) + extension + b"\r\n" + data + b"\r\n"


BODIES = st.builds(
    lambda chunks, extension, trailers: b"".join([*chunks, b"0" + extension, b"\r\n", *trailers, b"\r\n"]),
    st.lists(st.builds(chunk, st.binary(min_size=1, max_size=40), SIZES, EXTENSIONS), max_size=5),
    EXTENSIONS,
    TRAILERS,
)
PIECES = st.sampled_from(
    [b"0", b"5", b"\r\n", b"\n", b"\r", b";", b" ", b"hello", b"a: b", b"G", b"ffffffff", b"-"]
)


def pieces(data: bytes, places: list[int]) -> list[bytes]:
    """`data` cut at places."""
    cuts = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[begin:end] for begin, end in pairwise(cuts)]


def read(*fed: bytes, before: int = 0) -> tuple[bytes, bool, bool]:
    """What a reader lets through of what it is fed, whether that is all, and whether it is malformed."""
    reader = Chunks(before)
    passed = b"".join(reader.feed(piece) for piece in fed)
    return passed, reader.over, reader.malformed


@given(st.binary(max_size=30), st.integers(0, 40), st.lists(st.integers(0), max_size=5))
def test_sized(data: bytes, length: int, places: list[int]) -> None:
    """A body of a length that is known ends after so many bytes."""
    body = Sized(length)
    assert b"".join(body.feed(piece) for piece in pieces(data, places)) == data[:length]
    assert body.over == (len(data) >= length)


@settings(deadline=None)
@given(BODIES, st.lists(st.integers(0), max_size=20), st.integers(0, 5))
def test_whole_body(body: bytes, places: list[int], before: int) -> None:
    """A body goes through as it is, and nothing behind it, wherever it is cut."""
    data = bytes(before) + body
    assert read(*pieces(data + HIDDEN, places), before=before) == (data, True, False)


@settings(deadline=None)
@given(BODIES, st.lists(st.integers(0), max_size=20), st.integers(1))
def test_unfinished(body: bytes, places: list[int], end: int) -> None:
    """Of a body that has not ended nothing is held back but the beginning of a line."""
    data = body[: end % len(body)]
    passed, over, malformed = read(*pieces(data, places))
    assert data.startswith(passed)
    assert b"\n" not in data[len(passed) :]
    assert not over
    assert not malformed


@settings(deadline=None, max_examples=300)
@given(
    BODIES,
    st.binary(max_size=60) | st.lists(PIECES, max_size=20).map(b"".join),
    st.integers(0),
    st.lists(st.integers(0), max_size=20),
)
def test_any_bytes(body: bytes, other: bytes, place: int, places: list[int]) -> None:
    """Any bytes give the same in one piece and in many, and what goes through begins a body, or is one."""
    at = place % (len(body) + 1)
    data = body[:at] + other + body[at:]
    whole = read(data)
    assert read(*pieces(data, places)) == whole
    passed, over, malformed = whole
    assert data.startswith(passed)
    assert not (over and malformed)
    assert read(passed) == (passed, over, False)
    if malformed:
        assert read(data + HIDDEN) == whole


@pytest.mark.parametrize(
    "data",
    [
        b"0\n\n",
        b"0\r\n\n",
        b"0\r\r\n\r\n",
        b"\r\n",
        b"0 \r\n\r\n",
        b" 0\r\n\r\n",
        b"0x0\r\n\r\n",
        b"+1\r\na\r\n0\r\n\r\n",
        b"-1\r\na\r\n0\r\n\r\n",
        b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n",
        b"000000000\r\n\r\n",
        b"1\r\nab\r\n0\r\n\r\n",
        b"1\r\na\n0\r\n\r\n",
        b"1\r\na0\r\n\r\n",
        b"1\r\naGET /admin HTTP/1.1\r\n\r\n",
        b"0;a\rb\r\n\r\n",
        b"0;a\nb\r\n\r\n",
        b"0;\0\r\n\r\n",
        b"0;" + b"a" * 1000 + b"\r\n\r\n",
        b"0;" + b"a" * 1000,
        b"0\r\nno trailer\r\n\r\n",
        b"0\r\na: b\r\n folded\r\n\r\n",
        b"0\r\n: b\r\n\r\n",
        b"0\r\na : b\r\n\r\n",
        b"0\r\na: \0\r\n\r\n",
        b"0\r\na: b\n\r\n",
        b"0\r\n" + b"a: b\r\n" * (LONGEST_TRAILERS // 6 + 1) + b"\r\n",
        b"0\r\na: " + b"b" * LONGEST_TRAILERS,
        HIDDEN,
    ],
)
def test_malformed(data: bytes) -> None:
    """What is no body, or has too long lines around it, is refused, also a byte at a time."""
    passed, over, malformed = read(data)
    assert malformed
    assert not over
    assert read(*(data[at : at + 1] for at in range(len(data)))) == (passed, over, malformed)
