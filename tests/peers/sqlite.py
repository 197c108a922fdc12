"""Real databases for tests: as another program makes and reads them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest_twisted  # type: ignore[import-untyped]

F = TypeVar("F", bound=Callable[..., Any])

on_reactor = cast("Callable[[F], F]", pytest_twisted.ensureDeferred)
"""Marks a test that is a coroutine and needs the running reactor."""

RUST_TABLE = """
create table peer (
    guid blob primary key not null,
    id varchar(100) not null,
    uuid blob not null,
    pk blob not null,
    created_at datetime not null default(current_timestamp),
    user blob,
    status tinyint,
    note varchar(300),
    info text not null
) without rowid;
create unique index index_peer_id on peer (id);
create index index_peer_user on peer (user);
create index index_peer_created_at on peer (created_at);
create index index_peer_status on peer (status);
"""


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of another program; what it did is committed at the end."""
    with closing(sqlite3.connect(path)) as connection:
        yield connection
        connection.commit()


def rows(path: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """What `sql` selects in the database at `path`."""
    with opened(path) as connection:
        return connection.execute(sql, values).fetchall()


def make_rust_database(path: Path, *peers: tuple[str, object, object, object]) -> None:
    """A database as the Rust server leaves it, with `peers` of id, uuid, pk and info."""
    with opened(path) as connection:
        connection.execute("pragma journal_mode = wal")
        connection.executescript(RUST_TABLE)
        for number, peer in enumerate(peers):
            connection.execute(
                "insert into peer (guid, id, uuid, pk, info) values (?, ?, ?, ?, ?)",
                (number.to_bytes(16, "big"), *peer),
            )
