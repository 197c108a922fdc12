"""Socket addresses and AddrMangle, their form in every ``socket_addr``-like field (docs/protocol.md)."""

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

_MAPPED_PREFIX = bytes(10) + b"\xff\xff"
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"(?:::ffff:)?((?:{_OCTET}\.){{3}}{_OCTET})")
"""What most hosts look like, and need no parsing."""


class Address(NamedTuple):
    """A numeric host and a port. IPv4-mapped IPv6 hosts never occur: see `plain_host`."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class MalformedAddress(ValueError):
    """Bytes that are no mangled address."""


def plain_host(host: str) -> str:
    """`host` in its one spelling: IPv4-mapped IPv6 becomes IPv4, a zone is cut off.

    Raises ValueError when `host` is no numeric address.
    """
    ipv4 = _IPV4.fullmatch(host)
    if ipv4 is not None:
        return ipv4[1]
    if ":" not in host:
        return str(IPv4Address(host))
    address = IPv6Address(host.partition("%")[0])
    return str(address.ipv4_mapped or address)


def plain_network(text: str) -> IPv4Network | IPv6Network:
    """The network, or single address, in its one spelling: one of IPv4-mapped IPv6 addresses becomes IPv4.

    Raises ValueError when `text` is none.
    """
    network = ip_network(text, strict=False)
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    return network if mapped is None or network.prefixlen < 96 else IPv4Network((mapped, network.prefixlen - 96))


def is_ipv6(host: str) -> bool:
    """Whether a numeric, plain `host` is IPv6."""
    return ":" in host


def network_of(host: str) -> str:
    """What one client has of a numeric, plain `host`: an IPv4 address is its own, of IPv6 it has a whole /64."""
    return str(IPv6Network((host, 64), strict=False)) if is_ipv6(host) else host


def is_loopback(host: str) -> bool:
    """Whether a numeric, plain `host` is a loopback address."""
    return host.startswith("127.") if "." in host else ip_address(host).is_loopback


def compact(address: Address) -> bytes:
    """`address` in few bytes: the port, then the host, as a socket address has them."""
    host = address.host
    packed = IPv6Address(host).packed if is_ipv6(host) else bytes(map(int, host.split(".")))
    return address.port.to_bytes(2, "big") + packed


@lru_cache(4096)
def expanded(compacted: bytes) -> Address:
    """The address of `compact`."""
    packed = compacted[2:]
    host = ".".join(map(str, packed)) if len(packed) == 4 else str(IPv6Address(packed))
    return Address(host, int.from_bytes(compacted[:2], "big"))


def mangle(address: Address, nonce: int) -> bytes:
    """AddrMangle of `address`: at most 16 bytes for IPv4, 18 for IPv6.

    `nonce` (its low 32 bits) takes the place of the clock; the IPv6 form has no room for it.
    """
    if is_ipv6(address.host):
        packed = IPv6Address(address.host).packed
        if not packed.startswith(_MAPPED_PREFIX):
            return packed + address.port.to_bytes(2, "little")
        packed = packed[12:]
    else:
        packed = bytes(map(int, address.host.split(".")))
    t = nonce & 0xFFFFFFFF
    ip = int.from_bytes(packed, "little")
    value = ((ip + t) << 49) | (t << 17) | (address.port + (t & 0xFFFF))
    return value.to_bytes(16, "little").rstrip(b"\0")


def unmangle(mangled: bytes) -> Address:
    """The address that `mangled` holds; of an empty field 0.0.0.0:0.

    Raises MalformedAddress when there are more than 16 bytes and not 18.
    """
    if len(mangled) == 18:
        host = plain_host(str(IPv6Address(mangled[:16])))
        return Address(host, int.from_bytes(mangled[16:], "little"))
    if len(mangled) > 16:
        raise MalformedAddress(f"{len(mangled)} bytes are no mangled address")
    value = int.from_bytes(mangled, "little")
    t = (value >> 17) & 0xFFFFFFFF
    ip = ((value >> 49) - t) & 0xFFFFFFFF
    port = ((value & 0xFFFFFF) - (t & 0xFFFF)) & 0xFFFF
    return Address(".".join(map(str, ip.to_bytes(4, "little"))), port)
