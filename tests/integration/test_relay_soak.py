"""Random sessions through a real relay: opened, stalled, reset, half-closed; afterwards nothing is left.

RENDEZVOUS_SOAK_SECONDS makes it longer than the few seconds of a usual run. The figures are printed.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from statistics import median
from time import monotonic

import pytest

from tests.client.links import Link, PlainLink, Transport
from tests.client.threads import wait_until
from tests.client.wire import Address, frame
from tests.hbbr.ws_wire import client_frame, close_frame
from tests.integration.duplex import BareWebSocket, dial
from tests.integration.support import StartServer, unique_source

SECONDS = float(os.environ.get("RENDEZVOUS_SOAK_SECONDS", "6"))
AT_ONCE = 12
BLOCK = random.Random(11).randbytes(1 << 20)
LIMITS = {
    "SINGLE_BANDWIDTH": "20000",
    "TOTAL_BANDWIDTH": "20000",
    "IDLE_TIMEOUT": "3",
    "FIRST_FRAME_TIMEOUT": "3",
    "PAIRING_TIMEOUT": "3",
}
GROWTH = 8 << 20
"""Bytes of resident memory by which the last quarter of a run may exceed the second."""
SAMPLE_EVERY = 0.1

Kinds = tuple[Transport, Transport]
KINDS: list[Kinds] = [
    ("tcp", "tcp"),
    ("tcp", "tcp"),
    ("tcp", "websocket"),
    ("websocket", "tcp"),
    ("websocket", "websocket"),
]


def reset(link: Link) -> None:
    """Closes with a reset."""
    link.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    link.socket.close()


def finish(link: Link) -> None:
    """Ends the own direction as the link's kind does."""
    if isinstance(link, BareWebSocket):
        link.socket.sendall(close_frame())
    else:
        link.socket.shutdown(socket.SHUT_WR)


def send(link: Link, data: bytes) -> None:
    """Sends one message, or a frame."""
    websocket = isinstance(link, BareWebSocket)
    link.socket.sendall(client_frame(data, mask=bytes(4)) if websocket else frame(data))


def transfer(one: Link, other: Link, chance: random.Random) -> None:
    """A random amount one way, in random pieces, while the other side takes it."""
    size = chance.choice([1, 100, 1400, 40_000, 700_000])
    step = chance.choice([1400, 65_536, size])
    pieces = [BLOCK[start : min(size, start + step)] for start in range(0, size, step)]
    with ThreadPoolExecutor(1) as pool:
        received = pool.submit(lambda: [other.receive_payload(20) for _ in pieces])
        for piece in pieces:
            send(one, piece)
        assert received.result(30) == pieces


def transfer_raw(one: PlainLink, other: PlainLink, chance: random.Random) -> None:
    """The same in bytes that are no frames."""
    size = chance.choice([1, 100, 1400, 40_000, 700_000])
    with ThreadPoolExecutor(1) as pool:
        received = pool.submit(receive_raw, other, size)
        start = 0
        while start < size:
            step = chance.choice([1, 1400, 65_536, size])
            one.socket.sendall(BLOCK[start : min(size, start + step)])
            start += step
        assert received.result(30) == BLOCK[:size]


def receive_raw(link: PlainLink, size: int) -> bytes:
    """Exactly `size` bytes."""
    parts = bytearray()
    while len(parts) < size:
        data = link.receive_raw(20)
        assert data, f"the stream ended after {len(parts)} of {size} bytes"
        parts += data
    return bytes(parts)


def half_close(one: Link, other: Link, chance: random.Random) -> None:
    """One side finishes and, where both are streams, still receives."""
    finish(one)
    if isinstance(one, PlainLink) and isinstance(other, PlainLink):
        assert other.receive_raw() == b""
        transfer_raw(other, one, chance)
        finish(other)
        assert one.receive_raw() == b""
    else:
        other.wait_closed(20)


def stall(one: Link, other: Link, chance: random.Random) -> None:
    """One side sends into a side that reads nothing, until no more is taken."""
    one.socket.settimeout(0.05)
    with contextlib.suppress(TimeoutError):
        while True:
            send(one, BLOCK)


def stall_and_reset(one: Link, other: Link, chance: random.Random) -> None:
    """A stalled session is cut off in the middle by either side, or both."""
    stall(one, other, chance)
    for link in chance.sample([one, other], chance.randint(1, 2)):
        reset(link)


def stall_until_idle(one: Link, other: Link, chance: random.Random) -> None:
    """A stalled session is ended by the relay."""
    stall(one, other, chance)
    end = monotonic() + 30
    with contextlib.suppress(OSError):
        while other.socket.recv(1 << 20):  # the rest of what was sent
            assert monotonic() < end


def both_close(one: Link, other: Link, chance: random.Random) -> None:
    """Both sides end at the same moment."""
    for link in (one, other):
        chance.choice([finish, reset, Link.close])(link)


ENDS: list[Callable[[Link, Link, random.Random], None]] = [
    half_close,
    half_close,
    stall_and_reset,
    stall_and_reset,
    both_close,
    both_close,
    lambda one, other, chance: reset(one),
    lambda one, other, chance: other.close(),
] * 4 + [stall_until_idle]


def session(relay: Address, seed: int) -> None:
    """One random session."""
    chance = random.Random(seed)
    relay_uuid = str(uuid.UUID(int=chance.getrandbits(128)))
    first, second = chance.choice(KINDS)
    with (
        dial(first, relay, relay_uuid, source=unique_source()) as one,
        dial(second, relay, relay_uuid, source=unique_source()) as other,
    ):
        for sender, reader in ((one, other), (other, one)):
            send(sender, b"hello")
            assert reader.receive_payload(20) == b"hello"
        for _ in range(chance.randint(1, 3)):
            sides = [one, other]
            chance.shuffle(sides)
            if isinstance(sides[0], PlainLink) and isinstance(sides[1], PlainLink):
                transfer_raw(sides[0], sides[1], chance)
            else:
                transfer(sides[0], sides[1], chance)
        chance.choice(ENDS)(one, other, chance)


def lonely(relay: Address, seed: int) -> None:
    """A side that nobody joins: it says nothing, rubbish, or waits and leaves."""
    chance = random.Random(seed)
    kind = chance.choice(KINDS)[0]
    with (
        dial(kind, relay, str(uuid.uuid4()) * chance.randint(0, 1), source=unique_source()) as link,
        contextlib.suppress(OSError),  # the relay may have closed already
    ):
        link.socket.sendall(chance.choice([b"", b"\xff" * 100, BLOCK[:100_000]]))
        chance.choice([finish, reset, Link.close])(link)


def run(relay: Address, seconds: float, first_seed: int) -> Counter[str]:
    """Sessions for `seconds`, some at once; how many of each kind."""
    end = monotonic() + seconds
    seeds = count(first_seed)
    done: Counter[str] = Counter()

    def work() -> None:
        while monotonic() < end:
            seed = next(seeds)
            kind = lonely if seed % 8 == 0 else session
            kind(relay, seed)
            done[kind.__name__] += 1

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for worker in [pool.submit(work) for _ in range(AT_ONCE)]:
            worker.result(seconds + 120)
    return done


class Watch:
    """What the system says about a process; its memory is sampled while entered."""

    def __init__(self, pid: int) -> None:
        self._proc = Path(f"/proc/{pid}")
        self._stop = threading.Event()
        self._samples: list[int] = []

    def descriptors(self) -> int:
        """How many are open."""
        return len(os.listdir(self._proc / "fd"))

    def threads(self) -> int:
        """How many there are."""
        return len(os.listdir(self._proc / "task"))

    def resident(self) -> int:
        """Bytes of resident memory."""
        return int((self._proc / "statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_EVERY):
            self._samples.append(self.resident())

    def quarters(self) -> list[int]:
        """The usual memory in each quarter of the time."""
        size = len(self._samples) // 4
        return [round(median(self._samples[start : start + size])) for start in range(0, 4 * size, size)]


@pytest.mark.slow
def test_random_sessions_leave_nothing(start_server: StartServer) -> None:
    """Descriptors and threads are as many as before, and memory shows no trend."""
    server = start_server("-k", "", part="hbbr", env=LIMITS)
    assert server.process is not None
    watch = Watch(server.process.pid)
    relay = server.view().relay
    with dial("tcp", relay, "first") as one, dial("tcp", relay, "first") as other:
        transfer(one, other, random.Random(1))
        at_rest, threads = watch.descriptors() - 2, watch.threads()
    run(relay, SECONDS / 4, 1)
    with watch:
        done = run(relay, SECONDS, 1_000_000)
        quarters = watch.quarters()
    print(f"\n{dict(done)}, descriptors {at_rest} {watch.descriptors()}, threads {threads} {watch.threads()}")
    print("MiB by quarter:", [round(size / (1 << 20), 1) for size in quarters])
    wait_until(lambda: watch.descriptors() == at_rest, 20, "the descriptors of before")
    assert watch.threads() == threads
    assert quarters[3] - quarters[1] < GROWTH
