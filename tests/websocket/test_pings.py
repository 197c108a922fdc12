"""2.x pings and pongs of a client."""

from __future__ import annotations

from tests.hbbr.real import on_reactor
from tests.hbbr.ws_wire import CONT, PING, PONG, client_frame
from tests.websocket.cases import Case, check, each, message

BINARY_PAYLOAD = bytes([0x00, 0xFF, 0xFE, 0xFD, 0xFC, 0xFB, 0x00, 0xFF])


def ping(payload: bytes) -> bytes:
    """A ping."""
    return client_frame(payload, PING)


def pong(payload: bytes) -> bytes:
    """A pong that nobody asked for."""
    return client_frame(payload, PONG)


TEN = [b"payload-%d" % number for number in range(10)]
LONGEST = b"\xfe" * 125

CASES = [
    Case("2.1 empty", ping(b""), ((PONG, b""),)),
    Case("2.2 text", ping(b"Hello, world!"), ((PONG, b"Hello, world!"),)),
    Case("2.3 no text", ping(BINARY_PAYLOAD), ((PONG, BINARY_PAYLOAD),)),
    Case("2.4 125 octets", ping(LONGEST), ((PONG, LONGEST),)),
    Case("2.5 126 octets", ping(LONGEST + b"\xfe"), end=1002),
    Case("2.5 65536 octets", ping(bytes(65536)), end=1002),
    Case("2.5 126 octets in a pong", pong(LONGEST + b"\xfe"), end=1002),
    Case("2.7 pong", pong(b"")),
    Case("2.8 pong with a payload", pong(b"nobody asked")),
    Case("2.9 pong, then ping", pong(b"nobody asked") + ping(b"but I do"), ((PONG, b"but I do"),)),
    Case("2.10 ten pings", b"".join(map(ping, TEN)), tuple((PONG, payload) for payload in TEN)),
    Case(
        "2.10 pings between messages",
        b"".join(ping(payload) + client_frame(payload) for payload in TEN),
        tuple(frame for payload in TEN for frame in ((PONG, payload), message(payload))),
    ),
    Case("2.x not final", client_frame(b"", PING, fin=False), end=1002),
    Case("2.x pong not final", client_frame(b"", PONG, fin=False), end=1002),
    Case(
        "2.x ping in a message",
        client_frame(b"a", fin=False) + ping(b"now") + client_frame(b"b", CONT),
        ((PONG, b"now"), message(b"ab")),
    ),
]


@each(CASES)
@on_reactor
async def test_pings_and_pongs(case: Case, way: str) -> None:
    """A ping is answered with its payload, a pong with nothing, one that is too long or in parts with 1002."""
    await check(case, way)
