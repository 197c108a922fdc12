"""The laboratory's lines are as good, and as bad, as they are said to be."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest

from tests.network.lab import Lab, public_v4
from tests.network.test_nat import reachable_at, socket_in
from tests.network.wire import Quality

HEADERS = 28
"""Bytes of IPv4 and UDP."""
COUNT = 400
"""Packets of one measurement; a TUN device queues 500."""
END = b"end"
SO_RCVBUFFORCE = 33


@contextmanager
def line(lab: Lab, quality: Quality) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Sockets on two hosts: the first one's line is perfect, the second one's has this quality."""
    sockets = []
    for each in (Quality(delay=0), quality):
        name, number = lab.namespace(f"wire {each}"), lab.number()
        lab.attach(name, number, v4=True, v6=False, quality=each)
        sockets.append(socket_in(name))
    with sockets[0], sockets[1]:
        yield sockets[0], sockets[1]


def arrived(sender: socket.socket, receiver: socket.socket) -> list[int]:
    """Which of COUNT numbered datagrams arrive, in the order in which they do.

    An end follows them when none has come for a while, and again, as the first may have overtaken others.
    """
    receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 22)
    target = reachable_at(receiver)
    for number in range(COUNT):
        sender.sendto(str(number).encode(), target)
    receiver.settimeout(0.2)
    numbers: list[int] = []
    ends = 0
    while ends < 2:
        try:
            data = receiver.recv(100)
        except TimeoutError:
            sender.sendto(END, target)
            continue
        if data == END:
            ends += 1
        else:
            numbers.append(int(data))
    return numbers


def test_delay(lab: Lab) -> None:
    """A packet takes the delay, and each line adds its own."""
    with line(lab, Quality(delay=0.05)) as (near, far):
        start = time.monotonic()
        near.sendto(b"there", reachable_at(far))
        far.sendto(far.recv(100), reachable_at(near))
        near.recv(100)
        assert time.monotonic() - start >= 0.1


@pytest.mark.parametrize("loss", [0.0, 0.05, 0.3])
def test_loss(lab: Lab, loss: float) -> None:
    """The share of packets that is said to be lost is lost, and no other; those that arrive do so in order."""
    with line(lab, Quality(loss=loss)) as sockets:
        numbers = arrived(*sockets)
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == len(numbers)
    lost = 1 - len(numbers) / COUNT
    assert loss / 4 <= lost <= loss * 3


def test_reordering(lab: Lab) -> None:
    """Packets overtake each other, and none is lost or doubled."""
    with line(lab, Quality(jitter=0.03)) as sockets:
        numbers = arrived(*sockets)
    assert sorted(numbers) == list(range(COUNT))
    assert sum(first > second for first, second in pairwise(numbers)) > COUNT / 10


@pytest.mark.parametrize("mtu", [1280, 1500])
def test_largest_packet(lab: Lab, mtu: int) -> None:
    """A packet as large as the line takes arrives whole; a larger one, which must not be cut, doesn't."""
    with line(lab, Quality(mtu=mtu)) as (near, far):
        near.setsockopt(socket.IPPROTO_IP, 10, 3)  # IP_MTU_DISCOVER, IP_PMTUDISC_PROBE: never cut a packet
        near.sendto(bytes(mtu - HEADERS), reachable_at(far))
        assert len(far.recv(4096)) == mtu - HEADERS
        if mtu < 1500:
            near.sendto(bytes(mtu - HEADERS + 1), reachable_at(far))
            near.sendto(END, reachable_at(far))
            assert far.recv(4096) == END


def test_unknown_address(lab: Lab) -> None:
    """A packet for nobody goes nowhere, and the next one arrives."""
    with line(lab, Quality()) as (near, far):
        near.sendto(b"lost", (public_v4(249), 9))
        near.sendto(END, reachable_at(far))
        assert far.recv(100) == END
