"""What administrators read and send: rows that others have made, peers to import, calls of the API."""

from __future__ import annotations

import atexit
import json
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from rendezvous.accepting import AcceptPolicy, Proxies
from rendezvous.admin.api import resource
from rendezvous.admin.audit import By
from rendezvous.admin.operations import Operations
from rendezvous.admin.peer_rows import peer_info, peer_row, stored_peer
from rendezvous.admin.values import NotPossible, PeerRow
from rendezvous.admission import Admission
from rendezvous.identity import Identity
from rendezvous.metrics import Drops
from rendezvous.peers import browsing
from rendezvous.peers.browsing import SORTS, Page, StoredPeer
from rendezvous.peers.store import prepare
from rendezvous.web.channel import WebFactory
from tests.admin.threads import Threads
from tests.hbbr.memory import MemoryReactor
from tests.hbbs.server import Server
from tests.hostile.targets import Source, Target, as_text, pieces
from tests.hostile.targets.rows import of_kind, value
from tests.hostile.targets.streams import without_tracebacks
from tests.hostile.targets.texts import check_sentence

_FOLDER = Path(tempfile.mkdtemp(prefix="rendezvous-fuzz-"))
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
_INSERT = "insert into peer (guid, id, uuid, pk, created_at, info) values (?, ?, ?, ?, ?, ?)"
_SORTS = tuple(SORTS)


@cache
def _database() -> sqlite3.Connection:
    path = _FOLDER / "db_v2.sqlite3"
    prepare(path)
    return sqlite3.connect(path)


def stored_rows(data: bytes) -> None:
    """Rows of any types are listed, counted and exported, and can be imported or are refused in one sentence."""
    source, database = Source(data), _database()
    database.execute("delete from peer")
    database.execute("delete from seen")
    ids = []
    for number in range(source.byte() % 4 + 1):
        id = as_text(source.piece()).replace("\0", "")
        row = (bytes([number]), id, value(source), value(source), value(source), value(source))
        try:
            database.execute(_INSERT, row)
            ids.append(id)
            database.execute("insert into seen values (?, ?)", (id, value(source)))
        except sqlite3.IntegrityError:
            continue
    page = Page(as_text(source.piece()), _SORTS[source.byte() % len(_SORTS)], bool(source.byte() % 2))
    found = browsing.read_peers(database, ids)
    assert found.keys() == set(ids)
    for peer in found.values():
        _check_shown(peer)
    total, peers = browsing.read_page(database, page)
    assert total == len(peers) <= len(ids)
    assert {peer.id for peer in peers} == set(ids) or page.search
    gone = browsing.read_gone(database, 20_000, "", 100)
    assert set(gone) <= set(ids)
    assert 0 <= browsing.count_gone(database, 20_000) - len(gone) <= ("" in ids)  # which no page begins with


def _check_shown(peer: StoredPeer) -> None:
    row = peer_row(peer)
    assert all(isinstance(text, str) for text in vars(row).values())
    shown = peer_info(peer)
    assert (shown.id, shown.created, shown.seen) == (row.id, row.created, row.seen)
    _check_import(vars(row))


def _check_import(given: object) -> None:
    """What is taken is exported as the same that is taken again."""
    try:
        peer = stored_peer(given)
    except NotPossible as error:
        check_sentence(error)
        return
    row = peer_row(peer)
    assert peer_row(stored_peer(vars(row))) == row


def peer_files(data: bytes) -> None:
    """A line of a file with peers, whatever it is, is refused in one sentence, or is a peer."""
    try:
        given = json.loads(data)
    except (ValueError, RecursionError):
        given = dict(zip(PeerRow.__dataclass_fields__, map(as_text, data.split(b"|")), strict=False))
    _check_import(given)


class _Api:
    """The API of a server in memory, which copies no database anywhere."""

    def __init__(self) -> None:
        self.server = Server()
        self.server.registered()
        prepare(self.server.settings.database)
        operations = Operations(
            self.server.settings, Identity(None, ""), self.server.service, None, self.server.drops, Threads()
        )
        operations.peers._copy = _no_copy  # type: ignore[method-assign]
        self.reactor = MemoryReactor()
        self.admission = Admission(10, 10)
        policy = AcceptPolicy(self.admission, (), Proxies(), Drops(), self.reactor, 5.0)
        self.factory = WebFactory(
            policy, resource(operations, lambda request: By("somebody", "")), lambda head, source: None, None
        )


def _no_copy(target: Path) -> int:
    raise FileExistsError(target)


@cache
def _api() -> _Api:
    return _Api()


def control_api(data: bytes) -> None:
    """Whatever is sent to the API, what is answered is JSON and no error of the server; no connection is left."""
    source, served = Source(data), _api()
    size = source.byte() + 1
    with without_tracebacks():
        client = served.reactor.connect(served.factory, "192.0.2.1", 1 << 24)
        for piece in pieces(source.rest(), size):
            client.send(piece)
            served.reactor.settle()
        answers = client.take()
        if not client.closed:
            client.reset()
        served.reactor.settle()
    assert served.admission.connections == 0
    assert served.reactor.getDelayedCalls() == []
    for status, body in _answers(answers):
        assert status < 500
        assert not body or body[:1] not in b"{[" or json.loads(body) is not None


def _answers(sent: bytes) -> Iterator[tuple[int, bytes]]:
    """Statuses and bodies of answers that have a length."""
    while sent:
        head, _, sent = sent.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)^content-length: (\d+)", head, re.MULTILINE)
        body, sent = (sent[: int(length[1])], sent[int(length[1]) :]) if length else (sent, b"")
        yield int(head.split()[1]), body


def _call(method: str, path: str, body: object = None) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} /api/v1/{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
    return b"\xff" + head.encode() + content


_ROW = {"id": "ada", "uuid": "dQ==", "pk": "cA==", "address": "::ffff:1.2.3.4", "created": "2026-01-02 03:04:05"}

TARGETS = {
    "stored_rows": Target(
        stored_rows,
        [
            b"\x00\x03ada" + b"".join(of_kind(*each) for each in row) + b"\x01a\x02\x01"
            for row in (
                (
                    (0, b"u"),
                    (0, b"p"),
                    (4, b"2026-01-02 03:04:05"),
                    (4, b'{"ip": "::ffff:1.2.3.4"}'),
                    (1, b"\x40\x4e"),
                ),
                ((4, b"u"), (1, b"p"), (0, b"\xff"), (4, b'{"ip": []}'), (4, b"x")),
                ((0, b""), (2, b"12345678"), (2, b"12345678"), (0, b"{"), (1, b"\xff" * 8)),
            )
        ],
    ),
    "peer_files": Target(
        peer_files,
        [
            json.dumps(_ROW | {"seen": "2026-01-02"}).encode(),
            b'{"id": "ada", "uuid": "", "pk": 5}',
            b"[[]]",
            b"ada|dQ==|cA==|fe80::1%eth0|0001-01-01 00:00:00|0001-01-01",
            b"ada|dQ==||1.2.3.4|9999-12-31 23:59:59|9999-12-31",
        ],
    ),
    "control_api": Target(
        control_api,
        [
            _call("GET", "status").replace(b"Host: x", b"Host: \xdf"),
            _call("GET", "status").replace(b"Host: x", b"Host: a b/"),
            _call("GET", "status") + _call("GET", "settings")[1:],
            _call("GET", "peers?search=%25&sort=seen&limit=5&offset=0&online=1&descending=1"),
            _call("GET", "peers/export?after=a&limit=10"),
            _call("GET", "peer?id=987654321"),
            _call("POST", "peers/import", {"peers": [_ROW]}),
            _call("POST", "peers/delete", {"ids": ["ada", "\0"]}),
            _call("POST", "peers/purge", {"days": 30, "dry_run": True}),
            _call("POST", "backup", {"path": "/nowhere/x"}),
            _call("POST", "lists/denylist", {"entry": "192.0.2.7 why"}),
            _call("DELETE", "lists/denylist", {"entry": "192.0.2.7"}),
            _call("DELETE", "sessions/1"),
        ],
    ),
}
