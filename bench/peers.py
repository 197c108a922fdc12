"""Peers in a server's database: known ones, put there at once, and how fast the database itself can be.

``python -m bench.peers COUNT FILE`` prints how many rows a second are committed when nothing else is to be done.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rendezvous.peers.store import prepare

FIRST_ID = 100_000_000
FIRST_NET = 16
"""Second octet of the peers' addresses, as in load.c."""
AT_ONCE = 500
_INSERT = "insert into peer (guid, id, uuid, pk, info) values (randomblob(16), ?, ?, ?, ?)"

Row = tuple[str, bytes, bytes, str]


def rows(begin: int, end: int, octet: int) -> Iterator[Row]:
    """What load.c registers, as the store keeps it."""
    for i in range(begin, end):
        number = i.to_bytes(4, "little")
        address = f"{octet}.{FIRST_NET + (i >> 16)}.{i >> 8 & 255}.{i & 255}"
        info = json.dumps({"ip": f"::ffff:{address}"})
        yield str(FIRST_ID + i), number + b"\x11" * 12, number + b"\x22" * 28, info


def fill(path: Path, count: int, octet: int) -> None:
    """Put the peers 0 to `count` into the database at `path`."""
    prepare(path)
    connection = sqlite3.connect(path)
    try:
        connection.execute("pragma synchronous = off")
        with connection:
            connection.executemany(_INSERT, rows(0, count, octet))
    finally:
        connection.close()


def commit(path: Path, count: int) -> float:
    """Seconds for `count` new rows in durable transactions of AT_ONCE rows."""
    prepare(path)
    connection = sqlite3.connect(path)
    try:
        connection.execute("pragma synchronous = full")
        batches = [list(rows(i, min(i + AT_ONCE, count), 10)) for i in range(0, count, AT_ONCE)]
        start = time.monotonic()
        for batch in batches:
            with connection:
                connection.executemany(_INSERT, batch)
        return time.monotonic() - start
    finally:
        connection.close()


if __name__ == "__main__":
    wanted = int(sys.argv[1])
    took = commit(Path(sys.argv[2]), wanted)
    print(json.dumps({"load": "commit", "per_s": round(wanted / took), "seconds": round(took, 3), "lost": 0}))
