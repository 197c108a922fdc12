"""Reading the database beside the store: pages, searches, who is gone, copies."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rendezvous.peers.browsing import (
    SORTS,
    Page,
    copy_database,
    count_gone,
    opened,
    opened_beside,
    read_gone,
    read_page,
    read_peers,
)
from rendezvous.peers.store import prepare
from tests.peers.sqlite import make_rust_database, rows
from tests.peers.sqlite import opened as written

IDS = ["100%", "ada-1", "ada-2", "ben_1", "benx1", "zoe"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with six peers, the first of them seen last, and days noted since day 100."""
    path = tmp_path / "db_v2.sqlite3"
    prepare(path)
    with written(path) as connection:
        connection.execute("update seen_since set day = 100")
        for number, id in enumerate(IDS):
            connection.execute(
                "insert into peer (guid, id, uuid, pk, created_at, info) values (?, ?, ?, ?, ?, ?)",
                (bytes([number] * 16), id, b"u%d" % number, b"k", f"1970-02-0{9 - number} 00:00:00", info(number)),
            )
            if number < 5:
                connection.execute("insert into seen values (?, ?)", (id, 200 - number * 30))
    return path


def info(number: int) -> str:
    """What is stored of a peer's address; the last one's is nothing that is known."""
    return f'{{"ip": "::ffff:192.0.2.{number}"}}' if number < 5 else "nonsense"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to it."""
    with opened(path) as connection:
        yield connection


def ids(connection: sqlite3.Connection, page: Page) -> list[str]:
    """The ids on a page."""
    return [peer.id for peer in read_page(connection, page)[1]]


def test_whole_peers(connection: sqlite3.Connection) -> None:
    """A peer is read with all that is stored of it."""
    total, peers = read_page(connection, Page(limit=2))
    assert total == 6
    assert peers[1] == ("ada-1", b"u1", b"k", "192.0.2.1", "1970-02-08 00:00:00", 170)
    assert read_peers(connection, ["zoe", "nobody"]) == {
        "zoe": ("zoe", b"u5", b"k", "", "1970-02-04 00:00:00", None)
    }


def test_pages(connection: sqlite3.Connection) -> None:
    """Pages join to the whole, by number and by the last id."""
    assert [id for offset in (0, 2, 4) for id in ids(connection, Page(limit=2, offset=offset))] == IDS
    assert ids(connection, Page(after="ada-2", limit=2)) == ["ben_1", "benx1"]
    assert ids(connection, Page(after="zoe")) == []
    assert read_page(connection, Page(counted=False))[0] is None


@pytest.mark.parametrize(("sort", "first"), [("id", "100%"), ("created", "zoe"), ("seen", "zoe")])
def test_sorts(connection: sqlite3.Connection, sort: str, first: str) -> None:
    """Each order begins with who is first in it, and ends with it when turned round."""
    assert ids(connection, Page(sort=sort))[0] == first
    assert ids(connection, Page(sort=sort, descending=True)) == ids(connection, Page(sort=sort))[::-1]
    assert set(SORTS) == {"id", "created", "seen"}


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("ada", ["ada-1", "ada-2"]),
        ("n_1", ["ben_1"]),
        ("%", ["100%"]),
        ("\\", []),
        ("192.0.2.3", ["ben_1"]),
        ("192.0.2.", IDS[:5]),
        ("ip", []),
        ("nonsense", []),
    ],
)
def test_search(connection: sqlite3.Connection, search: str, found: list[str]) -> None:
    """Ids and addresses that contain the text, each character for itself."""
    total, peers = read_page(connection, Page(search))
    assert ([peer.id for peer in peers], total) == (found, len(found))


def test_gone(connection: sqlite3.Connection) -> None:
    """Who was last online before a day; who was not noted counts from the first day that was."""
    assert read_gone(connection, 100, "", 10) == []
    assert read_gone(connection, 101, "", 10) == ["benx1", "zoe"]
    assert read_gone(connection, 111, "", 10) == ["ben_1", "benx1", "zoe"]
    assert read_gone(connection, 1000, "ada-2", 2) == ["ben_1", "benx1"]
    assert [count_gone(connection, day) for day in (100, 101, 1000)] == [0, 2, 6]


def test_new_peers_are_not_gone(path: Path) -> None:
    """Who registered lately and was not yet noted is not gone."""
    with written(path) as connection:
        connection.execute("update peer set created_at = current_timestamp where id = 'zoe'")
    with opened(path) as connection:
        assert "zoe" not in read_gone(connection, 15000, "", 10)


def test_database_of_the_rust_server(tmp_path: Path) -> None:
    """A database that no version of ours has touched is read, and nothing is left beside it."""
    path = tmp_path / "rust.sqlite3"
    make_rust_database(path, ("ada-1234", b"u", b"p", '{"ip": "::ffff:192.0.2.1"}'))
    before = path.read_bytes()
    with opened(path) as connection:
        assert [peer.host for peer in read_page(connection, Page())[1]] == ["192.0.2.1"]
        assert count_gone(connection, 30000) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["rust.sqlite3"]
    assert path.read_bytes() == before


def test_rows_that_are_only_in_the_log(path: Path) -> None:
    """What a killed server has left in the log is read."""
    with closing(sqlite3.connect(path)) as living:
        living.execute("update peer set id = 'new' where id = 'zoe'")
        living.commit()
        with opened(path) as connection:
            assert "new" in ids(connection, Page())


def test_reading_does_not_hold_up_writing(path: Path) -> None:
    """A reader sees one state while others write."""
    with opened_beside(path) as reader, closing(sqlite3.connect(path, timeout=0)) as writer:
        reader.execute("begin")
        assert len(ids(reader, Page())) == 6
        writer.execute("delete from peer")
        writer.commit()
        assert len(ids(reader, Page())) == 6


def test_copy(path: Path, tmp_path: Path) -> None:
    """A copy is one file with everything, for its owner alone, that can be served from."""
    target = tmp_path / "backup"
    with closing(sqlite3.connect(path)) as living:
        living.execute("insert into seen values ('zoe', 7)")
        living.commit()
        with opened_beside(path) as connection:
            assert copy_database(connection, target) == target.stat().st_size
    assert target.stat().st_mode & 0o777 == 0o600
    assert rows(target, "pragma journal_mode") == [("delete",)]
    assert rows(target, "select day from seen where id = 'zoe'") == [(7,)]
    assert not list(tmp_path.glob("*backup?*"))
    assert prepare(target).peers == 6


def test_copy_replaces_nothing(path: Path, tmp_path: Path) -> None:
    """A file that is there stays, and so does a folder as it was when a copy fails."""
    target = tmp_path / "backup"
    target.write_text("mine")
    before = sorted(tmp_path.iterdir())
    with opened(path) as connection:
        with pytest.raises(FileExistsError):
            copy_database(connection, target)
        with pytest.raises(FileNotFoundError):
            copy_database(connection, tmp_path / "missing" / "file")
    assert target.read_text() == "mine"
    assert sorted(tmp_path.iterdir()) == before
