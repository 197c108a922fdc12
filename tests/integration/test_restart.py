"""What was acknowledged outlives a kill, and a folder of an existing installation is taken over."""

from __future__ import annotations

import base64
import contextlib
import json
import random
import select
import shutil
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import Identity
from tests.client.controlling import Controlling
from tests.client.links import Server
from tests.client.udp import UdpLink
from tests.integration.server import ServerProcess
from tests.integration.support import NewControlled, StartServer, unique_source

OK = pb.RegisterPkResponse.OK
MISMATCH = pb.RegisterPkResponse.UUID_MISMATCH
WINDOW = 50
TABLE = """
create table peer(
    guid blob primary key not null, id varchar(100) not null, uuid blob not null, pk blob not null,
    created_at datetime not null default current_timestamp, user blob, status tinyint,
    note varchar(300), info text not null
) without rowid;
create unique index index_peer_id on peer(id);
create index index_peer_user on peer(user);
create index index_peer_created_at on peer(created_at);
create index index_peer_status on peer(status);
"""


def many_peers(number: int) -> dict[str, Identity]:
    """That many peers, each at an address of its own."""
    sources = (f"127.{100 + n // 250 // 250}.{n // 250 % 250}.{n % 250 + 1}" for n in range(number))
    return {source: Identity.make(str(300_000_000 + n)) for n, source in enumerate(sources)}


class Storm:
    """Registrations from many addresses, a window of them under way at a time."""

    def __init__(self, view: Server, peers: dict[str, Identity]) -> None:
        self.view = view
        self.peers = peers
        self.acknowledged: set[str] = set()

    def run(self, until: int, on_reached: Callable[[], None] | None = None) -> None:
        """Go on until so many are acknowledged; then call, with others still under way."""
        for source_window in self._windows():
            links = {
                source: UdpLink(self.view.main, (source, 0))
                for source in source_window
                if source not in self.acknowledged
            }
            try:
                self._window(links, until)
            finally:
                if len(self.acknowledged) >= until and on_reached is not None:
                    on_reached()
                for link in links.values():
                    self._late(link)
                    link.close()
            if len(self.acknowledged) >= until:
                return

    def _windows(self) -> Iterator[list[str]]:
        sources = list(self.peers)
        for start in range(0, len(sources), WINDOW):
            yield sources[start : start + WINDOW]

    def _window(self, links: dict[str, UdpLink], until: int) -> None:
        poller = select.poll()
        by_descriptor = {link.socket.fileno(): source for source, link in links.items()}
        for descriptor in by_descriptor:
            poller.register(descriptor, select.POLLIN)
        waiting, deadline = set(links), time.monotonic() + 30
        while waiting and len(self.acknowledged) < until:
            assert time.monotonic() < deadline, f"{len(waiting)} peers got no answer"
            for source in waiting:
                links[source].send(self.peers[source].register_pk())
            again = time.monotonic() + 1
            while waiting and time.monotonic() < again and len(self.acknowledged) < until:
                for descriptor, _ in poller.poll(100):
                    source = by_descriptor[descriptor]
                    self._take(source, links[source])
                    waiting.discard(source)
                    if len(self.acknowledged) >= until:
                        break

    def _take(self, source: str, link: UdpLink) -> None:
        answer = link.receive(1)
        assert answer.register_pk_response.result == OK
        self.acknowledged.add(source)

    def _late(self, link: UdpLink) -> None:
        """Answers that were sent before the end count as well."""
        with contextlib.suppress(TimeoutError):
            if link.receive(0).register_pk_response.result == OK:
                self.acknowledged.add(link.local[0])


def key_wanted(view: Server, source: str, identity: Identity) -> bool:
    """Whether the server asks a peer at an address for its key."""
    with UdpLink(view.main, (source, 0)) as udp:
        answer = udp.ask(identity.register_peer(serial=1000))
        assert answer.WhichOneof("union") == "register_peer_response"
        return answer.register_peer_response.request_pk


def rows(data: Path) -> dict[str, tuple[bytes, bytes, str]]:
    """id to uuid, key and address of every row in the database."""
    with contextlib.closing(sqlite3.connect(data / "db_v2.sqlite3")) as connection:
        found = connection.execute("select id, uuid, pk, info from peer").fetchall()
    return {row[0]: (row[1], row[2], json.loads(row[3])["ip"]) for row in found}


@pytest.mark.parametrize("moment", [random.Random(3).randrange(100, 400), 501, 777])
def test_killed_in_the_middle_of_registrations(start_server: StartServer, moment: int) -> None:
    """After SIGKILL every acknowledged peer is on disk, known, and not asked for its key again."""
    server = start_server()
    storm = Storm(server.view(), many_peers(1000))
    storm.run(moment, on_reached=server.kill)
    assert server.process is None
    assert moment <= len(storm.acknowledged) < 1000
    server.start()
    stored = rows(server.data)
    for source in storm.acknowledged:
        peer = storm.peers[source]
        assert stored[peer.id][:2] == (peer.uuid, peer.pk)
        assert not key_wanted(server.view(), source, peer)
    storm.run(1000)
    assert len(rows(server.data)) == 1000


def test_after_a_clean_restart(start_server: StartServer, new_controlled: NewControlled) -> None:
    """Keys, ids and peers are the same; a peer that says hello is reachable at once."""
    server = start_server()
    source, peer = unique_source(), Identity.make()
    with UdpLink(server.view().main, (source, 0)) as udp:
        assert udp.ask(peer.register_pk()).register_pk_response.result == OK
    before = server.view()
    server.restart()
    assert server.view() == before
    assert not key_wanted(server.view(), source, peer)
    assert Controlling(server.view()).online([peer.id]) == [True]


class Installation:
    """A data folder as the other server leaves it, copied while its database is open."""

    def __init__(self, folder: Path) -> None:
        self.key = SigningKey.generate()
        self.peers: dict[str, Identity] = {}
        live = folder / "live"
        live.mkdir()
        connection = sqlite3.connect(live / "db_v2.sqlite3", isolation_level=None)
        with contextlib.closing(connection):
            connection.execute("pragma journal_mode=wal")
            connection.execute("pragma wal_autocheckpoint=0")
            connection.executescript(TABLE)
            for number in range(200):
                ip = f"127.66.0.{number + 1}"
                self._add(connection, Identity.make(), ip, mapped=number % 2 == 0)
            self.folder = folder / "copied"
            shutil.copytree(live, self.folder / "data")
        assert (self.folder / "data" / "db_v2.sqlite3-wal").stat().st_size > 4096
        self._write_keys(self.folder / "data")

    def _add(self, to: sqlite3.Connection, peer: Identity, ip: str, mapped: bool) -> None:
        info = json.dumps({"ip": f"::ffff:{ip}" if mapped else ip})
        to.execute(
            "insert into peer(guid, id, uuid, pk, info) values(?, ?, ?, ?, ?)",
            (uuid.uuid4().bytes, peer.id, peer.uuid, peer.pk, info),
        )
        self.peers[ip] = peer

    def _write_keys(self, data: Path) -> None:
        public = bytes(self.key.verify_key)
        secret = base64.b64encode(bytes(self.key) + public)
        (data / "id_ed25519").write_bytes(secret)
        (data / "id_ed25519").chmod(0o600)
        (data / "id_ed25519.pub").write_bytes(base64.b64encode(public))


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    """A folder to be taken over."""
    return Installation(tmp_path)


@pytest.fixture
def taken_over(installation: Installation, start_server: StartServer) -> ServerProcess:
    """A server that has been started in that folder."""
    return start_server(folder=installation.folder)


def test_existing_peers_are_known(installation: Installation, taken_over: ServerProcess) -> None:
    """Rows that stood in the log only are there, whatever the spelling of their address."""
    view = taken_over.view()
    assert view.public_key == bytes(installation.key.verify_key)
    for ip, peer in installation.peers.items():
        assert not key_wanted(view, ip, peer)
    assert key_wanted(view, unique_source(), Identity.make())
    ids = [peer.id for peer in installation.peers.values()]
    assert Controlling(view).online(ids) == [True] * len(ids)


def test_existing_rows_keep_their_rules(installation: Installation, taken_over: ServerProcess) -> None:
    """Another uuid is refused; a new key from the same address, in either spelling, is taken."""
    view = taken_over.view()
    for ip, peer in list(installation.peers.items())[:4]:
        other_key = Identity(peer.id, peer.uuid, b"\7" * 32)
        with UdpLink(view.main, (unique_source(), 0)) as udp:
            stranger = Identity.make(peer.id)
            assert udp.ask(stranger.register_pk()).register_pk_response.result == MISMATCH
            assert udp.ask(other_key.register_pk()).register_pk_response.result == MISMATCH
        with UdpLink(view.main, (ip, 0)) as udp:
            assert udp.ask(other_key.register_pk()).register_pk_response.result == OK


def test_existing_peers_are_reached(
    installation: Installation, taken_over: ServerProcess, new_controlled: NewControlled
) -> None:
    """A peer of the old installation goes on as if nothing had happened."""
    ip, identity = next(iter(installation.peers.items()))
    peer = new_controlled(taken_over.view(), identity=identity, source=ip)
    asker = Controlling(taken_over.view(), source=unique_source())
    with asker.connect(peer.id) as session:
        assert session.pk == identity.pk
        assert session.round_trip(b"hello") == b"hello"


def test_folder_can_be_given_back(installation: Installation, taken_over: ServerProcess) -> None:
    """All rows are still there, and a new one spells its address as the other server does."""
    source, added = unique_source(), Identity.make()
    with UdpLink(taken_over.view().main, (source, 0)) as udp:
        assert udp.ask(added.register_pk()).register_pk_response.result == OK
    data = taken_over.data
    taken_over.stop()
    stored = rows(data)
    assert stored[added.id] == (added.uuid, added.pk, f"::ffff:{source}")
    for peer in installation.peers.values():
        assert stored[peer.id][:2] == (peer.uuid, peer.pk)
    with contextlib.closing(sqlite3.connect(data / "db_v2.sqlite3")) as connection:
        insert = "insert into peer(guid, id, uuid, pk, info) values(?, ?, ?, ?, ?)"
        connection.execute(insert, (uuid.uuid4().bytes, "another", b"u", b"p", '{"ip":""}'))
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
