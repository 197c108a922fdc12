"""Killed while it makes or upgrades a database: at each change of the files, one after the other."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from rendezvous.peers.store import prepare
from tests.evidence import Evidence
from tests.faults.databases import NAME, stored
from tests.faults.shim import Shim
from tests.integration.server import ROOT, environment
from tests.peers.sqlite import make_rust_database, opened, rows

SCHEMA = ROOT / "rendezvous" / "peers" / "schema"
TOLD = 5, ("a.example", "b.example")
"""Serial and servers of a ConfigUpdate."""
PEERS = tuple((f"peer-{number}", b"uuid %d" % number, b"key" * 10, '{"ip": ""}') for number in range(300))


def nothing(folder: Path) -> None:
    """There is no database yet."""


def closed(folder: Path) -> None:
    """A database of the other server, closed in order."""
    make_rust_database(folder / NAME, *PEERS)


def crashed(folder: Path) -> None:
    """The same as a crash leaves it: the rows stand in the log only."""
    live = folder.with_name("live")
    live.mkdir()
    with closing(sqlite3.connect(live / NAME)) as connection:
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma wal_autocheckpoint = 0")
        make_rust_database(live / NAME, *PEERS)
        for file in live.iterdir():
            shutil.copy(file, folder)


def rollback_journal(folder: Path) -> None:
    """A database in SQLite's other mode, as other programs may have left it."""
    make_rust_database(folder / NAME, *PEERS)
    with closing(sqlite3.connect(folder / NAME)) as connection:
        assert connection.execute("pragma journal_mode = delete").fetchone() == ("delete",)


def second_version(folder: Path) -> None:
    """Our own database before days were noted, with what clients are told."""
    closed(folder)
    with opened(folder / NAME) as connection:
        connection.executescript((SCHEMA / "upgrade-to-v2.sql").read_text("utf-8"))
        connection.execute("insert into client_settings values (1, ?, ?)", (TOLD[0], json.dumps(TOLD[1])))


def third_version(folder: Path) -> None:
    """Our own database as it is today, with what clients are told, and a day."""
    second_version(folder)
    with opened(folder / NAME) as connection:
        connection.executescript((SCHEMA / "upgrade-to-v3.sql").read_text("utf-8"))
        connection.execute("insert into seen values (?, 20000)", (PEERS[0][0],))


@pytest.mark.parametrize("original", [nothing, closed, crashed, rollback_journal, second_version, third_version])
def test_killed_at_each_change(
    original: Callable[[Path], None], shim: Shim, tmp_path: Path, evidence: Evidence
) -> None:
    """Whatever a kill leaves is prepared by the next start, and holds every row."""
    first, copies = tmp_path / "original", tmp_path / "copies"
    first.mkdir()
    copies.mkdir()
    shim.folder.mkdir()
    original(first)
    expected = len(PEERS) if (first / NAME).exists() else 0
    told = TOLD if original in (second_version, third_version) else (0, ())
    days = [(PEERS[0][0], 20000)] if original is third_version else []
    script = shim.folder / "script"
    command = [sys.executable, "-m", "tests.faults.upgrading", str(first), str(copies), str(script)]
    subprocess.run(command, cwd=ROOT, env=environment(tmp_path, shim.env), check=True)
    left = list(copies.iterdir())
    for copy in left:
        if (copy / NAME).exists() and expected:
            assert len(stored(copy)) == expected
        found = prepare(copy / NAME)
        assert (found.peers, (found.serial, found.rendezvous_servers)) == (expected, told)
        assert rows(copy / NAME, "select id, day from seen") == days
        assert [file.name for file in copy.iterdir() if not file.name.startswith(".")] == [NAME]
    assert len(left) > 10
    evidence("A database that is made or upgraded survives a kill at any change of its files", kills=len(left) - 1)
