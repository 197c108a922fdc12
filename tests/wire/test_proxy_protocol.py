"""PROXY protocol headers, versions 1 and 2."""

from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rendezvous.wire.address import Address
from rendezvous.wire.proxy_protocol import MalformedProxyHeader, parse_proxy_header

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
LONGEST = 16 + 4096


def version_2(source: str, port: int, *, command: int = 1, extensions: bytes = b"") -> bytes:
    """A version 2 header for a TCP connection from `source`."""
    packed = ip_address(source).packed
    body = packed * 2 + port.to_bytes(2, "big") + b"\x01\xbb" + extensions
    family = 0x11 if len(packed) == 4 else 0x21
    return SIGNATURE + bytes([0x20 | command, family]) + len(body).to_bytes(2, "big") + body


WHOLE = {
    b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n": Address("192.0.2.1", 56324),
    b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n": Address("2001:db8::1", 1),
    b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 5 6\r\n": Address("192.0.2.1", 5),
    b"PROXY UNKNOWN\r\n": None,
    b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n": None,
    version_2("192.0.2.1", 56324): Address("192.0.2.1", 56324),
    version_2("2001:db8::1", 443, extensions=b"\x04\x00\x03abc"): Address("2001:db8::1", 443),
    version_2("::ffff:192.0.2.1", 443): Address("192.0.2.1", 443),
    version_2("192.0.2.1", 56324, command=0): None,
    SIGNATURE + b"\x20\x00\x00\x00": None,
    SIGNATURE + b"\x21\x00\x00\x00": None,
}


@pytest.mark.parametrize("header", WHOLE)
def test_headers(header: bytes) -> None:
    """A header is read at its last byte and not before, and what follows is not touched."""
    for length in range(len(header)):
        assert parse_proxy_header(header[:length]) is None
    assert parse_proxy_header(header) == (WHOLE[header], len(header))
    assert parse_proxy_header(header + header) == (WHOLE[header], len(header))


@pytest.mark.parametrize(
    "data",
    [
        b"\x00",
        b"PROXX",
        b"proxy TCP4 192.0.2.1 198.51.100.2 56324 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n",
        b"PROXY TCP4 192.0.2.256 198.51.100.2 56324 443\r\n",
        b"PROXY TCP4 name.example 198.51.100.2 56324 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 x 443\r\n",
        b"PROXY TCP4 \xff.0.2.1 198.51.100.2 1 443\r\n",
        b"PROXY UDP4 192.0.2.1 198.51.100.2 56324 443\r\n",
        b"PROXY \r\n",
        b"PROXY TCP4" + b" " * 97,
        SIGNATURE + b"\x11\x11\x00\x0c" + bytes(12),
        SIGNATURE + b"\x22\x11\x00\x0c" + bytes(12),
        SIGNATURE + b"\x21\x11\x00\x04" + bytes(4),
        SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216),
        SIGNATURE + b"\x21\x11\xff\xff",
        SIGNATURE[:-1] + b"\r",
    ],
)
def test_malformed_headers(data: bytes) -> None:
    """Anything else is refused, what is too long before it is whole."""
    with pytest.raises(MalformedProxyHeader):
        parse_proxy_header(data)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21"]), st.binary(max_size=300))
def test_random_bytes(beginning: bytes, rest: bytes) -> None:
    """Whatever comes in, the length is within it and the address plain, or more is waited for, or it is refused."""
    data = beginning + rest
    try:
        parsed = parse_proxy_header(data)
    except MalformedProxyHeader:
        return
    if parsed is None:
        assert len(data) < LONGEST
        return
    address, length = parsed
    assert 0 < length <= len(data)
    assert parse_proxy_header(data[:length]) == parsed
    assert address is None or str(ip_address(address.host)) == address.host


def test_endless_header_is_refused() -> None:
    """Nobody can make the server wait for more than 4112 bytes."""
    for beginning in (b"PROXY ", b"PROXY UNKNOWN ", SIGNATURE + b"\x21\x11\x10\x01"):
        with pytest.raises(MalformedProxyHeader):
            parse_proxy_header(beginning + b"a" * (LONGEST - len(beginning)))
