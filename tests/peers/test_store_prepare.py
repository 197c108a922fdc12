"""Preparing the database: anything unsound is refused in one sentence, and never changed."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rendezvous.peers.store import StoreError, prepare
from tests.peers.sqlite import make_rust_database, opened, rows


def _permissions_count() -> bool:
    """Whether this user is held to the permissions of files, as root usually is not."""
    with tempfile.NamedTemporaryFile() as file:
        os.chmod(file.name, 0)
        return not os.access(file.name, os.R_OK | os.W_OK, effective_ids=True)


held_to_permissions = pytest.mark.skipif(not _permissions_count(), reason="root may write everywhere")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is."""
    return tmp_path / "db_v2.sqlite3"


def refused(path: Path) -> str:
    """Why `path` is refused; the sentence must be on one line and name the file."""
    before = snapshot(path.parent)
    with pytest.raises(StoreError) as caught:
        prepare(path)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert path.name in sentence
    assert sentence.startswith("db-url: ")
    assert sentence.endswith(".")
    assert snapshot(path.parent) == before
    return sentence


def snapshot(folder: Path) -> dict[str, bytes]:
    """The files of a folder and what is in them, without what SQLite leaves behind when it only looks."""
    contents = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    return {
        name: content
        for name, content in contents.items()
        if not name.endswith("-shm") and (content or not name.endswith("-wal"))
    }


def test_new_database(path: Path) -> None:
    """Where nothing is, an empty database is made."""
    assert prepare(path).peers == 0
    assert rows(path, "select count(*) from peer") == [(0,)]


def test_counts_the_peers(path: Path) -> None:
    """The number of stored peers is returned."""
    make_rust_database(path, *((f"peer-{i}", b"u", b"p", "{}") for i in range(7)))
    assert prepare(path).peers == 7


def test_twice_is_once(path: Path) -> None:
    """A prepared database is left as it is."""
    make_rust_database(path, ("peer", b"u", b"p", "{}"))
    prepare(path)
    before = rows(path, "select * from peer")
    assert prepare(path).peers == 1
    assert rows(path, "select * from peer") == before


def test_rust_database_with_a_wal_that_was_not_checkpointed(path: Path, tmp_path: Path) -> None:
    """A copied folder whose rows are still in the -wal file is taken over whole."""
    original = tmp_path / "original"
    original.mkdir()
    with closing(sqlite3.connect(original / "db_v2.sqlite3")) as running:
        running.execute("pragma wal_autocheckpoint = 0")
        make_rust_database(original / "db_v2.sqlite3")
        running.execute("insert into peer (guid, id, uuid, pk, info) values (x'01', 'a', x'02', x'03', '{}')")
        running.commit()
        for file in original.iterdir():
            shutil.copy(file, tmp_path / file.name)
    assert (tmp_path / "db_v2.sqlite3-wal").stat().st_size > 0
    assert prepare(path).peers == 1


def test_additional_columns_and_tables_are_kept(path: Path) -> None:
    """What another program has added is no reason to refuse."""
    make_rust_database(path, ("peer", b"u", b"p", "{}"))
    with opened(path) as other:
        other.execute("alter table peer add column theirs text")
        other.execute("create table more (x)")
    assert prepare(path).peers == 1
    assert rows(path, "select theirs from peer") == [(None,)]


def test_missing_folder(tmp_path: Path) -> None:
    """A folder that is not there is named."""
    missing = tmp_path / "missing"
    with pytest.raises(StoreError, match="missing"):
        prepare(missing / "db_v2.sqlite3")
    assert not missing.exists()


def test_folder_that_can_not_be(tmp_path: Path) -> None:
    """A folder whose name is too long for the system is refused like one that is not there."""
    with pytest.raises(StoreError, match="no folder"):
        prepare(tmp_path / ("x" * 300) / "db_v2.sqlite3")


def test_directory(path: Path) -> None:
    """A folder in the place of the file is refused."""
    path.mkdir()
    refused(path)
    assert list(path.iterdir()) == []


@pytest.mark.parametrize("content", [b"garbage", b"garbage\n" * 4000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_garbage(path: Path, content: bytes) -> None:
    """A file that is no database is refused and left."""
    path.write_bytes(content)
    refused(path)


def test_empty_file(path: Path) -> None:
    """A file that has lost its content is not taken for a new database."""
    path.write_bytes(b"")
    assert "empty" in refused(path)


def test_log_without_its_database(path: Path, tmp_path: Path) -> None:
    """What was to be written into a database that is gone is not written into a new one."""
    make_rust_database(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("insert into peer (guid, id, uuid, pk, info) values (x'01', 'a', x'02', x'03', '{}')")
        other.commit()
        log = path.with_name(f"{path.name}-wal")
        content = log.read_bytes()
    path.unlink()
    log.write_bytes(content)
    assert "-wal" in refused(path)
    assert not path.exists()
    log.unlink()
    assert prepare(path).peers == 0


def test_new_database_is_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can't be made whole is not there at all."""
    monkeypatch.setattr("rendezvous.peers.store._SCHEMA", ("v1.sql", "missing.sql"))
    with pytest.raises(StoreError):
        prepare(path)
    assert list(path.parent.iterdir()) == []


def test_truncated(path: Path) -> None:
    """A database that was cut is refused and left."""
    make_rust_database(path, *((f"peer-{i}", b"u" * 50, b"p" * 50, "{}") for i in range(500)))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path)


def test_damaged_pages(path: Path) -> None:
    """A database with pages overwritten is refused and left."""
    make_rust_database(path, *((f"peer-{i}", b"u" * 50, b"p" * 50, "{}") for i in range(500)))
    damaged = bytearray(path.read_bytes())
    damaged[8192:16384] = b"\xa5" * 8192
    path.write_bytes(damaged)
    refused(path)


@pytest.mark.parametrize(
    "sql",
    [
        "create table peer (guid blob primary key, id text)",
        "create table peer (guid, id, uuid, pk, created_at, user, status, note)",
        "create view peer as select 1 as id",
        "create table other (x); create index peer on other (x)",
    ],
)
def test_wrong_schema(path: Path, sql: str) -> None:
    """A database with another kind of `peer` is refused, and gets neither tables nor indexes."""
    with opened(path) as other:
        other.executescript(sql)
    schema = rows(path, "select type, name from sqlite_master")
    refused(path)
    assert rows(path, "select type, name from sqlite_master") == schema


@pytest.mark.slow
@pytest.mark.parametrize("serial", [5, "five", 2**31, -1, 1.5])
@pytest.mark.parametrize(
    "servers", ['["a.example"]', "", "[", "5", '{"a": 1}', "[5]", '"text"', b"\xff", "[" * 50_000]
)
def test_what_clients_are_told(path: Path, serial: object, servers: object) -> None:
    """Settings for clients that this server can't have stored are refused and left; its own are read."""
    prepare(path)
    with opened(path) as other:
        other.execute("insert into client_settings values (1, ?, ?)", (serial, servers))
    if (serial, servers) == (5, '["a.example"]'):
        assert prepare(path)[:3] == (0, 5, ("a.example",))
    else:
        assert "client_settings" in refused(path)


def test_locked(path: Path) -> None:
    """A database that another process is writing to is refused after a while."""
    make_rust_database(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("begin immediate")
        assert "locked" in refused(path)


@pytest.mark.slow
def test_locked_exclusively(path: Path) -> None:
    """A database that another process keeps for itself is refused after a while."""
    with closing(sqlite3.connect(path)) as other:
        other.execute("pragma locking_mode = exclusive")
        other.execute("begin exclusive")
        assert "locked" in refused(path)


@held_to_permissions
def test_read_only_file(path: Path) -> None:
    """A file that may not be written is refused."""
    make_rust_database(path)
    path.chmod(0o400)
    refused(path)


@held_to_permissions
def test_read_only_folder(path: Path) -> None:
    """A folder in which no database can be made is refused."""
    path.parent.chmod(0o500)
    try:
        refused(path)
    finally:
        path.parent.chmod(0o700)


@held_to_permissions
def test_unreadable_file(path: Path) -> None:
    """A file that may not be read is refused."""
    make_rust_database(path)
    path.chmod(0)
    try:
        with pytest.raises(StoreError, match="db_v2"):
            prepare(path)
    finally:
        path.chmod(0o600)


@pytest.fixture
def open_umask() -> Iterator[None]:
    """New files are readable by everybody, unless who makes them sees to it."""
    old = os.umask(0)
    yield
    os.umask(old)


@pytest.mark.usefixtures("open_umask")
def test_for_its_owner_alone(path: Path) -> None:
    """A new database, with its log, is its owner's alone: a uuid is the whole proof of an id. An old one stays."""
    prepare(path)
    with opened(path) as connection:
        connection.execute("pragma journal_mode = wal")
        connection.execute("insert into client_settings values (1, 1, '[]')")
        connection.commit()
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert modes == {f"{path.name}{end}": 0o600 for end in ("", "-wal", "-shm")}
    path.chmod(0o644)
    prepare(path)
    assert path.stat().st_mode & 0o777 == 0o644
