"""What an administrator may ask of peers, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.task import Clock

from rendezvous.admin.audit import Audit, By
from rendezvous.admin.peer_rows import as_typed
from rendezvous.admin.peers import PeerOperations
from rendezvous.admin.values import NotPossible, NotThere, PeerPage
from rendezvous.peers.directory import Directory
from rendezvous.peers.known_ids import KnownIds
from rendezvous.peers.store import PeerRecord, prepare
from rendezvous.wire.address import Address
from tests.peers.memory_store import MemoryPeerStore
from tests.peers.sqlite import make_rust_database, on_reactor
from tests.peers.test_directory import ADA, FakeConnection


@pytest.fixture
def store() -> MemoryPeerStore:
    """What the directory changes."""
    return MemoryPeerStore(ADA)


@pytest.fixture
def directory(store: MemoryPeerStore) -> Directory:
    """A directory in which Ada is stored, and online on a connection."""
    directory = Directory(store, Clock(), stored=1, ids=KnownIds([ADA.id]))
    directory.connected(directory.remember(ADA), FakeConnection(), Address("192.0.2.1", 5000))
    return directory


BY = By("somebody", "192.0.2.1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The database that is read: Ada, and a hundred who are offline."""
    path = tmp_path / "db_v2.sqlite3"
    make_rust_database(path, *((f"peer-{n:03}", b"u", b"p", "{}") for n in range(100)), (ADA.id, b"u", b"p", "{}"))
    prepare(path)
    return path


@pytest.fixture
def peers(path: Path, directory: Directory) -> PeerOperations:
    """The operations on both."""
    return PeerOperations(path, directory, Audit(path.parent, reactor), reactor)


@on_reactor
async def test_page(peers: PeerOperations) -> None:
    """A page joins what is stored with who is online."""
    page: PeerPage = await peers.page(limit=3)
    assert page.total == 101
    assert [(peer.id, peer.online, peer.reached_at) for peer in page.peers] == [
        (ADA.id, "websocket", "192.0.2.1:5000"),
        ("peer-000", "", ""),
        ("peer-001", "", ""),
    ]
    online = await peers.page(online=True)
    assert [peer.id for peer in online.peers] == [ADA.id]
    assert online.total == 1
    assert (await peers.page(online=True, search="peer")).total == 0
    assert [(await peers.page(online=online, search="ADA-")).total for online in (True, False)] == [1, 1]
    assert [(await peers.page(online=online, search=" ada-")).total for online in (True, False)] == [1, 1]
    after = await peers.page(after="peer-097")
    assert ([peer.id for peer in after.peers], after.total) == (["peer-098", "peer-099"], None)


@pytest.fixture
def crowd(path: Path) -> PeerOperations:
    """Four of the hundred are online, each in its own way or at its own time."""
    clock = Clock()
    directory = Directory(MemoryPeerStore(), clock, stored=0, ids=KnownIds([]))
    ids = [f"peer-{number:03}" for number in range(4)]
    first, second, third, fourth = (directory.remember(PeerRecord(id, b"u", b"p", "192.0.2.1")) for id in ids)
    directory.seen(third, Address("192.0.2.20", 5))
    directory.seen(first, Address("192.0.2.100", 5))
    clock.advance(5)
    directory.seen(fourth, Address("2001:db8::1", 5))
    directory.connected(second, FakeConnection(), Address("192.0.2.20", 4))
    return PeerOperations(path, directory, Audit(path.parent, reactor), reactor)


@on_reactor
@pytest.mark.parametrize(
    ("sort", "order"), [("id", "0123"), ("online", "0231"), ("address", "1203"), ("seen", "0231")]
)
async def test_sorts_of_those_online(crowd: PeerOperations, sort: str, order: str) -> None:
    """By any of the columns they know of, numbers as numbers, both ways, and then by id; pages go on in it."""
    for descending, expected in ((False, order), (True, order[::-1])):
        pages = [
            await crowd.page(online=True, sort=sort, descending=descending, limit=2, offset=offset)
            for offset in (0, 2, 4)
        ]
        assert "".join(peer.id[-1] for page in pages for peer in page.peers) == expected
        assert [page.total for page in pages] == [4, 4, 4]


@on_reactor
async def test_search_of_those_online(crowd: PeerOperations) -> None:
    """Where they are now is searched, which is what is shown."""
    assert [peer.id for peer in (await crowd.page(online=True, search="192.0.2.20")).peers] == [
        "peer-001",
        "peer-002",
    ]


@pytest.mark.parametrize(
    ("typed", "id"),
    [
        ("106 034 749", "106034749"),
        (" 106034749\n", "106034749"),
        ("106\u00a0034", "106034"),
        (" 192.0.2. ", "192.0.2."),
        ("an id", "an id"),
        ("", ""),
    ],
)
def test_ids_as_they_are_typed(typed: str, id: str) -> None:
    """Blanks around a text mean nothing, nor do those between digits, which clients show."""
    assert as_typed(typed) == id


@pytest.mark.parametrize(
    "wanted",
    [
        {"limit": 1001},
        {"sort": "uuid"},
        {"sort": "created", "online": True},
        {"sort": "address"},
        {"sort": "seen", "after": "x"},
        {"after": "x", "descending": True},
        {"online": True, "offset": 10_001},
        {"offset": 2**63},
    ],
)
def test_pages_that_there_are_not(peers: PeerOperations, wanted: dict[str, Any]) -> None:
    """What can't be told, or costs too much, is refused."""
    with pytest.raises(NotPossible):
        peers.page(**wanted)


@pytest.mark.parametrize(
    "ask",
    [
        lambda peers: peers.delete(["x"] * 1001, BY),
        lambda peers: peers.delete([7], BY),
        lambda peers: peers.import_([{}] * 1001, BY),
        lambda peers: peers.import_([{"id": "x", "uuid": "dQ==", "pk": "cA==", "more": ""}], BY),
        lambda peers: peers.purge(0, BY, dry_run=True),
        lambda peers: peers.purge(36501, BY, dry_run=False),
        lambda peers: peers.backup("relative", BY),
        lambda peers: peers.backup("/tmp/\0", BY),
    ],
)
def test_changes_that_are_not_made(
    peers: PeerOperations, store: MemoryPeerStore, ask: Callable[[PeerOperations], Any]
) -> None:
    """So are changes that name nothing, or too much."""
    with pytest.raises(NotPossible):
        ask(peers)
    assert list(store.records) == [ADA.id]


@on_reactor
async def test_failures(tmp_path: Path, directory: Directory, store: MemoryPeerStore) -> None:
    """A database that can't be read or changed is told in a sentence."""
    peers = PeerOperations(tmp_path / "nothing", directory, Audit(tmp_path, reactor), reactor)
    store.broken = True
    for asked in (
        lambda: peers.page(),
        lambda: peers.peer("x"),
        lambda: peers.backup(str(tmp_path / "backup"), BY),
        lambda: peers.delete([ADA.id], BY),
        lambda: peers.import_([{"id": "x", "uuid": "dQ==", "pk": "cA=="}], BY),
        lambda: peers.purge(5, BY, dry_run=False),
    ):
        with pytest.raises(NotPossible) as caught:
            await asked()
        assert str(caught.value).endswith(".")
    assert os.listdir(tmp_path) == []


@on_reactor
async def test_no_such_peer(peers: PeerOperations) -> None:
    """A peer that is not stored is not there."""
    with pytest.raises(NotThere):
        await peers.peer("nobody")
