"""5.x fragmentation, 6.x text and UTF-8, 10.x messages that a client fragments by itself."""

from __future__ import annotations

from itertools import pairwise, product

from tests.hbbr.real import on_reactor
from tests.hbbr.ws_wire import BINARY, CONT, PING, PONG, TEXT, client_frame, close_frame
from tests.websocket.cases import Case, check, close_payload, each, message

FIRST = client_frame(b"frag1", fin=False)
MIDDLE = client_frame(b"frag2", CONT, fin=False)
LAST = client_frame(b"frag3", CONT)
ASK = client_frame(b"ping", PING)
ANSWER = (PONG, b"ping")
HELLO = client_frame(b"hello")
ECHO = message(b"hello")


def fragmented(payload: bytes, size: int, opcode: int = BINARY) -> bytes:
    """A message in frames of `size` octets."""
    starts = [*range(0, max(len(payload), 1), size), max(len(payload), 1)]
    return b"".join(
        client_frame(payload[start:end], CONT if start else opcode, fin=end == starts[-1])
        for start, end in pairwise(starts)
    )


FRAGMENTS = [
    Case("5.1 ping in two", client_frame(b"a", PING, fin=False) + LAST, end=1002),
    Case("5.2 pong in two", client_frame(b"a", PONG, fin=False) + LAST, end=1002),
    Case("5.2 close in two", client_frame(b"\x03\xe8", 8, fin=False) + LAST, end=1002),
    Case("5.3 two", FIRST + LAST, (message(b"frag1frag3"),)),
    Case("5.4 three", FIRST + MIDDLE + LAST, (message(b"frag1frag2frag3"),)),
    Case("5.5 empty ones", fragmented(b"", 1) + HELLO, (message(b""), ECHO)),
    Case(
        "5.5 all empty",
        client_frame(b"", fin=False) + client_frame(b"", CONT, fin=False) * 50 + client_frame(b"", CONT),
        (message(b""),),
    ),
    Case("5.6 ping in between", FIRST + ASK + LAST, (ANSWER, message(b"frag1frag3"))),
    Case(
        "5.7 pings everywhere",
        ASK + FIRST + ASK + ASK + MIDDLE + ASK + LAST + ASK,
        (*[ANSWER] * 5, message(b"frag1frag2frag3")),
    ),
    Case("5.8 pong in between", FIRST + client_frame(b"x", PONG) + LAST, (message(b"frag1frag3"),)),
    Case("5.9 last without a first", LAST, end=1002),
    Case("5.10 last without a first, behind a message", HELLO + LAST, (ECHO,), 1002),
    Case(
        "5.11 last without a first, behind a fragmented one", FIRST + LAST + LAST, (message(b"frag1frag3"),), 1002
    ),
    Case("5.12 middle without a first", MIDDLE, end=1002),
    Case("5.13 middle without a first, behind a message", HELLO + MIDDLE + LAST, (ECHO,), 1002),
    Case("5.14 empty ones without a first", client_frame(b"", CONT, fin=False) * 3, end=1002),
    Case(
        "5.15 two messages, one too many last", FIRST + MIDDLE + LAST + MIDDLE, (message(b"frag1frag2frag3"),), 1002
    ),
    Case("5.16 first after first", FIRST + FIRST, end=1002),
    Case("5.17 ping, then first after first", FIRST + ASK + FIRST, (ANSWER,), 1002),
    Case("5.18 message in a message", FIRST + HELLO + LAST, end=1002),
    Case("5.18 text in a message", FIRST + client_frame(b"text", TEXT), end=1002),
    Case("5.18 first of text in a message", FIRST + client_frame(b"text", TEXT, fin=False), end=1002),
    Case(
        "5.19 two fragmented messages with pings",
        (FIRST + ASK + MIDDLE + ASK + LAST) * 2,
        (*[ANSWER] * 4, message(b"frag1frag2frag3"), message(b"frag1frag2frag3")),
    ),
    Case("5.20 nothing behind a first", FIRST),
]


@each(FRAGMENTS)
@on_reactor
async def test_fragments(case: Case, way: str) -> None:
    """Fragments become one message, whatever control frames stand between them; wrong orders close with 1002."""
    await check(case, way)


PAYLOAD = bytes(range(256)) * 256
BY_ITSELF = [
    Case(f"10.1 {size} in frames of {part}", fragmented(PAYLOAD[:size], part), (message(PAYLOAD[:size]),))
    for size, part in ((65536, 1300), (1000, 1), (1300, 1300), (1301, 1300), (65536, 64), (65536, 65535))
]


@each(BY_ITSELF)
@on_reactor
async def test_frames_of_any_size(case: Case, way: str) -> None:
    """A message arrives whole however its client fragments it."""
    await check(case, way)


UTF_8 = {
    "6.1 empty": b"",
    "6.2 valid": "Hello-µ@ßöäüàá-UTF-8!!".encode(),
    "6.3 invalid": bytes.fromhex("cebae1bdb9cf83cebcceb5eda080656469746564"),
    "6.4 cut": bytes.fromhex("cebae1bdb9cf83cebcceb5f4908080656469746564")[:14],
    "6.5 NUL": b"\0",
    "6.6 highest": "\U0010ffff".encode(),
    "6.8 octets that never occur": b"\xfe\xff",
    "6.12 overlong": b"\xc0\x80",
    "6.14 surrogate": b"\xed\xa0\x80",
}
TEXTS = [
    case
    for (name, text), behind in product(UTF_8.items(), (b"", HELLO))
    for case in (
        Case(f"{name}, whole, {len(behind)}", client_frame(text, TEXT) + behind, end=1003),
        Case(f"{name}, first, {len(behind)}", client_frame(text, TEXT, fin=False) + behind, end=1003),
        Case(f"{name}, fragments, {len(behind)}", fragmented(text, 1, TEXT) + behind, end=1003),
    )
] + [
    Case("6.x behind a message", HELLO + client_frame(b"text", TEXT), (ECHO,), 1003),
    Case("6.x ping, text, ping", ASK + client_frame(b"text", TEXT) + ASK, (ANSWER,), 1003),
    Case(
        "6.x behind a fragmented message", FIRST + LAST + client_frame(b"", TEXT), (message(b"frag1frag3"),), 1003
    ),
    Case("6.x text, then a close", client_frame(b"text", TEXT) + close_frame(4000), end=1003),
    Case("6.x text, then what is forbidden", client_frame(b"text", TEXT) + client_frame(b"", 3), end=1003),
    Case("6.x reserved bit in text", client_frame(b"text", TEXT, reserved=4), end=1002),
    Case("6.x close, then text", close_frame(4000) + client_frame(b"text", TEXT), end=close_payload(4000)),
]


@each(TEXTS)
@on_reactor
async def test_text_closes(case: Case, way: str) -> None:
    """The first frame of a text message closes with 1003, whatever is in it and comes behind it."""
    await check(case, way)


@each([Case(f"{name} in a binary message", client_frame(text), (message(text),)) for name, text in UTF_8.items()])
@on_reactor
async def test_binary_messages_hold_anything(case: Case, way: str) -> None:
    """What is no UTF-8 passes in a binary message."""
    await check(case, way)
