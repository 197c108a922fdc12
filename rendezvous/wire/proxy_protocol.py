"""PROXY protocol, versions 1 and 2: the header in which a proxy tells whose connection it passes on."""

import struct
from ipaddress import IPv4Address, IPv6Address

from rendezvous.wire.address import Address, plain_host

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_V1_PREFIX = b"PROXY "
_V1_LONGEST = 107
_V2_FIXED = 16
_V2_LONGEST = 4096
"""Bytes of addresses and extensions in a version 2 header; real ones have a few hundred at most."""


class MalformedProxyHeader(ValueError):
    """Bytes that begin no PROXY protocol header."""


def parse_proxy_header(data: bytes) -> tuple[Address | None, int] | None:
    """The client's address and the header's length in bytes; None until the header is whole.

    The address is None where the proxy speaks for itself (LOCAL) or does not know (UNKNOWN). Raises
    MalformedProxyHeader, at the latest after 4112 bytes.
    """
    if data.startswith(_V1_PREFIX):
        return _parse_v1(data)
    if data.startswith(_SIGNATURE):
        return _parse_v2(data)
    if _V1_PREFIX.startswith(data) or _SIGNATURE.startswith(data):
        return None
    raise MalformedProxyHeader("no PROXY protocol header")


def _parse_v1(data: bytes) -> tuple[Address | None, int] | None:
    end = data.find(b"\r\n", 0, _V1_LONGEST)
    if end < 0:
        if len(data) >= _V1_LONGEST:
            raise MalformedProxyHeader("the line is too long")
        return None
    words = data[:end].split(b" ")
    if words[1] == b"UNKNOWN":
        return None, end + 2
    if words[1] not in (b"TCP4", b"TCP6") or len(words) != 6:
        raise MalformedProxyHeader("the line has other fields")
    try:
        host, port = plain_host(words[2].decode("ascii")), int(words[4])
    except ValueError:
        raise MalformedProxyHeader("the line has no address") from None
    return _address(host, port), end + 2


def _parse_v2(data: bytes) -> tuple[Address | None, int] | None:
    if len(data) < _V2_FIXED:
        return None
    version_command, family, length = struct.unpack_from("!BBH", data, 12)
    if version_command not in (0x20, 0x21):
        raise MalformedProxyHeader("another version or command")
    if length > _V2_LONGEST:
        raise MalformedProxyHeader("the header is too long")
    end = _V2_FIXED + length
    if len(data) < end:
        return None
    if version_command == 0x20:
        return None, end
    body = data[_V2_FIXED:end]
    if family == 0x11 and length >= 12:
        return _address(str(IPv4Address(body[:4])), int.from_bytes(body[8:10], "big")), end
    if family == 0x21 and length >= 36:
        return _address(plain_host(str(IPv6Address(body[:16]))), int.from_bytes(body[32:34], "big")), end
    if family == 0x00:
        return None, end
    raise MalformedProxyHeader("another address family")


def _address(host: str, port: int) -> Address:
    if not 0 < port < 65536:
        raise MalformedProxyHeader("a port out of range")
    return Address(host, port)
