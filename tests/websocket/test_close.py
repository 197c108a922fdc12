"""7.x the closing handshake: codes, reasons, order; and 6.x UTF-8 where it counts, in close reasons."""

from __future__ import annotations

from itertools import product

import pytest

from tests.hbbr.real import on_reactor
from tests.hbbr.ws_wire import CLOSE, CONT, PING, PONG, client_frame, close_frame
from tests.websocket.cases import Case, check, close_payload, each, message
from tests.websocket.echo import EchoPort
from tests.websocket.wire import OCTETS, WAYS, chop

NORMAL = close_payload(1000)
HELLO = client_frame(b"hello")
ECHO = message(b"hello")
FIRST = client_frame(b"a", fin=False)
ASK = client_frame(b"ping", PING)

ORDER = [
    Case("7.1.1 behind a message", HELLO + close_frame(), (ECHO,), NORMAL),
    Case("7.1.2 twice", close_frame() + close_frame(1001), end=NORMAL),
    Case("7.1.3 ping behind", close_frame() + ASK, end=NORMAL),
    Case("7.1.4 message behind", close_frame() + HELLO, end=NORMAL),
    Case("7.1.5 in a message", FIRST + close_frame() + client_frame(b"b", CONT), end=NORMAL),
    Case("7.1.5 in a message, without a code", FIRST + client_frame(b"", CLOSE), end=b""),
    Case("7.1.5 in a message, with a code that is none", FIRST + close_frame(1005), end=1002),
    Case("7.1.6 behind a long message", client_frame(bytes(1 << 18)) + close_frame() + ASK,
         (message(bytes(1 << 18)),), NORMAL),
    Case("7.1.x behind a ping", ASK + close_frame(), ((PONG, b"ping"),), NORMAL),
    Case("7.1.x what is forbidden behind", close_frame() + client_frame(b"", 3), end=NORMAL),
]  # fmt: skip


@each(ORDER)
@on_reactor
async def test_what_comes_with_a_close(case: Case, way: str) -> None:
    """A close is answered, also in the middle of a message; what came before it counts, what is behind it not."""
    await check(case, way)


PAYLOADS = [
    Case("7.3.1 empty", client_frame(b"", CLOSE), end=b""),
    Case("7.3.2 one octet", client_frame(b"\x03", CLOSE), end=1002),
    Case("7.3.3 code", close_frame(), end=NORMAL),
    Case("7.3.4 reason", close_frame(1000, b"Hello World!"), end=close_payload(1000, b"Hello World!")),
    Case("7.3.5 123 octets of reason", close_frame(1000, b"*" * 123), end=close_payload(1000, b"*" * 123)),
    Case("7.3.6 124 octets of reason", close_frame(1000, b"*" * 124), end=1002),
    Case("7.3.x not final", client_frame(NORMAL, CLOSE, fin=False), end=1002),
]


@each(PAYLOADS)
@on_reactor
async def test_close_payloads(case: Case, way: str) -> None:
    """A close frame carries nothing, or a code and a reason that fit into 125 octets; the answer repeats them."""
    await check(case, way)


GOOD_CODES = [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999]
BAD_CODES = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 32768, 65535]
CODES = [
    *(Case(f"7.7 {code}", close_frame(code, r), end=close_payload(code, r))
      for code, r in product(GOOD_CODES, (b"", b"why"))),
    *(Case(f"7.9 {code}", close_frame(code, r), end=1002) for code, r in product(BAD_CODES, (b"", b"why"))),
]  # fmt: skip


@each(CODES)
@on_reactor
async def test_close_codes(case: Case, way: str) -> None:
    """Codes that may be sent are answered with themselves, all others with 1002."""
    await check(case, way)


VALID = {
    "6.5 one NUL": b"\0",
    "6.6 letters": "κόσμε".encode(),
    "6.7 first of two octets": "\x80".encode(),
    "6.7 first of three": "\u0800".encode(),
    "6.7 first of four": "\U00010000".encode(),
    "6.9 last of one": b"\x7f",
    "6.9 last of two": "\u07ff".encode(),
    "6.9 last of three": "\uffff".encode(),
    "6.9 last of all": "\U0010ffff".encode(),
    "6.11 below the surrogates": "\ud7ff".encode(),
    "6.11 above the surrogates": "\ue000".encode(),
    "6.22 no characters": "\ufffe\U0001fffe\U0010fffe".encode(),
    "6.23 replacement": "\ufffd".encode(),
}
INVALID = {
    "6.3 in the middle": "κόσμε".encode() + b"\xed\xa0\x80" + b"edited",
    "6.8 first of five octets": b"\xf8\x88\x80\x80\x80",
    "6.8 first of six": b"\xfc\x84\x80\x80\x80\x80",
    "6.10 last of five": b"\xfb\xbf\xbf\xbf\xbf",
    "6.10 beyond the last": b"\xf4\x90\x80\x80",
    "6.12 continuation alone": b"\x80",
    "6.12 continuations": b"\xbf\x80\xbf\x80",
    "6.13 begun, then a space": b"\xc3 \xe2\x82 ",
    "6.14 cut after one of two": b"\xc3",
    "6.14 cut after two of three": b"\xe2\x82",
    "6.14 cut after three of four": b"\xf0\x9f\x98",
    "6.16 never used": b"\xfe",
    "6.16 never used either": b"\xff",
    "6.17 overlong slash of two": b"\xc0\xaf",
    "6.17 overlong of three": b"\xe0\x80\xaf",
    "6.17 overlong of four": b"\xf0\x80\x80\xaf",
    "6.18 highest overlong": b"\xc1\xbf",
    "6.19 overlong NUL": b"\xc0\x80",
    "6.20 first surrogate": b"\xed\xa0\x80",
    "6.20 last surrogate": b"\xed\xbf\xbf",
    "6.21 pair of surrogates": b"\xed\xa0\x80\xed\xb0\x80",
}
REASONS = [
    *(Case(name, close_frame(1000, text), end=close_payload(1000, text)) for name, text in VALID.items()),
    *(Case(name, close_frame(1000, text), end=1007) for name, text in INVALID.items()),
    Case("7.5.1 code and reason wrong", close_frame(1005, b"\xff"), end=1007),
    Case("7.5.1 in a message", FIRST + close_frame(1000, b"\xff"), end=1007),
]


@each(REASONS)
@on_reactor
async def test_close_reasons(case: Case, way: str) -> None:
    """A reason that is no UTF-8 closes with 1007."""
    await check(case, way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("code", [1000, 1001, 4000])
@on_reactor
async def test_the_server_closes(code: int, way: str) -> None:
    """The application's close comes behind everything sent before, and nothing of the client counts after it."""
    async with EchoPort() as port:
        client = await port.open()
        await port.send(client, [HELLO])
        port.echoes[0].websocket.close(code)
        port.echoes[0].websocket.send_message(b"too late")
        await port.send(client, chop(HELLO + ASK + client_frame(b"", 3) + close_frame(code), way))
        await client.until_lost()
        assert client.frames == [ECHO, (CLOSE, close_payload(code))]
        assert client.clean
        assert port.dropped == {}


@on_reactor
async def test_a_client_that_ignores_a_close_is_cut() -> None:
    """A connection that the client leaves open after the close frames ends 10 s after it took them."""
    async with EchoPort() as port:
        client = await port.open()
        client.wire.pauseProducing()
        await port.send(client, [close_frame()])
        assert not port.connection(client).lost
        for seconds in (9, 2, 8):
            port.clock.advance(seconds)
            await port.send(client, [HELLO])
            assert not port.connection(client).lost
        port.clock.advance(2)
        await client.until(lambda: port.connection(client).lost, "the server lets go")
        assert port.admission.connections == 0


@pytest.mark.parametrize("sent", [b"", HELLO, HELLO[:3], FIRST], ids=["nothing", "message", "half", "fragment"])
@pytest.mark.parametrize("how", ["loseConnection", "abortConnection"])
@on_reactor
async def test_a_client_that_leaves_without_a_close(sent: bytes, how: str) -> None:
    """The end of the TCP connection is the end, wherever in a frame it falls."""
    async with EchoPort() as port:
        client = await port.open()
        if sent:
            await port.send(client, chop(sent, OCTETS))
        getattr(client.wire, how)()
        await client.until(lambda: port.connection(client).lost, "the server lets go")
        assert port.echoes[0].times_closed == 1
        assert port.dropped == {}
