"""The opening handshake (RFC 6455, section 4): what is accepted, and the HTTP answer to what is not."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import pytest

from tests.hbbr.real import on_reactor
from tests.hbbr.ws_wire import CLOSE, PING, PONG, client_frame, close_frame, handshake
from tests.websocket.cases import check_close, message
from tests.websocket.echo import HEADER_TIMEOUT, EchoPort
from tests.websocket.wire import ANSWER_TO_FAREWELL, FAREWELL, WAYS, WHOLE, RawClient, chop

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def lines(*replaced: tuple[bytes, bytes]) -> bytes:
    """A good handshake, with bytes in it replaced."""
    request = handshake()
    for old, new in replaced:
        assert old in request
        request = request.replace(old, new)
    return request


class Bad(NamedTuple):
    """A request that opens no WebSocket, the status of its answer, and headers that the answer must have."""

    name: str
    sent: bytes
    status: int
    headers: Mapping[str, str] = {}


UPGRADE = {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
VERSION = {"Sec-WebSocket-Version": "13"}
ALLOW = {"Allow": "GET"}
KEY_LINE = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

BAD = [
    Bad("no WebSocket at all", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 426, UPGRADE),
    Bad("no Upgrade", handshake(drop="Upgrade"), 426, UPGRADE),
    Bad("another Upgrade", handshake(Upgrade="h2c"), 426, UPGRADE),
    Bad("two Upgrades", handshake(Upgrade="websocket, h2c"), 426, UPGRADE),
    Bad("no Connection", handshake(drop="Connection"), 426, UPGRADE),
    Bad("another Connection", handshake(Connection="keep-alive"), 426, UPGRADE),
    Bad("no key", handshake(drop="Sec-WebSocket-Key"), 400),
    Bad("short key", handshake(Sec_WebSocket_Key="c2hvcnQ="), 400),
    Bad("long key", handshake(Sec_WebSocket_Key=base64.b64encode(bytes(17)).decode()), 400),
    Bad("key not base64", handshake(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==="), 400),
    Bad("two keys", lines((KEY_LINE, KEY_LINE * 2)), 400),
    Bad("no version", handshake(drop="Sec-WebSocket-Version"), 400, VERSION),
    *(Bad(f"version {v!r}", handshake(Sec_WebSocket_Version=v), 400, VERSION) for v in ("0", "8", "14", "x", "")),
    Bad("two versions", handshake(Sec_WebSocket_Version="13, 8"), 400, VERSION),
    Bad("no Host", handshake(drop="Host"), 400),
    Bad("two Hosts", lines((b"Host: relay.example\r\n", b"Host: a\r\nHost: b\r\n")), 400),
    Bad("HTTP/1.0", lines((b"HTTP/1.1", b"HTTP/1.0")), 505),
    Bad("HTTP/0.9", b"GET /\r\n\r\n", 400),
    Bad("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    Bad("HTTP/1.2", lines((b"HTTP/1.1", b"HTTP/1.2")), 400),
    *(
        Bad(method, lines((b"GET", method.encode())), 405, ALLOW)
        for method in ("POST", "PUT", "HEAD", "DELETE", "OPTIONS", "get")
    ),
    Bad("POST with a body", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 400),
    Bad("GET with a body", lines((b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\nabc")), 400),
    Bad("chunked", lines((b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")), 400),
    Bad("no colon", lines((b"Host: ", b"Host ")), 400),
    Bad("space before the colon", lines((b"Host:", b"Host :")), 400),
    Bad("a header over two lines", lines((b"\r\n\r\n", b"\r\nX: a\r\n b\r\n\r\n")), 400),
    Bad("NUL in a header", lines((b"relay.example", b"relay\0example")), 400),
    Bad("lines that end in LF", lines((b"\r\n", b"\n")) + b"\r\n\r\n", 400),
    Bad("path not ASCII", lines((b"GET /", b"GET /\xc3\xa4")), 400),
    Bad("spaces in the path", lines((b"GET /", b"GET /a b")), 400),
    Bad("nothing but empty lines", b"\r\n\r\n", 400),
    Bad("another protocol", b"SSH-2.0-OpenSSH_9.2\r\n", 400),
    Bad("zeros", bytes(100) + b"\r\n\r\n", 400),
    Bad("long path", handshake("/" + "x" * 8200), 414),
    Bad("endless path", b"GET /" + b"x" * 20_000, 414),
    Bad("long header", handshake(X="y" * 8200), 431),
    Bad("endless header", b"GET / HTTP/1.1\r\nX: " + b"y" * 20_000, 431),
    Bad("many headers", handshake(**{f"X{number}": "y" for number in range(130)}), 431),
    Bad("long headers together", handshake(**{f"X{number}": "y" * 4000 for number in range(9)}), 431),
]


def check_answer(client: RawClient, status: int, headers: Mapping[str, str]) -> None:
    """A whole HTTP answer, after which the connection ends."""
    assert client.reader.status == status
    assert client.reader.response.startswith(b"HTTP/1.1 ")
    assert str(client.reader.header("Connection")).lower() == "close"
    assert client.reader.header("Content-Length") == str(len(client.reader.buffer))
    for name, value in headers.items():
        assert client.reader.header(name) == value
    assert client.clean


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("behind", [b"", client_frame(b"?", PING) + close_frame()], ids=["alone", "frames behind"])
@on_reactor
async def test_a_bad_handshake(bad: Bad, way: str, behind: bytes) -> None:
    """It gets an HTTP answer that tells what is wrong, and is counted once; what stands behind it is not read."""
    async with EchoPort() as port:
        client = await port.connect()
        await port.send(client, chop(bad.sent + behind, way))
        await client.until_lost()
        check_answer(client, bad.status, bad.headers)
        assert port.dropped == {"bad_handshake": 1}
        assert port.echoes == []


@on_reactor
async def test_an_answer_arrives_though_the_client_goes_on_sending() -> None:
    """A client that has sent much more than was read still gets its answer: no reset overtakes it."""
    async with EchoPort() as port:
        client = await port.connect()
        client.wire.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n" + bytes(8_000_000))
        await client.until_lost()
        check_answer(client, 400, {})


@on_reactor
async def test_a_close_arrives_though_the_client_goes_on_sending() -> None:
    """The same behind the handshake: the sender of a message that is too long gets to know why."""
    async with EchoPort(max_message=1000) as port:
        client = await port.open()
        client.wire.write(client_frame(bytes(8_000_000), mask=bytes(4)))
        await client.until_lost()
        check_close(client.frames[-1], 1009)
        assert client.clean


GOOD: dict[str, bytes] = {
    "plain": handshake(),
    "names in small letters": handshake().lower().replace(b"get", b"GET").replace(b"http/1.1", b"HTTP/1.1"),
    "Upgrade in other letters": handshake(Upgrade="WebSocket"),
    "Connection with more": handshake(Connection="keep-alive, upgrade"),
    "no spaces": handshake().replace(b": ", b":"),
    "more spaces": handshake().replace(b": ", b": \t ").replace(b"\r\n", b" \r\n", 1).replace(b"1.1 ", b"1.1"),
    "any path": handshake("/ws/id?token=1&x=%20"),
    "a whole address": handshake("http://relay.example/ws/relay"),
    "Origin": handshake(Origin="https://web.example.org"),
    "subprotocols": handshake(Sec_WebSocket_Protocol="chat, superchat"),
    "Content-Length 0": handshake(Content_Length="0"),
    "long headers": handshake(**{f"X{number}": "y" * 4000 for number in range(7)}),
    "Cookie": handshake(Cookie="a=b; " * 1000),
}


@pytest.mark.parametrize("sent", GOOD.values(), ids=GOOD.keys())
@pytest.mark.parametrize("way", WAYS)
@on_reactor
async def test_a_good_handshake(sent: bytes, way: str) -> None:
    """It is answered with 101 and the key's hash, without a subprotocol; frames in the same piece count."""
    key = next(line for line in sent.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
    accept = base64.b64encode(hashlib.sha1(key.partition(b":")[2].strip() + GUID).digest()).decode()
    async with EchoPort() as port:
        client = await port.connect()
        await port.send(client, chop(sent + client_frame(b"hasty") + FAREWELL, way))
        await client.until_lost()
        assert client.reader.response.startswith(b"HTTP/1.1 101 ")
        assert client.reader.header("Sec-WebSocket-Accept") == accept
        assert str(client.reader.header("Upgrade")).lower() == "websocket"
        assert str(client.reader.header("Connection")).lower() == "upgrade"
        assert client.reader.header("Sec-WebSocket-Protocol") is None
        assert client.frames == [message(b"hasty"), *ANSWER_TO_FAREWELL]
        assert port.dropped == {}


@pytest.mark.parametrize(
    ("behind", "comes"),
    [
        (client_frame(b"?", PING) + close_frame(), [(PONG, b"?"), (CLOSE, b"\x03\xe8")]),
        (client_frame(b"text", 1), 1003),
        (client_frame(b"", mask=None), 1002),
        (b"\x82\xff" + (1 << 62).to_bytes(8, "big"), 1009),
    ],
    ids=["ping", "text", "no mask", "too long"],
)
@pytest.mark.parametrize("way", WAYS)
@on_reactor
async def test_a_frame_right_behind_the_handshake(
    behind: bytes, comes: list[tuple[int, bytes]] | int, way: str
) -> None:
    """A client that does not wait for the answer is served as one that does, the answer first."""
    async with EchoPort() as port:
        client = await port.connect()
        await port.send(client, chop(handshake() + behind, way))
        await client.until_lost()
        assert client.received.startswith(b"HTTP/1.1 101 ")
        if isinstance(comes, int):
            check_close(client.frames[-1], comes)
        else:
            assert client.frames == comes


SLOW: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "a part": lambda: handshake()[:50],
    "all but the last octet": lambda: handshake()[:-1],
}


@pytest.mark.parametrize("sent", SLOW.values(), ids=SLOW.keys())
@on_reactor
async def test_a_slow_handshake(sent: Callable[[], bytes]) -> None:
    """A client that has not asked in time gets 408, counted once."""
    async with EchoPort() as port:
        client = await port.connect()
        await port.send(client, chop(sent(), WHOLE) if sent() else [])
        port.clock.advance(HEADER_TIMEOUT - 0.1)
        assert port.dropped == {}
        port.clock.advance(0.2)
        await client.until_lost()
        check_answer(client, 408, {})
        assert port.dropped == {"no_handshake": 1}


@on_reactor
async def test_octets_do_not_win_time() -> None:
    """The time is for the whole handshake, however busy the client is."""
    async with EchoPort() as port:
        client = await port.connect()
        for octet in chop(handshake(), "octets"):
            await port.send(client, [octet])
            port.clock.advance(0.5)
        await client.until_lost()
        check_answer(client, 408, {})
        assert port.dropped == {"no_handshake": 1}


@pytest.mark.parametrize("sent", SLOW.values(), ids=SLOW.keys())
@on_reactor
async def test_a_client_that_leaves_before_it_has_asked(sent: Callable[[], bytes]) -> None:
    """Nothing is left of it."""
    async with EchoPort() as port:
        client = await port.connect()
        await port.send(client, [sent()] if sent() else [])
        client.wire.loseConnection()
        await client.until(lambda: port.connection(client).lost, "the server lets go")
        assert port.dropped == {}
