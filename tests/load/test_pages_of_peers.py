"""Many peers online, and somebody who looks at them.

RENDEZVOUS_LOOK_PEERS=1000000 makes it a million.
"""

from __future__ import annotations

import os
import threading
import time
from itertools import pairwise

import pytest
from twisted.internet import reactor, task

from rendezvous.admin.audit import Audit
from rendezvous.admin.peer_rows import ONLINE_SORTS
from rendezvous.admin.peers import FURTHEST_ONLINE, PeerOperations
from rendezvous.peers.directory import Directory
from rendezvous.peers.known_ids import KnownIds
from rendezvous.peers.store import PeerRecord, prepare
from rendezvous.wire.address import Address
from tests.evidence import Evidence
from tests.peers.memory_store import MemoryPeerStore
from tests.peers.sqlite import make_rust_database, on_reactor

A_MILLION = 1_000_000
PEERS = int(os.environ.get("RENDEZVOUS_LOOK_PEERS", "200000"))


class CountingClock(task.Clock):
    """Counts how often the time is asked for, which whoever looks at a peer on UDP does once."""

    looks = 0

    def seconds(self) -> float:
        self.looks += 1
        return super().seconds()


@pytest.fixture(scope="module")
def clock() -> CountingClock:
    """The time of the directory."""
    return CountingClock()


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory, clock: CountingClock) -> PeerOperations:
    """So many peers in memory, online over UDP; some of them are in the database."""
    path = tmp_path_factory.mktemp("data") / "db_v2.sqlite3"
    make_rust_database(path, *((str(100_000_000 + number), b"u", b"p", "{}") for number in range(20_000)))
    prepare(path)
    directory = Directory(MemoryPeerStore(), clock, stored=PEERS, ids=KnownIds([]))
    for number in range(PEERS):
        host = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        peer = directory.remember(PeerRecord(str(100_000_000 + number), b"", b"key", host))
        directory.seen(peer, Address(host, 5000))
    return PeerOperations(path, directory, Audit(path.parent, reactor), reactor)


@pytest.mark.slow
@on_reactor
@pytest.mark.parametrize("sort", ONLINE_SORTS)
@pytest.mark.parametrize("offset", [0, FURTHEST_ONLINE])
async def test_page(
    peers: PeerOperations, clock: CountingClock, evidence: Evidence, sort: str, offset: int
) -> None:
    """Each peer is looked at once, in a thread, wherever the page is; the reactor goes on meanwhile."""
    threads, turns = set(), [time.monotonic()]
    clock_seconds = clock.seconds

    def seconds() -> float:
        threads.add(threading.get_ident())
        return clock_seconds()

    clock.looks, clock.seconds = 0, seconds  # type: ignore[method-assign]
    ticking = task.LoopingCall(lambda: turns.append(time.monotonic()))
    ticking.start(0.001)
    began = time.monotonic()
    try:
        page = await peers.page(online=True, sort=sort, limit=50, offset=offset)
    finally:
        took = time.monotonic() - began
        ticking.stop()
        clock.seconds = clock_seconds  # type: ignore[method-assign]
    assert page.total == PEERS
    assert [peer.id for peer in page.peers] == [str(100_000_000 + offset + number) for number in range(50)]
    assert clock.looks <= PEERS + 100
    assert len(threads - {threading.get_ident()}) == 1
    assert len(turns) > 20
    gap = max(late - early for early, late in pairwise(turns))
    if sort == "address" and PEERS >= A_MILLION:  # it takes longest
        evidence(
            "A look at a million peers that are online holds up nobody else",
            f"{took:.1f} s, others wait {gap * 1000:.0f} ms at most",
        )
