"""The peer store: what is known of peers beyond the life of the process."""

import json
import os
import secrets
import sqlite3
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from twisted.enterprise.adbapi import ConnectionPool, Transaction
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore
from zope.interface import Interface, implementer

from rendezvous.peers import upkeep
from rendezvous.peers.browsing import StoredPeer, host_in
from rendezvous.peers.known_ids import KnownIds
from rendezvous.wire.address import is_ipv6

_COLUMNS = {"guid", "id", "uuid", "pk", "created_at", "user", "status", "note", "info"}
_SCHEMA = ("v1.sql", "upgrade-to-v2.sql", "upgrade-to-v3.sql")
"""Each leaves what it finds done alone."""
_BUSY = 5.0
"""Seconds to wait for another process that has the database locked."""
_ROWS = 100
"""Rows of one statement."""
_SLICE = 1000
"""Ids that are read at once, while others are served."""


class PeerRecord(NamedTuple):
    """One stored peer; `host` is the address it registered from, empty when unknown."""

    id: str
    uuid: bytes
    pk: bytes
    host: str


class Saved(NamedTuple):
    """What became of records, by their ids."""

    new: Collection[str]
    """Those that were not stored before."""
    foreign: Collection[str]
    """Those that are stored with another uuid, and left as they were."""


class IPeerStore(Interface):
    """Where peers are kept. Every method returns a Deferred, which fails when the store does."""

    def load(ids: Collection[str]) -> "Deferred[dict[str, PeerRecord]]":
        """The records of those `ids` that are stored."""

    def save(records: Sequence[PeerRecord]) -> "Deferred[Saved]":
        """Stores new and changed records, all or none; fires when they are on disk.

        A stored record's uuid never changes: one that comes with another uuid is left as it was.
        """

    def rename(old_id: str, new_id: str, uuid: bytes) -> "Deferred[int]":
        """Gives the record of `old_id` and `uuid` the id `new_id`.

        Fires with how many records it was made of: 1, or 2 when there was one of `new_id` and `uuid`. Fires with 0,
        and changes nothing, when there is no such record, or `new_id` belongs to another uuid.
        """

    def save_client_settings(serial: int, rendezvous_servers: Sequence[str]) -> "Deferred[None]":
        """Stores what clients are told, unless something with a higher serial is stored."""

    def delete(ids: Collection[str]) -> "Deferred[Collection[str]]":
        """Deletes records; fires with the ids of those that there were."""

    def add(peers: Sequence[StoredPeer]) -> "Deferred[Collection[str]]":
        """Adds those peers whose ids are free, all or none of them; fires with their ids."""

    def note_seen(ids: Collection[str], day: int) -> "Deferred[None]":
        """Notes that peers were online on a day, in days since 1970-01-01."""

    def ids_behind(place: bytes) -> "Deferred[tuple[Sequence[str], bytes]]":
        """A slice of all ids, behind that place in the store (empty: from its beginning), and the place it ends at.

        There are no ids behind the last slice.
        """

    def close() -> "Deferred[None]":
        """Fires when everything is written and closed."""


class StoreError(Exception):
    """One sentence: why the database can't be used, and what to do."""


@implementer(IPeerStore)
class SQLitePeerStore:
    """IPeerStore in a SQLite file, through adbapi: one connection in one thread, so writes never contend."""

    def __init__(self, path: Path, reactor: IReactorCore) -> None:
        self._pool = ConnectionPool(
            "sqlite3",
            str(path),
            check_same_thread=False,
            timeout=_BUSY,
            cp_min=1,
            cp_max=1,
            cp_noisy=False,
            cp_openfun=_configure,
            cp_reactor=reactor,
        )

    def load(self, ids: Collection[str]) -> "Deferred[dict[str, PeerRecord]]":
        """See IPeerStore; one query, whose rows come as one JSON text, whatever their number."""
        found: Deferred[dict[str, PeerRecord]] = self._pool.runInteraction(_load, json.dumps(list(ids)))
        return found

    def save(self, records: Sequence[PeerRecord]) -> "Deferred[Saved]":
        """See IPeerStore; one transaction."""
        rows = [
            (guid, record.id, record.uuid, record.pk, _info(record.host))
            for guid, record in zip(_guids(len(records)), records, strict=True)
        ]
        saved: Deferred[Saved] = self._pool.runInteraction(_save, rows)
        return saved

    def rename(self, old_id: str, new_id: str, uuid: bytes) -> "Deferred[int]":
        """See IPeerStore."""
        renamed: Deferred[int] = self._pool.runInteraction(_rename, old_id, new_id, uuid)
        return renamed

    def save_client_settings(self, serial: int, rendezvous_servers: Sequence[str]) -> "Deferred[None]":
        """See IPeerStore."""
        servers = json.dumps(list(rendezvous_servers))
        saved: Deferred[None] = self._pool.runInteraction(_save_client_settings, serial, servers)
        return saved

    def delete(self, ids: Collection[str]) -> "Deferred[Collection[str]]":
        """See IPeerStore."""
        deleted: Deferred[Collection[str]] = self._pool.runInteraction(upkeep.delete, ids)
        return deleted

    def add(self, peers: Sequence[StoredPeer]) -> "Deferred[Collection[str]]":
        """See IPeerStore."""
        rows = [(guid, _info(peer.host)) for guid, peer in zip(_guids(len(peers)), peers, strict=True)]
        added: Deferred[Collection[str]] = self._pool.runInteraction(upkeep.add, peers, rows)
        return added

    def note_seen(self, ids: Collection[str], day: int) -> "Deferred[None]":
        """See IPeerStore."""
        noted: Deferred[None] = self._pool.runInteraction(upkeep.note_seen, ids, day)
        return noted

    def ids_behind(self, place: bytes) -> "Deferred[tuple[Sequence[str], bytes]]":
        """See IPeerStore; a place is the key of a row."""
        read: Deferred[tuple[Sequence[str], bytes]] = self._pool.runInteraction(_ids_behind, place)
        return read

    def close(self) -> "Deferred[None]":
        """See IPeerStore; what was asked for before is done first, since there is one thread."""
        done: Deferred[None] = self._pool.runInteraction(lambda _: None)
        return done.addBoth(lambda _: self._pool.close())


class Stored(NamedTuple):
    """What a database holds: how many peers, what clients were told last, and whose ids."""

    peers: int
    serial: int
    rendezvous_servers: tuple[str, ...]
    ids: KnownIds


def prepare(path: Path) -> Stored:
    """Makes the database at `path` ready, or makes a new one; returns what it holds.

    Blocks: it is for the time before the reactor runs. Replaces nothing that is there. Raises StoreError.
    """
    if not os.path.isdir(path.parent):
        raise StoreError(f"db-url: there is no folder {str(path.parent)!r}; make it, or name another file.")
    try:
        if _is_new(path):
            _make(path)
        _check(path)
        with closing(sqlite3.connect(path, timeout=_BUSY)) as connection:
            return _upgrade(connection)
    except (sqlite3.Error, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise StoreError(
            f"db-url: {str(path)!r} can't be used: {why}. It takes a sound SQLite file that this user may "
            "write and no other process has locked; restore it from a backup, or name another file."
        ) from None


def _is_new(path: Path) -> bool:
    """Whether there is no database yet. Raises StoreError for what remains of one that was lost.

    SQLite would take an empty file for a new database, and write the log of another one into a new one.
    """
    wal = path.with_name(f"{path.name}-wal")
    if path.is_file() and not path.stat().st_size:
        raise StoreError(f"db-url: {str(path)!r} is empty; restore it from a backup, or delete it to begin anew.")
    if not path.exists() and wal.exists() and wal.stat().st_size:
        raise StoreError(
            f"db-url: {str(wal)!r} is there, but its database {str(path)!r} is not; restore both from a backup, "
            "or delete it to begin anew."
        )
    return not path.exists()


def _make(path: Path) -> None:
    """A new database: whole, or not there, whenever the process ends."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))  # which its log will have too
        with closing(sqlite3.connect(temporary)) as connection:
            connection.execute("pragma journal_mode = off")
            _run_schema(connection)
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _check(path: Path) -> None:
    """Raises sqlite3.Error unless the database is sound. Changes nothing in one that is not.

    A connection that may write would write the log into the database when it closes; one that may not can't
    undo the unfinished transaction of a database without a log, which is needed to read it.
    """
    wal = path.with_name(f"{path.name}-wal")
    mode = "ro" if wal.exists() and wal.stat().st_size else "rw"
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=_BUSY)) as connection:
        found = connection.execute("pragma quick_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(f"it is damaged ({' '.join(found.split())})")
        _check_schema(connection)


def stored_in(path: Path) -> Stored:
    """What the database at `path`, which is ready, holds by now; its ids are still to be added.

    Blocks, but not for long. Raises StoreError.
    """
    try:
        with closing(sqlite3.connect(path, timeout=_BUSY)) as connection:
            peers = _count(connection)
            return Stored(peers, *_told(connection), KnownIds(expected=peers, whole=False))
    except sqlite3.Error as error:
        raise StoreError(f"db-url: {str(path)!r} can't be read: {error}.") from None


def _upgrade(connection: sqlite3.Connection) -> Stored:
    _configure(connection)
    _run_schema(connection)
    connection.execute("begin immediate")
    connection.rollback()
    return _stored(connection)


def _stored(connection: sqlite3.Connection) -> Stored:
    peers = _count(connection)
    ids = KnownIds((row[0] for row in connection.execute("select id from peer")), expected=peers)
    return Stored(peers, *_told(connection), ids)


def _count(connection: sqlite3.Connection) -> int:
    peers: int = connection.execute("select count(*) from peer").fetchone()[0]
    return peers


def _told(connection: sqlite3.Connection) -> tuple[int, tuple[str, ...]]:
    """What clients were told last; nothing when nobody has set it."""
    row = connection.execute("select serial, rendezvous_servers from client_settings").fetchone()
    if row is None:
        return 0, ()
    serial = row[0]
    try:
        servers = json.loads(row[1])
    except (ValueError, TypeError, RecursionError):
        servers = None
    sound = isinstance(servers, list) and all(isinstance(name, str) for name in servers)
    if not (sound and isinstance(serial, int) and 0 <= serial < 2**31):
        raise sqlite3.DatabaseError("its client_settings table holds no serial and list of names; delete its row")
    return serial, tuple(servers)


def _run_schema(connection: sqlite3.Connection) -> None:
    for script in _SCHEMA:
        connection.executescript(files("rendezvous.peers").joinpath("schema", script).read_text("utf-8"))


def _check_schema(connection: sqlite3.Connection) -> None:
    """Whatever is called ``peer`` must be the peer table; there may be nothing yet."""
    kinds = [row[0] for row in connection.execute("select type from sqlite_schema where name = 'peer'")]
    if not kinds:
        return
    missing = _COLUMNS - {row[1] for row in connection.execute("pragma table_info(peer)")}
    if kinds != ["table"] or missing:
        lacks = f" that lacks {', '.join(sorted(missing))}" if missing else ""
        raise sqlite3.DatabaseError(f"its peer table is a {kinds[0]}{lacks}")


def _configure(connection: sqlite3.Connection) -> None:
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = full")


def _load(transaction: Transaction, ids: str) -> dict[str, PeerRecord]:
    transaction.execute(
        "select json_group_array(json_array(id, hex(uuid), hex(pk),"
        " case when json_valid(cast(info as text)) then json_extract(cast(info as text), '$.ip') end)) from peer"
        " where id in (select value from json_each(?))",
        (ids,),
    )
    rows = json.loads(transaction.fetchone()[0])
    return {id: PeerRecord(id, bytes.fromhex(uuid), bytes.fromhex(pk), host_in(ip)) for id, uuid, pk, ip in rows}


def _ids_behind(transaction: Transaction, place: bytes) -> tuple[Sequence[str], bytes]:
    transaction.execute(
        "select json_group_array(cast(id as text)), max(guid) from"
        " (select guid, id from peer where guid > ? order by guid limit ?)",
        (place, _SLICE),
    )
    ids, last = transaction.fetchone()
    return json.loads(ids), place if last is None else last


def _guids(count: int) -> Iterator[bytes]:
    """Row keys (UUIDs of version 7), each behind all those made before, so that a table grows at its end."""
    milliseconds = time.time_ns() // 1_000_000
    for number in range(count):
        yield (milliseconds << 80 | 7 << 76 | (number & 0xFFF) << 64 | 2 << 62 | secrets.randbits(62)).to_bytes(
            16, "big"
        )


def _save(transaction: Transaction, rows: list[tuple[bytes, str, bytes, bytes, str]]) -> Saved:
    """Few statements of many rows: each is one call, during which the reactor's thread runs."""
    written: dict[str, bytes] = {}
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        transaction.execute(
            f"insert into peer (guid, id, uuid, pk, info) values {','.join(['(?, ?, ?, ?, ?)'] * len(part))}"
            " on conflict (id) do update set pk = excluded.pk, info = excluded.info where uuid = excluded.uuid"
            " returning id, guid",
            [value for row in part for value in row],
        )
        written.update(transaction.fetchall())
    new = [id for guid, id, *_ in rows if written.get(id) == guid]
    return Saved(new, [] if len(written) == len(rows) else [row[1] for row in rows if row[1] not in written])


def _rename(transaction: Transaction, old_id: str, new_id: str, uuid: bytes) -> int:
    def one(sql: str, *values: Any) -> Any:
        transaction.execute(sql, values)
        return transaction.fetchone()

    if one("select 1 from peer where id = ? and uuid = ?", old_id, uuid) is None:
        return 0
    if one("select 1 from peer where id = ? and uuid <> ?", new_id, uuid) is not None:
        return 0
    transaction.execute("delete from peer where id = ? and id <> ?", (new_id, old_id))
    replaced: int = transaction.rowcount
    transaction.execute("update or replace seen set id = ? where id = ?", (new_id, old_id))
    transaction.execute("update peer set id = ? where id = ?", (new_id, old_id))
    return 1 + replaced


def _save_client_settings(transaction: Transaction, serial: int, servers: str) -> None:
    transaction.execute(
        "insert into client_settings values (1, ?, ?) on conflict (only_row) do update set"
        " serial = excluded.serial, rendezvous_servers = excluded.rendezvous_servers"
        " where excluded.serial > serial",
        (serial, servers),
    )


def _info(host: str) -> str:
    """A row's info; an address has nothing that JSON would escape."""
    return f'{{"ip": "{host if not host or is_ipv6(host) else f"::ffff:{host}"}"}}'
