"""Frames, messages, mangled addresses and PROXY protocol headers."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from rendezvous.wire.address import Address, MalformedAddress, is_loopback, mangle, plain_host, unmangle
from rendezvous.wire.framing import FrameDecoder, FrameTooLong, encode_frame, whole_frame
from rendezvous.wire.messages import KINDS, MalformedMessage, decode, encode, kind_of
from rendezvous.wire.proxy_protocol import MalformedProxyHeader, parse_proxy_header
from rendezvous.wire.rendezvous_pb2 import (
    HttpProxyRequest,
    OnlineRequest,
    PunchHoleRequest,
    PunchHoleSent,
    RegisterPk,
    RelayResponse,
    RequestRelay,
)
from tests.client.wire import FrameReader, demangle
from tests.hostile.targets import Source, Target, as_text, pieces

_LIMITS = (0, 1, 63, 64, 100, 16384, 1 << 22)
_HEADER = 4
REFUSED = (None, -1)
"""What stands for MalformedProxyHeader."""


def _read(chunks: Iterable[bytes], limit: int) -> tuple[list[bytes], bytes | None]:
    """The payloads in a stream, and what is left; None in its place when a frame was too long."""
    decoder = FrameDecoder(limit)
    payloads = []
    try:
        for chunk in chunks:
            decoder.feed(chunk)
            while (payload := decoder.next_frame()) is not None:
                payloads.append(payload)
    except FrameTooLong:
        return payloads, None
    unfinished, rest = decoder.unfinished, decoder.take_rest()
    assert unfinished == len(rest)
    return payloads, rest


def frames(data: bytes) -> None:
    """Any cutting gives the same payloads, no longer than allowed, and an unfinished frame is all that is held."""
    source = Source(data)
    limit, size = _LIMITS[source.byte() % len(_LIMITS)], source.byte() + 1
    stream = source.rest()
    payloads, rest = _read([stream], limit)
    assert (payloads, rest) == _read(pieces(stream, size), limit)
    assert all(len(payload) <= limit for payload in payloads)
    short = whole_frame(stream, limit)
    assert short == (payloads[0] if len(payloads) == 1 and rest == b"" else None)
    if rest is None:
        return
    assert len(rest) < limit + _HEADER
    reader = FrameReader()
    reader.feed(stream)
    assert [reader.next() for _ in payloads] == payloads
    assert (reader.next(), reader.take_rest()) == (None, rest)
    assert _read([b"".join(map(encode_frame, payloads))], limit) == (payloads, b"")


def messages(data: bytes) -> None:
    """A message is refused, or is a known variant that survives being sent on."""
    try:
        kind, message = decode(data)
    except MalformedMessage:
        return
    assert kind in KINDS
    assert kind_of(message) == kind
    encoded = encode(message)
    again_kind, again = decode(encoded)
    assert (again_kind, again) == (kind, message)
    assert encode(again) == encoded
    assert len(encoded) <= 2 * len(data) + 16


def addresses(data: bytes) -> None:
    """Mangled bytes are an address in its one spelling, the one that a client takes them for; a text is one too."""
    try:
        address = unmangle(data)
    except MalformedAddress:
        assert len(data) > 16
        assert len(data) != 18
    else:
        as_client = demangle(data)
        assert address == (plain_host(as_client[0]), as_client[1])
        _check_plain(address.host)
        mangled = mangle(address, int.from_bytes(data, "little") >> 17)
        assert len(mangled) <= 18
        assert unmangle(mangled) == address
    try:
        host = plain_host(as_text(data))
    except ValueError:
        return
    _check_plain(host)


def _check_plain(host: str) -> None:
    assert plain_host(host) == host
    assert str(ip_address(host)) == host
    assert is_loopback(host) == ip_address(host).is_loopback


def proxy_header(data: bytes) -> None:
    """A header is whole at one byte and not before, whatever follows; what is refused stays refused."""
    outcome = _header(data)
    if outcome is None:
        assert len(data) < 16 + 4096
        return
    assert _header(data + b"x") == outcome
    if outcome is REFUSED:
        return
    address, length = outcome
    assert 0 < length <= len(data)
    assert _header(data[:length]) == outcome
    assert all(_header(data[:shorter]) is None for shorter in range(max(0, length - 200), length))
    if address is not None:
        _check_plain(address.host)
        assert 0 < address.port < 65536


def _header(data: bytes) -> tuple[Address | None, int] | None:
    try:
        return parse_proxy_header(data)
    except MalformedProxyHeader:
        return REFUSED


_TOKEN = mangle(Address("203.0.113.7", 40007), 0x12345678)
_MESSAGES = [
    encode(message)
    for message in (
        RegisterPk(id="123456789", uuid=b"machine", pk=bytes(32), old_id="other-1"),
        PunchHoleRequest(id="123456789", udp_port=5, version="1.4.2", token="t", socket_addr_v6=bytes(18)),
        PunchHoleSent(id="123456789", socket_addr=_TOKEN, version="1.4.2"),
        RelayResponse(id="1", socket_addr=_TOKEN, uuid="u", relay_server="r"),
        RequestRelay(id="1", uuid="u", licence_key="k"),
        OnlineRequest(id="1", peers=["a", "b", "c"]),
        HttpProxyRequest(method="GET", path="/api/x", body=b"body"),
    )
]
_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"

TARGETS = {
    "frames": Target(frames, [b"\x05\x02" + b"".join(map(encode_frame, _MESSAGES)), b"\x01\x00\x00\x04a\x0d\x01"]),
    "messages": Target(messages, _MESSAGES),
    "addresses": Target(
        addresses, [_TOKEN, bytes(10) + b"\xff" * 8, b"::ffff:1.2.3.4", b"fe80::1%eth0", b"1.2.3.4"]
    ),
    "proxy_header": Target(
        proxy_header,
        [
            b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\nrest",
            b"PROXY TCP6 2001:db8::1 ::2 1 2\r\n",
            b"PROXY UNKNOWN\r\n",
            _SIGNATURE + b"\x21\x11\x00\x0c" + bytes(12),
            _SIGNATURE + b"\x21\x21\x00\x24" + b"\x01" * 36,
            _SIGNATURE + b"\x20\x00\x00\x00",
        ],
    ),
}
