"""Random sessions through a real relay: opened, stalled, reset, half-closed; afterwards nothing is left.

RENDEZVOUS_SOAK_SECONDS makes it longer than the few seconds of a usual run.
"""

from __future__ import annotations

import os
import random
import socket
import struct
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.threads import wait_until
from tests.client.wire import frame
from tests.integration.support import StartServer, unique_source

SECONDS = float(os.environ.get("RENDEZVOUS_SOAK_SECONDS", "6"))
AT_ONCE = 12
BLOCK = random.Random(11).randbytes(1 << 20)
FIRST_USE = 2
"""Descriptors that the process keeps once it has served somebody."""
GROWTH = 24 << 20
"""Bytes of resident memory that a run may add after its first part."""


def dial(port: int, relay_uuid: str) -> socket.socket:
    """A side, its first frame sent."""
    sock = socket.create_connection(("127.0.0.1", port), 10, (unique_source(), 0))
    request = pb.RendezvousMessage(request_relay=pb.RequestRelay(uuid=relay_uuid))
    sock.sendall(frame(request.SerializeToString()))
    return sock


def reset(sock: socket.socket) -> None:
    """Closes with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def receive(sock: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes."""
    parts = bytearray()
    while len(parts) < size:
        data = sock.recv(min(65536, size - len(parts)))
        assert data, f"the stream ended after {len(parts)} of {size} bytes"
        parts += data
    return bytes(parts)


def transfer(one: socket.socket, other: socket.socket, chance: random.Random) -> None:
    """A random amount one way, in random pieces, while the other side takes it."""
    size = chance.choice([1, 100, 1400, 40_000, 700_000])
    sent = BLOCK[:size]
    with ThreadPoolExecutor(1) as pool:
        received = pool.submit(receive, other, size)
        start = 0
        while start < size:
            step = chance.choice([1, 1400, 65_536, size])
            one.sendall(sent[start : start + step])
            start += step
        assert received.result(20) == sent


def half_close(one: socket.socket, other: socket.socket, chance: random.Random) -> None:
    """One side finishes and still receives."""
    one.shutdown(socket.SHUT_WR)
    assert other.recv(1) == b""
    transfer(other, one, chance)
    other.shutdown(socket.SHUT_WR)
    assert one.recv(1) == b""


def stall_and_reset(one: socket.socket, other: socket.socket, chance: random.Random) -> None:
    """One side sends into a side that reads nothing, and is cut off in the middle."""
    one.settimeout(0.05)
    try:
        while True:
            one.sendall(BLOCK)
    except TimeoutError:
        reset(chance.choice([one, other]))


ENDS: list[Callable[[socket.socket, socket.socket, random.Random], None]] = [
    half_close,
    stall_and_reset,
    lambda one, other, chance: reset(one),
    lambda one, other, chance: other.close(),
]


def session(port: int, seed: int) -> None:
    """One random session."""
    chance = random.Random(seed)
    relay_uuid = str(uuid.UUID(int=chance.getrandbits(128)))
    with dial(port, relay_uuid) as one, dial(port, relay_uuid) as other:
        for _ in range(chance.randint(1, 3)):
            sides = [one, other]
            chance.shuffle(sides)
            transfer(sides[0], sides[1], chance)
        chance.choice(ENDS)(one, other, chance)


def run(port: int, seconds: float, first_seed: int) -> int:
    """Sessions for `seconds`, a few at once; returns how many."""
    end = monotonic() + seconds
    done = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while monotonic() < end:
            batch = range(first_seed + done, first_seed + done + 4 * AT_ONCE)
            list(pool.map(lambda seed: session(port, seed), batch))
            done += len(batch)
    return done


@pytest.mark.slow
def test_random_sessions_leave_nothing(start_server: StartServer) -> None:
    """Descriptors and threads are as many as before, and memory shows no trend."""
    limits = {"SINGLE_BANDWIDTH": "20000", "TOTAL_BANDWIDTH": "20000"}
    server = start_server("-k", "", part="hbbr", env=limits)
    assert server.process is not None
    proc = Path(f"/proc/{server.process.pid}")

    def descriptors() -> int:
        return len(list((proc / "fd").iterdir()))

    def resident() -> int:
        return int((proc / "statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    at_rest, threads = descriptors(), len(list((proc / "task").iterdir()))
    port = server.view().relay[1]
    run(port, SECONDS / 3, 1)  # brings what a process allocates once
    wait_until(lambda: descriptors() <= at_rest + FIRST_USE, 20, "the descriptors of before")
    before = resident()
    assert run(port, SECONDS * 2 / 3, 1_000_000) > 0
    wait_until(lambda: descriptors() <= at_rest + FIRST_USE, 20, "the descriptors of before")
    assert len(list((proc / "task").iterdir())) == threads
    assert resident() - before < GROWTH
