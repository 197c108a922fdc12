"""Reading the database beside the store, which goes on meanwhile: pages, searches, copies.

Everything here blocks: it is for a thread, or for a command where no server runs.
"""

import os
import sqlite3
import tempfile
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import NamedTuple

from rendezvous.wire.address import plain_host

SORTS = {"id": "p.id", "created": "p.created_at", "seen": "coalesce(s.day, 0)"}
"""What pages can be sorted by."""
_BUSY = 5.0
_IP = "case when json_valid(cast(p.info as text)) then json_extract(cast(p.info as text), '$.ip') end"
_COLUMNS = f"p.id, hex(p.uuid), hex(p.pk), {_IP}, p.created_at, s.day"
_FROM = "from peer p left join seen s on s.id = p.id"
_LAST_SEEN = (
    "max(coalesce(s.day, 0), (select day from seen_since),"
    " coalesce(cast(julianday(p.created_at) - 2440587.5 as integer), 0))"
)
"""The day on which a peer may have been online last, as far as it is known."""


class StoredPeer(NamedTuple):
    """All that is stored of one peer, besides what is unused."""

    id: str
    uuid: bytes
    pk: bytes
    host: str
    """The address of its last stored registration; empty when unknown."""
    created: str
    """UTC, as YYYY-MM-DD HH:MM:SS."""
    seen: int | None
    """The last day it was online, in days since 1970-01-01; None when that was before days were noted."""


@dataclass(frozen=True)
class Page:
    """Which peers to read: those whose id or address contains `search`, so many of them after the first ones.

    `after` is the id after which to begin, for reading all in the order of their ids. Whoever does so need not
    have them `counted` each time.
    """

    search: str = ""
    sort: str = "id"
    descending: bool = False
    limit: int = 100
    offset: int = 0
    after: str = ""
    counted: bool = True


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that only reads a database which a server may have open. Raises sqlite3.Error."""
    has_log = path.with_name(f"{path.name}-wal").exists()
    # without a log nothing is looked for beside the file, so that nothing is left there either
    with closing(_connect(path, "mode=ro" if has_log else "immutable=1")) as connection:
        yield connection


@contextmanager
def opened_beside(path: Path) -> Iterator[sqlite3.Connection]:
    """The same in the process of the store, which has it open and so a log beside it."""
    with closing(_connect(path, "mode=ro")) as connection:
        yield connection


def _connect(path: Path, how: str) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=_BUSY)
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    tables = {row[0] for row in connection.execute("select name from sqlite_schema where type = 'table'")}
    if "peer" in tables and "seen_since" not in tables:  # made by another server, or an earlier version
        connection.execute("create temp table seen (id primary key, day)")
        connection.execute("create temp table seen_since as select 0 as day")
    return connection


def read_page(connection: sqlite3.Connection, page: Page) -> tuple[int | None, list[StoredPeer]]:
    """How many peers match, None where they are not to be counted, and those on the page."""
    where, values = "where true", []
    if page.search:
        where += f" and (p.id like ? escape '\\' or (p.info like ? escape '\\' and {_IP} like ? escape '\\'))"
        values += [f"%{_escaped(page.search)}%"] * 3
    total: int | None = None
    if page.counted:
        total = connection.execute(f"select count(*) from peer p {where}", values).fetchone()[0]
    if page.after:
        where += " and p.id > ?"
        values.append(page.after)
    direction = "desc" if page.descending else "asc"
    order = f"order by {SORTS[page.sort]} {direction}" + (f", p.id {direction}" if page.sort != "id" else "")
    rows = connection.execute(
        f"select {_COLUMNS} {_FROM} {where} {order} limit ? offset ?", [*values, page.limit, page.offset]
    )
    return total, [_peer(*row) for row in rows]


def read_peers(connection: sqlite3.Connection, ids: Collection[str]) -> dict[str, StoredPeer]:
    """Those of `ids` that are stored."""
    rows = connection.execute(
        f"select {_COLUMNS} {_FROM} where p.id in (select value from json_each(?))", (dumps(list(ids)),)
    )
    return {row[0]: _peer(*row) for row in rows}


def count_gone(connection: sqlite3.Connection, before: int) -> int:
    """How many peers were last online before a day, which is in days since 1970-01-01."""
    count: int = connection.execute(f"select count(*) {_FROM} where {_LAST_SEEN} < ?", (before,)).fetchone()[0]
    return count


def read_gone(connection: sqlite3.Connection, before: int, after: str, limit: int) -> list[str]:
    """The ids of such peers, in their order, `limit` of those after an id."""
    rows = connection.execute(
        f"select p.id {_FROM} where p.id > ? and {_LAST_SEEN} < ? order by p.id limit ?", (after, before, limit)
    )
    return [row[0] for row in rows]


def copy_database(connection: sqlite3.Connection, target: Path) -> int:
    """Copies a database that may be in use to a new file, whole or not at all; returns its bytes.

    What is committed while it is copied is not in it. Raises OSError and sqlite3.Error.
    """
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(descriptor)
    try:
        with closing(sqlite3.connect(temporary)) as copy:
            connection.backup(copy)
            copy.execute("pragma journal_mode = delete")  # one file, without a log beside it
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.link(temporary, target)
    finally:
        os.unlink(temporary)
    return target.stat().st_size


def _escaped(text: str) -> str:
    for special in "\\%_":
        text = text.replace(special, f"\\{special}")
    return text


def _peer(id: str, uuid: str, pk: str, ip: object, created: object, day: int | None) -> StoredPeer:
    return StoredPeer(id, bytes.fromhex(uuid), bytes.fromhex(pk), host_in(ip), str(created), day)


def host_in(ip: object) -> str:
    """The address in a row's info, in its one spelling; empty when the row was made by others and has none."""
    try:
        return plain_host(ip)  # type: ignore[arg-type]
    except (ValueError, AttributeError, TypeError):
        return ""
