"""The end of a chunked body is found, however it is cut; what is behind it, and nonsense, is not passed on."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rendezvous.web.chunks import Chunks

NEXT = b"GET /admin HTTP/1.1\r\n\r\n"
BODIES = st.lists(st.binary(min_size=1, max_size=40), max_size=4).map(
    lambda chunks: b"".join(b"%x;n=v\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
)


def passed(*pieces: bytes) -> tuple[bytes, bytes]:
    """What is passed on of a stream in these pieces, and what is behind the body."""
    chunks = Chunks()
    fed = [chunks.feed(piece) for piece in pieces]
    return b"".join(own for own, _ in fed), b"".join(rest for _, rest in fed)


@given(BODIES, st.sampled_from([b"", b"X-Sum: 5\r\n"]), st.integers(1, 9))
@settings(deadline=None)
def test_whole_bodies(body: bytes, trailer: bytes, size: int) -> None:
    """A body is passed on to its last byte, trailers included, and no further."""
    body += b"0\r\n" + trailer + b"\r\n"
    stream = body + NEXT
    assert passed(stream) == (body, NEXT)
    assert passed(*(stream[start : start + size] for start in range(0, len(stream), size))) == (body, NEXT)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (b"", b"x\r\n"),
        (b"", b"-1\r\n"),
        (b"", b"0x1\r\n"),
        (b"", b"1\n"),
        (b"", b"1" * 16 + b"\r\n"),
        (b"", b"1;" + b"x" * 5000),
        (b"", b"1;a\rb\r\n"),
        (b"1\r\na", b"b\r\n"),
        (b"1\r\na", b"\n"),
        (b"0\r\n", NEXT),
        (b"0\r\n", b"\n"),
        (b"0\r\n", b" folded: x\r\n"),
    ],
)
def test_what_is_none(good: bytes, bad: bytes) -> None:
    """A body is passed on as far as it is one; what follows is not even what comes behind it."""
    assert passed(good + bad + NEXT, NEXT)[0] == good
