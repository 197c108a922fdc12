"""The peer store: what is known of peers beyond the life of the process."""

import json
import sqlite3
from collections.abc import Collection, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from twisted.enterprise.adbapi import ConnectionPool, Transaction
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore
from zope.interface import Interface, implementer

from rendezvous.wire.address import is_ipv6, plain_host

_COLUMNS = {"guid", "id", "uuid", "pk", "created_at", "user", "status", "note", "info"}
_SCHEMA = ("v1.sql", "upgrade-to-v2.sql")
"""Each leaves what it finds done alone."""
_BUSY = 5.0
"""Seconds to wait for another process that has the database locked."""


class PeerRecord(NamedTuple):
    """One stored peer; `host` is the address it registered from, empty when unknown."""

    id: str
    uuid: bytes
    pk: bytes
    host: str


class IPeerStore(Interface):
    """Where peers are kept. Every method returns a Deferred, which fails when the store does."""

    def load(ids: Collection[str]) -> "Deferred[dict[str, PeerRecord]]":
        """The records of those `ids` that are stored."""

    def save(records: Sequence[PeerRecord]) -> "Deferred[None]":
        """Stores new and changed records, all or none; fires when they are on disk.

        A stored record's uuid never changes: one that comes with another uuid is left as it was.
        """

    def rename(old_id: str, new_id: str, uuid: bytes) -> "Deferred[bool]":
        """Gives the record of `old_id` and `uuid` the id `new_id`.

        Fires False, and changes nothing, when there is no such record, or `new_id` belongs to another uuid.
        """

    def save_client_settings(serial: int, rendezvous_servers: Sequence[str]) -> "Deferred[None]":
        """Stores what clients are told, unless something with a higher serial is stored."""

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

    def save(self, records: Sequence[PeerRecord]) -> "Deferred[None]":
        """See IPeerStore; one transaction."""
        rows = [(r.id, r.uuid, r.pk, _info(r.host)) for r in records]
        saved: Deferred[None] = self._pool.runInteraction(_save, rows)
        return saved

    def rename(self, old_id: str, new_id: str, uuid: bytes) -> "Deferred[bool]":
        """See IPeerStore."""
        renamed: Deferred[bool] = self._pool.runInteraction(_rename, old_id, new_id, uuid)
        return renamed

    def save_client_settings(self, serial: int, rendezvous_servers: Sequence[str]) -> "Deferred[None]":
        """See IPeerStore."""
        servers = json.dumps(list(rendezvous_servers))
        saved: Deferred[None] = self._pool.runInteraction(_save_client_settings, serial, servers)
        return saved

    def close(self) -> "Deferred[None]":
        """See IPeerStore; what was asked for before is done first, since there is one thread."""
        done: Deferred[None] = self._pool.runInteraction(lambda _: None)
        return done.addBoth(lambda _: self._pool.close())


class Stored(NamedTuple):
    """What a database held at start: the number of peers, and what clients were told last."""

    peers: int
    serial: int
    rendezvous_servers: tuple[str, ...]


def prepare(path: Path) -> Stored:
    """Makes the database at `path` ready, or makes a new one; returns what it holds.

    Blocks: it is for the time before the reactor runs. Replaces nothing that is there. Raises StoreError.
    """
    if not path.parent.is_dir():
        raise StoreError(f"db-url: there is no folder {str(path.parent)!r}; make it, or name another file.")
    try:
        connection = sqlite3.connect(path, timeout=_BUSY)
        try:
            return _prepare(connection)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreError(
            f"db-url: {str(path)!r} can't be used: {error}. It takes a sound SQLite file that this user may "
            "write and no other process has locked; restore it from a backup, or name another file."
        ) from None


def _prepare(connection: sqlite3.Connection) -> Stored:
    found = connection.execute("pragma quick_check(1)").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(f"it is damaged ({' '.join(found.split())})")
    _check_schema(connection)
    _configure(connection)
    for script in _SCHEMA:
        connection.executescript(files("rendezvous.peers").joinpath("schema", script).read_text("utf-8"))
    connection.execute("begin immediate")
    connection.rollback()
    peers = connection.execute("select count(*) from peer").fetchone()[0]
    told = connection.execute("select serial, rendezvous_servers from client_settings").fetchone()
    return Stored(peers, told[0], tuple(json.loads(told[1]))) if told else Stored(peers, 0, ())


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
        "select json_group_array(json_array(id, hex(uuid), hex(pk), cast(info as text))) from peer"
        " where id in (select value from json_each(?))",
        (ids,),
    )
    rows = json.loads(transaction.fetchone()[0])
    return {id: PeerRecord(id, bytes.fromhex(uuid), bytes.fromhex(pk), _host(info)) for id, uuid, pk, info in rows}


def _save(transaction: Transaction, rows: list[tuple[str, bytes, bytes, str]]) -> None:
    transaction.executemany(
        "insert into peer (guid, id, uuid, pk, info) values (randomblob(16), ?, ?, ?, ?)"
        " on conflict (id) do update set pk = excluded.pk, info = excluded.info where uuid = excluded.uuid",
        rows,
    )


def _rename(transaction: Transaction, old_id: str, new_id: str, uuid: bytes) -> bool:
    def one(sql: str, *values: Any) -> Any:
        transaction.execute(sql, values)
        return transaction.fetchone()

    if one("select 1 from peer where id = ? and uuid = ?", old_id, uuid) is None:
        return False
    if one("select 1 from peer where id = ? and uuid <> ?", new_id, uuid) is not None:
        return False
    transaction.execute("delete from peer where id = ?", (new_id,))
    transaction.execute("update peer set id = ? where id = ?", (new_id, old_id))
    return True


def _save_client_settings(transaction: Transaction, serial: int, servers: str) -> None:
    transaction.execute(
        "insert into client_settings values (1, ?, ?) on conflict (only_row) do update set"
        " serial = excluded.serial, rendezvous_servers = excluded.rendezvous_servers"
        " where excluded.serial > serial",
        (serial, servers),
    )


def _info(host: str) -> str:
    return json.dumps({"ip": host if not host or is_ipv6(host) else f"::ffff:{host}"})


def _host(info: Any) -> str:
    """The address in a row's info, in its one spelling; empty when the row was made by others and has none."""
    try:
        return plain_host(json.loads(info)["ip"])
    except (ValueError, KeyError, TypeError):
        return ""
