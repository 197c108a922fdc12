"""1.x framing, 3.x reserved bits, 4.x opcodes; and what RFC 6455, section 5.2, says of masks and lengths."""

from __future__ import annotations

from itertools import product

from tests.hbbr.real import on_reactor
from tests.hbbr.ws_wire import BINARY, CLOSE, CONT, PING, PONG, TEXT, client_frame, close_frame
from tests.websocket.cases import Case, check, close_payload, each, message

SIZES = [0, 125, 126, 127, 128, 65535, 65536]
MASKS = [bytes(4), b"\xff\xff\xff\xff", b"\x01\x02\x03\x04", b"\x80\x00\x00\x01"]
BAD_OPCODES = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]
KINDS = {"text": TEXT, "binary": BINARY, "continuation": CONT, "close": CLOSE, "ping": PING, "pong": PONG}

HELLO = client_frame(b"hello")
ECHO = (message(b"hello"),)


def octets(size: int) -> bytes:
    """`size` bytes of every value."""
    return (bytes(range(256)) * (size // 256 + 1))[:size]


def with_length(form: int, length: int, payload: bytes, opcode: int = BINARY) -> bytes:
    """A masked frame whose length is written in the `form` of 7, 16 or 64 bits, whatever it is."""
    size = {7: bytes([0x80 | length & 0x7F]), 16: b"\xfe" + (length & 0xFFFF).to_bytes(2, "big")}
    written = size[form] if form in size else b"\xff" + length.to_bytes(8, "big")
    return bytes([0x80 | opcode]) + written + bytes(4) + payload


FRAMING = [
    *(Case(f"1.1 text of {n}", client_frame(b"*" * n, TEXT), end=1003) for n in SIZES),
    *(Case(f"1.2 binary of {n}", client_frame(octets(n)), (message(octets(n)),)) for n in SIZES),
    *(Case(f"mask {m.hex()}", client_frame(octets(301), mask=m), (message(octets(301)),)) for m in MASKS),
    *(Case(f"no mask: {name}", client_frame(b"", kind, mask=None), end=1002) for name, kind in KINDS.items()),
    Case("no mask behind a message", HELLO + client_frame(b"x", mask=None), ECHO, 1002),
    Case("two frames", HELLO + client_frame(b"") + HELLO, (*ECHO, message(b""), *ECHO)),
]


@each(FRAMING)
@on_reactor
async def test_framing(case: Case, way: str) -> None:
    """Binary messages of every form of the length come back; text closes with 1003, a missing mask with 1002."""
    await check(case, way)


RESERVED = [
    *(
        Case(f"3.{bits} {name}", client_frame(b"\x03\xe8", kind, reserved=bits) + HELLO, end=1002)
        for bits, (name, kind) in product(range(1, 8), KINDS.items())
        if kind != CONT
    ),
    *(
        Case(f"3.{bits} behind a message", HELLO + client_frame(b"x", reserved=bits), ECHO, 1002)
        for bits in range(1, 8)
    ),
    *(
        Case(
            f"3.{bits} in a fragment",
            client_frame(b"a", fin=False) + client_frame(b"b", CONT, reserved=bits),
            end=1002,
        )
        for bits in range(1, 8)
    ),
]


@each(RESERVED)
@on_reactor
async def test_reserved_bits(case: Case, way: str) -> None:
    """A reserved bit closes with 1002, in every kind of frame; what came before it counts."""
    await check(case, way)


OPCODES = [
    case
    for code in BAD_OPCODES
    for case in (
        Case(f"4.x opcode {code}", client_frame(b"", code), end=1002),
        Case(f"4.x opcode {code} with payload", client_frame(b"payload", code), end=1002),
        Case(f"4.x opcode {code} behind a message", HELLO + client_frame(b"", code) + HELLO, ECHO, 1002),
        Case(f"4.x opcode {code} not final", client_frame(b"x", code, fin=False), end=1002),
        Case(f"4.x opcode {code} in a message", client_frame(b"x", fin=False) + client_frame(b"", code), end=1002),
    )
]


@each(OPCODES)
@on_reactor
async def test_opcodes(case: Case, way: str) -> None:
    """An opcode without a meaning closes with 1002."""
    await check(case, way)


LONGER_THAN_NEEDED = [
    *(Case(f"{n} in 16 bits", with_length(16, n, bytes(n)), end=1002) for n in (0, 1, 125)),
    *(Case(f"{n} in 64 bits", with_length(64, n, bytes(n)), end=1002) for n in (0, 1, 125, 126, 65535)),
    *(
        Case(f"{name} of {n} in {form} bits", with_length(form, n, bytes(n), kind), end=1002)
        for name, kind in (("ping", PING), ("pong", PONG), ("close", CLOSE))
        for form, n in ((16, 0), (16, 125), (64, 2))
    ),
    Case("behind a message", HELLO + with_length(16, 5, b"hello"), ECHO, 1002),
    Case(
        "in a fragment",
        client_frame(b"a", fin=False) + with_length(64, 1, b"b", CONT),
        end=1002,
    ),
    Case("the shortest of 16 bits", with_length(16, 126, bytes(126)), (message(bytes(126)),)),
    Case("the shortest of 64 bits", with_length(64, 65536, bytes(65536)), (message(bytes(65536)),)),
]


@each(LONGER_THAN_NEEDED)
@on_reactor
async def test_lengths_are_in_their_shortest_form(case: Case, way: str) -> None:
    """A length that takes more octets than needed closes with 1002, in data and control frames."""
    await check(case, way)


TOO_MUCH = [
    *(
        Case(f"{what} announced", with_length(64, length, b"the beginning"), end=1009)
        for what, length in (
            ("2^20 + 1", (1 << 20) + 1),
            ("2^32", 1 << 32),
            ("2^62", 1 << 62),
            ("2^63-1", ~-(1 << 63)),
        )
    ),
    *(Case(f"high bit, {low}", with_length(64, 1 << 63 | low, b""), end=1009) for low in (0, 1, (1 << 63) - 1)),
    Case("2^62 in a ping", with_length(64, 1 << 62, b"", PING), end=1009),
    Case("2^62 in a fragment", client_frame(b"a", fin=False) + with_length(64, 1 << 62, b"", CONT), end=1009),
    Case("2^62 of text", with_length(64, 1 << 62, b"", TEXT), end=1009),
    Case("2^62 behind a message", HELLO + with_length(64, 1 << 62, b""), ECHO, 1009),
    Case("2^62 behind a close", close_frame(4000) + with_length(64, 1 << 62, b""), end=close_payload(4000)),
]


@each(TOO_MUCH)
@on_reactor
async def test_lengths_beyond_the_limit(case: Case, way: str) -> None:
    """A length above the limit is refused when it is announced, one of more than 63 bits as well."""
    await check(case, way)
