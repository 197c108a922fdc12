"""websocket-origins: from which web pages a WebSocket may be opened (RFC 6455, section 10.2)."""

from __future__ import annotations

from pathlib import Path

import pytest

from rendezvous.config import load
from rendezvous.config_values import ConfigError, origins
from rendezvous.setting import Server
from tests.hbbr.real import on_reactor
from tests.hbbr.ws_wire import client_frame, handshake
from tests.websocket.cases import message
from tests.websocket.echo import EchoPort
from tests.websocket.wire import ANSWER_TO_FAREWELL, FAREWELL, WAYS, chop

ALLOWED = origins("https://web.example.org, http://localhost:8080, tauri://localhost")


@pytest.mark.parametrize("origin", [None, "https://web.example.org", "http://localhost:8080", "tauri://localhost"])
@pytest.mark.parametrize("way", WAYS)
@on_reactor
async def test_allowed_origins(origin: str | None, way: str) -> None:
    """Pages of the origins in the list open a WebSocket, and so do clients that are no web page."""
    async with EchoPort(origins=ALLOWED) as port:
        client = await port.connect()
        request = handshake(Origin=origin) if origin is not None else handshake()
        await port.send(client, chop(request + client_frame(b"hello") + FAREWELL, way))
        await client.until_lost()
        assert client.frames == [message(b"hello"), *ANSWER_TO_FAREWELL]
        assert port.dropped == {}


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://web.example.org",
        "https://web.example.org:8443",
        "https://web.example.org.evil.example",
        "https://evil.example/https://web.example.org",
        "https://web.example.org, https://evil.example",
        "//web.example.org",
        "web.example.org",
        "null",
        "",
    ],
)
@pytest.mark.parametrize("way", WAYS)
@on_reactor
async def test_refused_origins(origin: str, way: str) -> None:
    """Pages of any other origin get 403, counted, and nothing behind the handshake is read."""
    async with EchoPort(origins=ALLOWED) as port:
        client = await port.connect()
        await port.send(client, chop(handshake(Origin=origin) + client_frame(b"hello"), way))
        await client.until_lost()
        assert client.reader.status == 403
        assert client.clean
        assert port.dropped == {"bad_origin": 1}
        assert port.echoes == []


@on_reactor
async def test_two_origins() -> None:
    """A request with two Origin headers is none, even when both are allowed."""
    async with EchoPort(origins=ALLOWED) as port:
        client = await port.connect()
        line = b"Origin: https://web.example.org\r\n"
        await port.send(client, [handshake().replace(b"Upgrade:", line * 2 + b"Upgrade:")])
        await client.until_lost()
        assert client.reader.status == 400
        assert port.dropped == {"bad_handshake": 1}


@pytest.mark.parametrize("origin", ["https://evil.example", "null", ""])
@on_reactor
async def test_any_origin_by_default(origin: str) -> None:
    """Without a list, nobody looks."""
    async with EchoPort() as port:
        client = await port.connect()
        await port.send(client, [handshake(Origin=origin) + FAREWELL])
        await client.until_lost()
        assert client.frames == ANSWER_TO_FAREWELL


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("", ()),
        (" , ", ()),
        ("https://web.example.org", ("https://web.example.org",)),
        ("HTTPS://Web.Example.ORG", ("https://web.example.org",)),
        ("https://a.example:443,http://b.example:80", ("https://a.example", "http://b.example")),
        ("https://a.example:80,http://b.example:443", ("https://a.example:80", "http://b.example:443")),
        (" http://127.0.0.1:8080 ,https://[2001:db8::1]", ("http://127.0.0.1:8080", "https://[2001:db8::1]")),
        ("capacitor://localhost", ("capacitor://localhost",)),
    ],
)
def test_values(given: str, meant: tuple[str, ...]) -> None:
    """Origins are compared as browsers send them: in small letters, without the scheme's own port."""
    assert origins(given) == meant


@pytest.mark.parametrize(
    "value",
    [
        "web.example.org",
        "*",
        "null",
        "https://",
        "https://web.example.org/",
        "https://web.example.org/path",
        "https://*.example.org",
        "https://user@web.example.org",
        "https://web.example.org:0",
        "https://web.example.org:65536",
        "https://web.example.org https://b.example",
        "https://[2001:db8::zz]",
        "https://größer.example",
        "https://a.example,b.example",
    ],
)
@pytest.mark.parametrize("server", ["both", "hbbs", "hbbr"])
def test_wrong_values(value: str, server: Server, tmp_path: Path) -> None:
    """What is no origin is refused, and what one looks like is told."""
    with pytest.raises(ConfigError, match=r"^websocket-origins: .* such as https://web\.example\.org"):
        load(server, {"websocket_origins": value}, directory=tmp_path, environ={})
