"""A UDP port that drains a real socket: quick answers, the slow way, and what the kernel had no room for."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock

from rendezvous.datagram_port import DatagramPort, QuickDatagramProtocol
from rendezvous.metrics import Drops


class Echo(QuickDatagramProtocol):
    """Answers b"quick" at once, b"later" not yet, and notes the rest."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.quick_answer = self.answer

    def answer(self, datagram: bytes, source: tuple[Any, ...], now: float) -> bytes | None:
        """See QuickAnswer."""
        return {b"quick": b"answer", b"later": b""}.get(datagram)

    def datagramReceived(self, datagram: bytes, addr: tuple[Any, ...]) -> None:
        """Notes."""
        self.received.append(datagram)


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A bound socket, and one that sends to it."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as near,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far,
    ):
        near.bind(("127.0.0.1", 0))
        near.setblocking(False)
        far.connect(near.getsockname())
        far.settimeout(5)
        yield near, far


def test_quick_and_slow(sockets: tuple[socket.socket, socket.socket]) -> None:
    """What has a quick answer gets it, what will have one later is not received, everything else is."""
    near, far = sockets
    protocol = Echo()
    port = DatagramPort(MemoryReactorClock(), near, protocol, Drops(), "udp")
    port.startListening()
    for datagram in (b"quick", b"later", b"slow", b""):
        far.send(datagram)
    port.doRead()
    assert far.recv(100) == b"answer"
    assert protocol.received == [b"slow", b""]


def test_what_the_kernel_drops_is_counted(sockets: tuple[socket.socket, socket.socket]) -> None:
    """Datagrams beyond the receive buffer are counted, once the port has seen that there were too many."""
    near, far = sockets
    near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    protocol, drops = Echo(), Drops()
    port = DatagramPort(MemoryReactorClock(), near, protocol, drops, "udp")
    port.startListening()
    for _ in range(20_000):
        far.send(b"slow")
    for _ in range(60):
        port.doRead()
    lost = drops.counts["udp", "receive_buffer_full"]
    assert lost > 0
    assert len(protocol.received) + lost == 20_000
