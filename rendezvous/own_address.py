"""This machine's own addresses: as others see them from a network, and those to listen on."""

import socket
from ipaddress import IPv4Network, ip_address

_SOMEWHERE = "192.0.2.1"
"""An address that the default route leads to; nothing is sent there."""


def own_address(towards: str = _SOMEWHERE) -> str:
    """This machine's IPv4 address on the way `towards` another one; loopback when there is no way."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((towards, 9))
        except OSError:
            return "127.0.0.1"
        address: str = probe.getsockname()[0]
        return address


def own_address_in(network: IPv4Network) -> str:
    """This machine's IPv4 address on the way into `network`."""
    return own_address(str(network.network_address + min(1, network.num_addresses - 1)))


def families(bind: str) -> list[tuple[int, str]]:
    """The address families that are listened on, each with its address."""
    if bind:
        return [(socket.AF_INET if ip_address(bind).version == 4 else socket.AF_INET6, bind)]
    found: list[tuple[int, str]] = [(socket.AF_INET, "0.0.0.0")]
    if _has_ipv6():
        found.append((socket.AF_INET6, "::"))
    return found


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True
