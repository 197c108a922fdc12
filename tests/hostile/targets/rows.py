"""Rows of the database that another program has made."""

from __future__ import annotations

import json
import sqlite3
import struct
import tempfile
from pathlib import Path

from rendezvous.peers import store
from rendezvous.peers.store import PeerRecord, StoreError, prepare
from rendezvous.wire.address import plain_host
from tests.hostile.targets import Source, Target, as_text
from tests.peers.sqlite import RUST_TABLE

_CONNECTION = sqlite3.connect(":memory:")
_CONNECTION.executescript(RUST_TABLE)
store._configure(_CONNECTION)
_FILE = Path(tempfile.mkdtemp(prefix="rendezvous-fuzz-"), "db_v2.sqlite3")
prepare(_FILE)
_TOLD = sqlite3.connect(_FILE)

_Value = str | bytes | int | float | None


def value(source: Source) -> _Value:
    """One value of any of SQLite's types."""
    kind, content = source.byte() % 6, source.piece()
    if kind == 0:
        return content
    if kind == 1:
        return int.from_bytes(content[:8].ljust(8, b"\0"), "little", signed=True)
    if kind == 2:
        number: float = struct.unpack("<d", content[:8].ljust(8, b"\0"))[0]
        return number if number == number else None  # SQLite has no NaN
    return None if kind == 3 else as_text(content)


def peer_rows(data: bytes) -> None:
    """Rows of the peer table are read whatever their types; what clients are told is read, or a reason given."""
    source = Source(data)
    if source.byte() % 4:
        _peers(source)
    else:
        _client_settings(source)


def _peers(source: Source) -> None:
    cursor = _CONNECTION.cursor()
    cursor.execute("delete from peer")
    ids = {}
    for number in range(source.byte() % 4 + 1):
        id = as_text(source.piece()).replace("\0", "")  # SQLite's JSON ends a text there; nobody can register such
        row = (bytes([number]), id, value(source), value(source), value(source))
        try:
            cursor.execute("insert into peer (guid, id, uuid, pk, info) values (?, ?, ?, ?, ?)", row)
        except sqlite3.IntegrityError:
            continue
        ids[id] = row
    _CONNECTION.commit()
    found = store._load(cursor, json.dumps(list(ids)))  # type: ignore[arg-type]
    assert found.keys() == ids.keys()
    for id, record in found.items():
        _check_record(id, record, ids[id][2])


def _check_record(id: str, record: PeerRecord, uuid: _Value) -> None:
    assert record.id == id
    assert isinstance(record.uuid, bytes)
    assert isinstance(record.pk, bytes)
    assert not isinstance(uuid, bytes) or record.uuid == uuid
    assert record.host == "" or plain_host(record.host) == record.host


def _client_settings(source: Source) -> None:
    _TOLD.execute("delete from client_settings")
    try:
        _TOLD.execute("insert into client_settings values (1, ?, ?)", (value(source), value(source)))
    except sqlite3.IntegrityError:
        return
    finally:
        _TOLD.commit()
    try:
        stored = prepare(_FILE)
    except StoreError:
        return
    assert stored.peers == 0
    assert -(2**31) <= stored.serial < 2**31
    assert all(isinstance(name, str) for name in stored.rendezvous_servers)


def _row(id: bytes, *values: bytes) -> bytes:
    """A seed of one peer whose values are blobs and texts."""
    return b"\x01\x00" + b"".join(bytes([len(v)]) + v for v in [id]) + b"".join(values)


def of_kind(kind: int, content: bytes) -> bytes:
    return bytes([kind, len(content)]) + content


TARGETS = {
    "peer_rows": Target(
        peer_rows,
        [
            _row(b"123456789", of_kind(0, b"uuid"), of_kind(0, bytes(32)), of_kind(4, b'{"ip": "192.0.2.1"}')),
            _row(b"123456789", of_kind(4, b"text"), of_kind(1, b"\x07"), of_kind(4, b'{"ip": [":"]}')),
            _row(b"123456789", of_kind(2, b"12345678"), of_kind(0, b""), of_kind(4, b"[" * 200)),
            _row(b"", of_kind(0, b"u"), of_kind(0, b"p"), of_kind(0, b"\xff\x00{")),
            b"\x00" + of_kind(1, b"\x05") + of_kind(4, b'["a.example"]'),
            b"\x00" + of_kind(4, b"x") + of_kind(4, b'{"a": 5}'),
            b"\x00" + of_kind(1, b"\xff" * 8) + of_kind(4, b"[5]"),
        ],
    )
}
