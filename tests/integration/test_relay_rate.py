"""The bandwidth of a real session, seen from outside."""

from __future__ import annotations

import socket
import threading
import uuid
from time import monotonic

import pytest

from tests.client.wire import Address
from tests.integration.duplex import dial
from tests.integration.support import StartServer

MEGABIT = 1024 * 1024 / 8
SECONDS = 4.0
TRIES = 3
"""Sessions of which one is measured by a machine that has the time for it."""


@pytest.mark.parametrize("limit", [1, 8, 32])
def test_a_session_is_held_to_its_bandwidth(start_server: StartServer, limit: int) -> None:
    """What a greedy sender gets through is the limit, also over single seconds (bounds for a busy machine)."""
    relay = start_server("-k", "", part="hbbr", env={"SINGLE_BANDWIDTH": str(limit)}).view().relay
    tried: list[tuple[float, float]] = []
    while not any(0.7 < average < 1.1 and busiest < 1.25 for average, busiest in tried):
        assert len(tried) < TRIES, tried
        arrivals = passed(relay)
        total = sum(count for _, count in arrivals)
        tried.append((total / SECONDS / (limit * MEGABIT), busiest_second(arrivals) / (limit * MEGABIT)))


def passed(relay: Address) -> list[tuple[float, int]]:
    """When how many bytes of a greedy sender came at the other side of a session."""
    relay_uuid = str(uuid.uuid4())
    with dial("tcp", relay, relay_uuid) as first, dial("tcp", relay, relay_uuid) as second:
        one, other = first.socket, second.socket
        stop = threading.Event()
        sender = threading.Thread(target=send_until, args=(one, stop))
        sender.start()
        try:
            return receive_for(other, SECONDS)
        finally:
            stop.set()
            one.shutdown(socket.SHUT_RDWR)
            sender.join(10)


def send_until(sock: socket.socket, stop: threading.Event) -> None:
    """Sends as fast as the relay takes it."""
    block = bytes(65536)
    try:
        while not stop.is_set():
            sock.sendall(block)
    except OSError:
        pass


def receive_for(sock: socket.socket, seconds: float) -> list[tuple[float, int]]:
    """When how many bytes came."""
    arrivals = []
    end = monotonic() + seconds
    while monotonic() < end:
        count = len(sock.recv(1 << 20))
        arrivals.append((monotonic(), count))
    return arrivals


def busiest_second(arrivals: list[tuple[float, int]]) -> int:
    """The most bytes of any second."""
    return max(
        sum(count for when, count in arrivals if begin <= when < begin + 1.0)
        for begin, _ in arrivals[:: max(1, len(arrivals) // 200)]
    )
