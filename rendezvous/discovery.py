"""PeerDiscovery: which clients are on the local network (docs/protocol.md, "PeerDiscovery").

Clients with discovery on answer a broadcast ping; no server takes part.
"""

import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rendezvous.wire.address import Address
from rendezvous.wire.messages import MalformedMessage, decode, encode
from rendezvous.wire.rendezvous_pb2 import PeerDiscovery

PORT = 21119
_MOST = 10000
"""Clients listed at most."""


@dataclass(frozen=True)
class Found:
    """One client that answered."""

    address: str
    id: str
    hostname: str
    username: str
    platform: str
    mac: str


def discover(seconds: float, broadcast: Sequence[str] = ("255.255.255.255",), port: int = PORT) -> list[Found]:
    """The clients that answer a ping to the `broadcast` addresses within `seconds`. Blocks. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        ping = encode(PeerDiscovery(cmd="ping"))
        for address in broadcast:
            sock.sendto(ping, (address, port))
        return _pongs(sock, time.monotonic() + seconds)


def _pongs(sock: socket.socket, deadline: float) -> list[Found]:
    found: dict[Address, Found] = {}
    while len(found) < _MOST and (left := deadline - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            datagram, source = sock.recvfrom(65536)
        except TimeoutError:
            break
        try:
            _, pong = decode(datagram)
        except MalformedMessage:
            continue
        if isinstance(pong, PeerDiscovery) and pong.cmd == "pong":
            found[Address(*source)] = Found(
                source[0], *map(_plain, (pong.id, pong.hostname, pong.username, pong.platform, pong.mac))
            )
    return sorted(found.values(), key=lambda client: client.id)


def _plain(text: str) -> str:
    """`text` as it may be shown on a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text[:100])
