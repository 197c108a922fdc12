"""What is in the databases of servers that run, or were killed."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.client.controlled import Identity

NAME = "db_v2.sqlite3"


def stored(data: Path) -> dict[str, tuple[bytes, bytes]]:
    """id -> uuid and key of all that a server which starts in this folder will find; the database must be sound.

    Looks at a copy, since opening a database changes its files.
    """
    with TemporaryDirectory() as folder:
        for file in data.glob(f"{NAME}*"):
            shutil.copy(file, folder)
        with closing(sqlite3.connect(Path(folder, NAME))) as connection:
            assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
            return {row[0]: row[1:] for row in connection.execute("select id, uuid, pk from peer")}


def ids_in(data: Path) -> set[str]:
    """The ids that are in the database of a server that runs."""
    with closing(sqlite3.connect(f"{(data / NAME).as_uri()}?mode=ro", uri=True)) as connection:
        return {row[0] for row in connection.execute("select id from peer")}


def assert_stored(data: Path, peers: Iterable[Identity]) -> None:
    """Every one of the peers is in the database."""
    found = stored(data)
    assert [peer for peer in peers if found.get(peer.id) != (peer.uuid, peer.pk)] == []
