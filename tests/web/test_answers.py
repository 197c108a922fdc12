"""Answers to requests for an upgrade, in whatever pieces they come."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rendezvous.web.answers import LONGEST_HEAD, MOST_INTERIM, UpgradeAnswer
from tests.web.test_bodies import pieces

HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
REFUSAL = b"HTTP/1.1 404 Not Found\r\n"
BEHIND = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def told(*fed: bytes) -> tuple[bytes, bool | None, bool, bool]:
    """What the client gets, whether the server agrees, whether that is all, and whether it is malformed."""
    answer = UpgradeAnswer()
    passed = b"".join(answer.feed(piece) for piece in fed)
    return passed, answer.switched, answer.over, answer.malformed


@pytest.mark.parametrize("hints", [0, 1, MOST_INTERIM])
def test_agreed(hints: int) -> None:
    """Everything goes through, from the first head to the last byte, whatever comes before the agreement."""
    data = HINTS * hints + SWITCH + b"\x81\x00" + BEHIND
    assert told(data) == told(*(data[at : at + 1] for at in range(len(data)))) == (data, True, False, False)


def test_interim_heads_come_at_once() -> None:
    """The client gets them while the server thinks."""
    assert told(HINTS + SWITCH[:20]) == (HINTS, None, False, False)


REFUSALS = {
    b"Content-Length: 5\r\n": (b"hello", True),
    b"content-length:5\r\nContent-Length: 5\r\n": (b"hello", True),
    b"Content-Length: 0\r\n": (b"", True),
    b"Transfer-Encoding: Chunked\r\n": (b"5\r\nhello\r\n0\r\na: b\r\n\r\n", True),
    b"Transfer-Encoding: gzip, chunked\r\n": (b"5\r\nhello\r\n0\r\n\r\n" + BEHIND, False),
    b"X: y\r\n": (b"hello" + BEHIND, False),
    b"": (b"", False),
}


@given(
    st.sampled_from(sorted(REFUSALS)),
    st.sampled_from([b"", b"Connection: keep-alive\r\n", b"connection: x\r\nKeep-Alive: timeout=5\r\n"]),
    st.integers(0, 2),
    st.lists(st.integers(0), max_size=20),
)
def test_refused(header: bytes, connection: bytes, hints: int, places: list[int]) -> None:
    """The client is told that the connection ends, and gets the body and nothing behind it."""
    body, ends = REFUSALS[header]
    data = HINTS * hints + REFUSAL + connection + header + b"\r\n" + body + (BEHIND if ends else b"")
    expected = HINTS * hints + REFUSAL + header + b"Connection: close\r\n\r\n" + body
    assert told(*pieces(data, places)) == (expected, False, ends, False)


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_refused_without_a_body(status: bytes) -> None:
    """These have none, whatever their headers say."""
    head = b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n"
    assert told(head + b"\r\n" + BEHIND) == (head + b"Connection: close\r\n\r\n", False, True, False)


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 99 x\r\n\r\n",
        REFUSAL + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        REFUSAL + b"Content-Length: -5\r\n\r\nhello",
        REFUSAL + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nhello",
        REFUSAL + b"Connection: keep-alive,\r\n x\r\nContent-Length: 5\r\n\r\nhello",
        REFUSAL + b"Transfer-Encoding: chunked\r\n\r\nhello\r\n",
        REFUSAL + b"X: " + b"y" * LONGEST_HEAD,
        HINTS * (MOST_INTERIM + 1),
    ],
)
def test_malformed(data: bytes) -> None:
    """What is no answer, and what never comes to one."""
    assert told(data)[2:] == (False, True)
    assert told(*(data[at : at + 100] for at in range(0, len(data), 100)))[2:] == (False, True)


@settings(deadline=None)
@given(st.binary(max_size=100), st.integers(0), st.lists(st.integers(0), max_size=20))
def test_any_bytes(other: bytes, place: int, places: list[int]) -> None:
    """Any bytes give the same in one piece and in many."""
    sound = HINTS + REFUSAL + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    at = place % (len(sound) + 1)
    data = sound[:at] + other + sound[at:]
    whole = told(data)
    assert told(*pieces(data, places)) == whole
