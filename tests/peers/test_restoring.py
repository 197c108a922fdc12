"""A backup in the place of a database: whole, and the old one kept."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rendezvous.peers.browsing import copy_database, opened
from rendezvous.peers.restoring import CantRestore, peers_in, restore
from rendezvous.peers.store import prepare
from tests.peers.sqlite import make_rust_database, rows

KEPT = "db_v2.sqlite3.before-then"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is; there is one with one peer."""
    path = tmp_path / "data" / "db_v2.sqlite3"
    path.parent.mkdir()
    make_rust_database(path, ("old-1234", b"u", b"p", "{}"))
    return path


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """A backup with two peers."""
    source = tmp_path / "source"
    make_rust_database(source, ("new-1234", b"u", b"p", "{}"), ("new-5678", b"u", b"p", "{}"))
    with opened(source) as connection:
        copy_database(connection, tmp_path / "backup")
    return tmp_path / "backup"


def ids(path: Path) -> list[str]:
    """The ids in a database."""
    return [row[0] for row in rows(path, "select id from peer order by id")]


def names(path: Path) -> list[str]:
    """The files of the data folder."""
    return sorted(file.name for file in path.parent.iterdir())


def test_restore(path: Path, backup: Path) -> None:
    """The backup is served from, the old database kept whole, and the backup stays as it was."""
    content = backup.read_bytes()
    path.chmod(0o640)
    assert peers_in(backup) == 2
    assert restore(backup, path, "then") == [path.with_name(KEPT)]
    assert names(path) == ["db_v2.sqlite3", KEPT]
    assert path.stat().st_mode & 0o777 == 0o640
    assert backup.read_bytes() == content
    assert ids(path) == ["new-1234", "new-5678"]
    assert ids(path.with_name(KEPT)) == ["old-1234"]
    assert prepare(path).peers == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_owner(path: Path, backup: Path) -> None:
    """What root restores belongs to whom the old database did, or the folder."""
    os.chown(path, 65534, 65534)
    restore(backup, path, "then")
    assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534)
    path.unlink()
    os.chown(path.parent, 65533, 65533)
    restore(backup, path, "later")
    assert path.stat().st_uid == 65533


def test_without_a_database(path: Path, backup: Path) -> None:
    """Where there is none, nothing is kept."""
    path.unlink()
    assert restore(backup, path, "then") == []
    assert ids(path) == ["new-1234", "new-5678"]


def test_log_of_a_killed_server(path: Path, backup: Path, tmp_path: Path) -> None:
    """What is only in the log of the old database is kept with it, and does not get into the new one."""
    with closing(sqlite3.connect(path)) as living:
        living.execute("pragma wal_autocheckpoint = 0")
        living.execute("update peer set id = 'only-in-the-log'")
        living.commit()
        copies = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    for name, content in copies.items():
        path.with_name(name).write_bytes(content)
    assert path.with_name("db_v2.sqlite3-wal").exists()
    restore(backup, path, "then")
    assert names(path) == ["db_v2.sqlite3", KEPT]
    assert ids(path) == ["new-1234", "new-5678"]
    assert ids(path.with_name(KEPT)) == ["only-in-the-log"]


def test_damaged_database(path: Path, backup: Path) -> None:
    """One that can't be read is kept as it is, with its log."""
    path.write_bytes(b"nothing that SQLite knows" * 300)
    log = path.with_name("db_v2.sqlite3-wal")
    log.write_bytes(b"its log")
    assert restore(backup, path, "then") == [path.with_name(KEPT), path.with_name(f"{KEPT}-wal")]
    assert path.with_name(f"{KEPT}-wal").read_bytes() == b"its log"
    assert ids(path) == ["new-1234", "new-5678"]


def test_database_in_use(path: Path, backup: Path) -> None:
    """A database that somebody has open stays as it is."""
    with closing(sqlite3.connect(path)) as living:
        assert living.execute("select count(*) from peer").fetchone() == (1,)
        with pytest.raises(CantRestore, match="in use"):
            restore(backup, path, "then")
        assert sorted(name for name in names(path) if "before" in name or "restored" in name) == []
        assert living.execute("select id from peer").fetchall() == [("old-1234",)]


@pytest.mark.parametrize("content", [b"", b"nothing that SQLite knows" * 300, None])
def test_something_else(tmp_path: Path, content: bytes | None) -> None:
    """A backup that is none is told in one sentence."""
    backup = tmp_path / "backup"
    if content is None:
        with closing(sqlite3.connect(backup)) as connection:
            connection.execute("create table other (a)")
    else:
        backup.write_bytes(content)
    with pytest.raises(CantRestore) as caught:
        peers_in(backup)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_damaged_backup(backup: Path) -> None:
    """So is one whose pages are damaged."""
    content = bytearray(backup.read_bytes())
    content[8192:12288] = os.urandom(4096)
    backup.write_bytes(content)
    with pytest.raises(CantRestore):
        peers_in(backup)
