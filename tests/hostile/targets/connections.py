"""WebSocket bytes, headers that name a client behind a proxy, and first frames at the relay."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from rendezvous.accepting import Proxies
from rendezvous.wire.address import plain_host
from tests.client.wire import frame
from tests.hbbr.echo_fixture import EchoServer
from tests.hbbr.relay_fixture import MemoryRelay, WsEnd, request
from tests.hbbr.test_websocket_fuzz import check_ends
from tests.hbbr.ws_wire import CLOSE, CONT, PING, TEXT, client_frame, handshake
from tests.hostile.targets import Source, Target, as_text, pieces

_LONGEST = 200
_PROXY = "192.0.2.1"
"""Where the clients of an EchoServer come from."""
_TRUSTED = (ip_network("192.0.2.0/24"), ip_network("2001:db8:1::/48"), ip_network("10.0.0.0/8"))


def websocket(data: bytes) -> None:
    """Whatever the bytes and their cutting, the same messages come out, none too long, and nothing is left."""
    source = Source(data)
    opened, size = source.byte() % 2, source.byte() + 1
    stream = (handshake() if opened else b"") + source.rest()
    assert _echoed([stream]) == _echoed(pieces(stream, size))


def _echoed(sent: list[bytes]) -> list[bytes]:
    server = EchoServer(max_message=_LONGEST)
    client = server.connect(*sent)
    messages = [message for echo in server.echoes for message in echo.messages]
    assert all(len(message) <= _LONGEST for message in messages)
    answered = client.reader.messages  # not all, when something wrong came right behind
    assert answered == messages[: len(answered)]
    check_ends(server)
    return messages


def forwarded_for(data: bytes) -> None:
    """From a trusted proxy, header lines of any kind name the last address that is no proxy, or nobody."""
    source = Source(data)
    trusted = source.byte() % 4 > 0
    lines = source.rest()
    server = EchoServer(proxies=Proxies(_TRUSTED if trusted else ()))
    client = server.connect(handshake()[:-2] + lines + b"\r\n\r\n")
    for found in server.sources:
        assert plain_host(found.host) == found.host
        assert found.port == client.source.port
        assert trusted or found.host == _PROXY
        assert found.host == _PROXY or not any(ip_address(found.host) in network for network in _TRUSTED)
        assert len(server.sources) == 1
    check_ends(server)
    _check_words(as_text(lines), trusted=trusted)


def _check_words(text: str, *, trusted: bool) -> None:
    """The rule once more, word by word from the end, against `Proxies` itself."""
    proxies = Proxies(_TRUSTED if trusted else ())
    proxy = EchoServer().connect().source
    named = proxies.client_of(proxy, text.splitlines(), None)
    expected = proxy.host
    words = [word.strip() for line in text.splitlines() for word in line.split(",")]
    for word in reversed([word for word in words if word]):
        try:
            host = plain_host(without_port(word))
        except ValueError:
            break
        if trusted and not any(ip_address(host) in network for network in _TRUSTED):
            expected = host
            break
    assert named == proxy._replace(host=expected)


def without_port(word: str) -> str:
    """The address in 203.0.113.5:4711, [2001:db8::1]:443 or [2001:db8::1]; anything else as it is."""
    host, colon, port = word.rpartition(":")
    numbered = bool(colon) and port.isascii() and port.isdecimal() and len(port) <= 5
    if numbered and ":" not in host:
        return host
    bracketed = host if numbered else word
    return bracketed[1:-1] if bracketed[:1] == "[" and bracketed[-1:] == "]" else word


def relay(data: bytes) -> None:
    """Whatever a side begins with, over TCP or WebSocket, it is refused, or it waits; nothing is left of it."""
    source = Source(data)
    over_websocket, size = source.byte() % 2, source.byte() + 1
    server = MemoryRelay(key="k", max_message=1 << 17)
    client = server.messages() if over_websocket else server.stream()
    for piece in pieces(source.rest(), size):
        client.send(piece)
        server.drain()
    assert len(server.pairing) <= 1
    assert len(server.relay.sessions) == 0
    if not client.closed:
        client.reset()
    server.drain()
    server.check_nothing_left()
    assert sum(server.dropped.values()) <= 1 + isinstance(client, WsEnd)


_FRAMES = [
    client_frame(b"hello"),
    client_frame(b"he", fin=False) + client_frame(b"p", PING) + client_frame(b"llo", CONT),
    client_frame(b"text", TEXT) + client_frame(b"x" * 201),
    client_frame(b"\x03\xe8bye", CLOSE),
    client_frame(b"x", mask=None),
]
_LINES = [
    b"X-Forwarded-For: 203.0.113.7, 10.1.1.1\r\nX-Forwarded-For: 192.0.2.9",
    b"X-Real-IP: ::ffff:203.0.113.7",
    b"x-forwarded-for: 2001:DB8::7%eth0,,",
    b"203.0.113.7 , 10.0.0.1",
    b"X-Forwarded-For: unknown, 198.51.100.1",
]

TARGETS = {
    "websocket": Target(
        websocket, [b"\x01\x07" + sent for sent in _FRAMES] + [b"\x00\x03" + handshake() + _FRAMES[0]]
    ),
    "forwarded_for": Target(forwarded_for, [b"\x01" + lines for lines in _LINES] + [b"\x00" + _LINES[0]]),
    "relay": Target(
        relay,
        [
            b"\x00\xff" + frame(request("u1", "k")) + b"early bytes",
            b"\x00\x01" + frame(request("", "k")),
            b"\x00\x02\x00",
            b"\x00\x10\xff\xff\xff\xff" + bytes(40),
            b"\x01\x40" + client_frame(request("u1", "k")) + client_frame(b"early"),
            b"\x01\x40" + client_frame(request("u1", "no")),
        ],
    ),
}
