"""A UDP port that drains a real socket: quick answers, the slow way, and what the kernel had no room for."""

from __future__ import annotations

import select
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


@pytest.mark.parametrize("receive_buffer", [1 << 14, 1 << 16, 212_992, 1 << 20])
@pytest.mark.parametrize("size", [4, 600])
def test_what_the_kernel_drops_is_counted(
    sockets: tuple[socket.socket, socket.socket], receive_buffer: int, size: int
) -> None:
    """Datagrams beyond the receive buffer are counted within a second, however few or many it holds."""
    near, far = sockets
    near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    protocol, drops, clock = Echo(), Drops(), MemoryReactorClock()
    port = DatagramPort(clock, near, protocol, drops, "udp")
    port.startListening()
    for _ in range(9_000):
        far.send(b"s" * size)
    while select.select([near], [], [], 0)[0]:
        port.doRead()
    clock.advance(1.0)
    lost = drops.counts["udp", "receive_buffer_full"]
    assert lost > 0
    assert len(protocol.received) + lost == 9_000
    port.stopListening()
    assert not clock.getDelayedCalls()


def test_what_the_kernel_drops_is_counted_at_once_when_many_come(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    """A turn that found many datagrams looks what was lost, also when it took all there were."""
    near, far = sockets
    near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    protocol, drops = Echo(), Drops()
    port = DatagramPort(MemoryReactorClock(), near, protocol, drops, "udp")
    port.startListening()
    for _ in range(9_000):
        far.send(b"slow")
    port.doRead()
    assert 64 <= len(protocol.received) < 512
    assert len(protocol.received) + drops.counts["udp", "receive_buffer_full"] == 9_000


def test_what_was_lost_before_is_not_counted(sockets: tuple[socket.socket, socket.socket]) -> None:
    """A port on a socket that it took over counts from its own start."""
    near, far = sockets
    near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    for _ in range(9_000):
        far.send(b"slow")
    protocol, drops = Echo(), Drops()
    port = DatagramPort(MemoryReactorClock(), near, protocol, drops, "udp")
    port.startListening()
    port.doRead()
    assert protocol.received
    assert not drops.counts


class Flooded(Echo):
    """For each datagram that comes there is another one, so that the socket is never empty; up to 2,000."""

    def __init__(self, far: socket.socket) -> None:
        super().__init__()
        self._far = far

    def datagramReceived(self, datagram: bytes, addr: tuple[Any, ...]) -> None:
        """Notes, and sends one more."""
        super().datagramReceived(datagram, addr)
        if len(self.received) < 2_000:
            self._far.send(datagram)


def test_others_get_their_turn(sockets: tuple[socket.socket, socket.socket]) -> None:
    """However many datagrams wait, one turn of the reactor takes no more than its share."""
    near, far = sockets
    protocol = Flooded(far)
    port = DatagramPort(MemoryReactorClock(), near, protocol, Drops(), "udp")
    port.startListening()
    far.send(b"slow")
    for turn in (1, 2):
        port.doRead()
        assert len(protocol.received) == port.received == turn * 512
