"""`rendezvous peers` and `backup` with a real server and clients, and without one."""

from __future__ import annotations

import csv
import json
import sqlite3
import threading
import time
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path

import pytest

from rendezvous.peers.store import prepare
from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import Identity
from tests.client.threads import wait_until
from tests.client.udp import UdpLink
from tests.integration.command import asked, call, refused, told
from tests.integration.server import ServerProcess
from tests.integration.support import NewControlled, StartServer, unique_source

OK = pb.RegisterPkResponse.OK
DAY = 86400


@pytest.fixture(scope="module")
def served(start_module_server: StartServer) -> ServerProcess:
    """One server for all tests that add to it."""
    return start_module_server()


def register(server: ServerProcess, *identities: Identity, source: str = "") -> None:
    """Registers over UDP; presence ends when nobody goes on."""
    for identity in identities:
        with UdpLink(server.view().main, (source or unique_source(), 0)) as link:
            assert link.ask(identity.register_pk()).register_pk_response.result == OK


def stored(path: Path, sql: str) -> list[tuple[object, ...]]:
    """What another program reads in a database."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


# List, search, show ------------------------------------------------------------------------------


def test_list_and_show(served: ServerProcess, new_controlled: NewControlled) -> None:
    """A peer is told with how and where it is online; one that is gone as offline."""
    source = unique_source()
    online = new_controlled(served.view(), "secured", source=source)
    offline = Identity.make()
    register(served, offline)
    peers = {peer["id"]: peer for peer in asked(served, "peers", "list", "--limit", "1000")["peers"]}
    mine = peers[online.identity.id]
    assert (mine["online"], mine["address"]) == ("tcp", source)
    assert mine["reached_at"].startswith(f"{source}:")
    assert mine["seen"] == time.strftime("%Y-%m-%d", time.gmtime())
    assert peers[offline.id]["online"] == "udp"
    assert asked(served, "peers", "show", online.identity.id) == mine
    text = told(served, "peers", "show", f" {online.identity.id} ")
    assert source in text
    assert mine["key"] in text
    assert "nobody" in refused(served, "peers", "show", "nobody")


def test_search_sort_and_pages(served: ServerProcess, new_controlled: NewControlled) -> None:
    """Only what matches is listed, in the order asked for, so many at a time."""
    source = unique_source()
    made = [Identity.make(f"search-{n}") for n in range(5)]
    register(served, *made, source=source)
    ids = [identity.id for identity in made]

    def found(*arguments: str) -> list[str]:
        return [peer["id"] for peer in asked(served, "peers", *arguments)["peers"]]

    assert found("search", "search-") == ids
    assert [id for id in found("search", source) if id.startswith("search-")] == ids
    assert found("search", "search-", "--descending", "--limit", "2") == ids[:-3:-1]
    assert found("search", "search-", "--limit", "2", "--offset", "2") == ids[2:4]
    assert found("search", "search-", "--online") == ids
    assert found("search", "search-", "--online", "--descending", "--offset", "1", "--limit", "1") == [ids[3]]
    with new_controlled(served.view(), "websocket", identity=Identity.make("search-x")):
        assert "search-x" in found("list", "--online", "--limit", "1000")
        assert found("search", "search-", "--online", "--sort", "online") == [*ids, "search-x"]
        assert found("search", "search-", "--online", "--sort", "online", "--descending")[0] == "search-x"
    wait_until(lambda: "search-x" not in found("list", "--online", "--limit", "1000"), 20, "a peer that is offline")
    result = call(served, "peers", "search", "search-", "--limit", "2")
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["ID", *ids[:2]]
    assert "2 of 6" in result.stderr
    assert "sort" in refused(served, "peers", "list", "--online", "--sort", "created")
    assert "it takes id, created, seen" in refused(served, "peers", "list", "--sort", "online")


def test_sort_by_address(served: ServerProcess) -> None:
    """Those that are online come in the order of the addresses where they are."""
    sources = sorted((unique_source() for _ in range(3)), key=ip_address, reverse=True)
    for number, source in enumerate(sources):
        register(served, Identity.make(f"place-{number}"), source=source)
    places = asked(served, "peers", "search", "place-", "--online", "--sort", "address")["peers"]
    assert [peer["id"] for peer in places] == ["place-2", "place-1", "place-0"]


# Delete, export, import --------------------------------------------------------------------------


def test_delete(served: ServerProcess, new_controlled: NewControlled) -> None:
    """A deleted peer is gone, unless its client is there and registers anew; nothing without an answer."""
    gone, here = Identity.make(), new_controlled(served.view(), interval=0.2, retry=0.2)
    register(served, gone)
    assert call(served, "peers", "delete", gone.id, typed="n\n").exit_code == 1
    assert asked(served, "peers", "show", gone.id)
    created = asked(served, "peers", "show", here.identity.id)["created"]
    assert told(served, "peers", "delete", gone.id, here.identity.id, "nobody", "--yes") == "2 of 3 deleted.\n"
    assert gone.id in refused(served, "peers", "show", gone.id)
    wait_until(lambda: call(served, "peers", "show", here.identity.id).exit_code == 0, 20, "a new registration")
    assert asked(served, "peers", "show", here.identity.id)["created"] >= created
    register(served, Identity(gone.id, b"another machine", gone.pk))


@pytest.mark.parametrize("form", ["csv", "json"])
def test_export_and_import(start_server: StartServer, served: ServerProcess, tmp_path: Path, form: str) -> None:
    """What is exported from one server and imported into another one is the same; what is there stays."""
    peer = Identity.make()
    register(served, peer, *(Identity.make() for _ in range(3)), Identity.make(f"taken-{form}"))
    file = tmp_path / f"peers.{form}"
    told(served, "peers", "export", str(file))
    assert str(file) in refused(served, "peers", "export", str(file))
    other = start_server()
    taken = Identity.make(f"taken-{form}")
    register(other, taken)
    total = asked(served, "peers", "list")["total"]
    assert asked(other, "peers", "import", str(file)) == {"named": total, "changed": total - 1}
    assert asked(other, "status")[0]["id_server"]["peers"] == total
    assert told(other, "peers", "import", str(file)).startswith(f"0 of {total} added")
    rows = [json.loads(told(server, "peers", "export", "--format", "json")) for server in (served, other)]
    ours, theirs = ({row["id"]: row for row in found} for found in rows)
    assert ours.pop(taken.id) != theirs.pop(taken.id)
    for row in (*ours.values(), *theirs.values()):
        row["seen"] = ""  # which is noted once a minute
    assert ours == theirs
    assert next(csv.reader([told(other, "peers", "export").splitlines()[0]])) == list(rows[0][0])
    with UdpLink(other.view().main, (unique_source(), 0)) as link:
        stranger = Identity(peer.id, b"another machine", Identity.make().pk)
        answer = link.ask(stranger.register_pk()).register_pk_response
        assert answer.result == pb.RegisterPkResponse.UUID_MISMATCH
    register(other, peer)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", "{}"),
        ("a.json", "nonsense"),
        ("a.json", "[7]"),
        ("a.json", '[{"id": "x"}]'),
        ("a.json", '[{"id": "peer-1", "uuid": "dQ==", "pk": "%"}]'),
        ("a.json", '[{"id": "peer-1", "uuid": "", "pk": "cA=="}]'),
        ("a.json", '[{"id": "peer\\n1", "uuid": "dQ==", "pk": "cA=="}]'),
        ("a.json", '[{"id": "peer-1", "uuid": "dQ==", "pk": "cA==", "address": "x"}]'),
        ("a.json", '[{"id": "peer-1", "uuid": "dQ==", "pk": "cA==", "created": "yesterday"}]'),
        ("a.csv", "id,uuid\nx,y\n"),
        ("a.csv", "id,uuid,pk\npeer-1,dQ==\n"),
        ("a.csv", "id,uuid,pk\npeer-1,dQ==,cA==,more\n"),
        ("a.csv", '"unfinished'),
    ],
)
def test_import_of_something_else(served: ServerProcess, tmp_path: Path, name: str, content: str) -> None:
    """Files that hold no peers are refused in one sentence, and nothing is added."""
    before = asked(served, "status")[0]["id_server"]["peers"]
    (tmp_path / name).write_text(content)
    result = call(served, "peers", "import", str(tmp_path / name))
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert asked(served, "status")[0]["id_server"]["peers"] == before


def test_many_peers(served: ServerProcess, tmp_path: Path) -> None:
    """Files of any length are taken, in requests of a bounded length."""
    file = tmp_path / "many.csv"
    rows = [f"many-{n:04},{'dQ' * 40},{'cA' * 40},,2020-01-02 03:04:05,2020-02-03" for n in range(2500)]
    file.write_text("\n".join(["id,uuid,pk,address,created,seen", *rows]))
    assert asked(served, "peers", "import", str(file)) == {"named": 2500, "changed": 2500}
    exported = told(served, "peers", "export").splitlines()
    assert [line for line in exported if line.startswith("many-")] == rows


# Purge -------------------------------------------------------------------------------------------


def test_purge(start_server: StartServer) -> None:
    """Who was not online for so many days is told first, and deleted with --yes; who is online stays."""
    server = start_server(ready=False)
    server.data.mkdir(parents=True)
    path = server.data / "db_v2.sqlite3"
    prepare(path)
    today = int(time.time()) // DAY
    here = Identity.make()
    seen = {"gone-1": today - 32, "gone-2": today - 31, "kept-30": today - 30, "kept-0": today}
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("update seen_since set day = 0")
        for number, (id, day) in enumerate([*seen.items(), (here.id, 1)]):
            connection.execute(
                "insert into peer (guid, id, uuid, pk, info, created_at) values (?, ?, ?, ?, '{}', '2001-02-03')",
                (bytes([number] * 16), id, here.uuid, here.pk),
            )
            connection.execute("insert into seen values (?, ?)", (id, day))
    server.start()
    register(server, here)
    dry = asked(server, "peers", "purge", "--days", "30")
    assert (dry["deleted"], dry["peers"], dry["some"]) == (False, 3, sorted([here.id, "gone-1", "gone-2"]))
    assert asked(server, "status")[0]["id_server"]["peers"] == 5
    assert "--yes" in told(server, "peers", "purge", "--days", "30")
    done = asked(server, "peers", "purge", "--days", "30", "--yes")
    assert (done["deleted"], done["peers"], done["some"]) == (True, 2, ["gone-1", "gone-2"])
    left = {peer["id"] for peer in asked(server, "peers", "list")["peers"]}
    assert left == {here.id, "kept-30", "kept-0"}
    assert told(server, "peers", "purge", "--days", "30", "--yes").startswith("0 peers")


# Backup ------------------------------------------------------------------------------------------


def test_backup_while_clients_register(start_server: StartServer, tmp_path: Path) -> None:
    """A backup that is made meanwhile holds every registration from before it, and a server starts with it."""
    server = start_server("--ids-per-address", "100000", "--registrations-per-address", "100000")
    known = [Identity.make() for _ in range(20)]
    register(server, *known)
    others: list[Identity] = []
    stop = threading.Event()

    def go_on() -> None:
        source = unique_source()
        while not stop.is_set():
            others.append(Identity.make())
            register(server, others[-1], source=source)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        wait_until(lambda: len(others) > 5, 20, "registrations")
        before = len(others) - 1
        for number in range(3):
            done = asked(server, "backup", str(tmp_path / f"backup{number}"))
            assert done["bytes"] == (tmp_path / f"backup{number}").stat().st_size
        wait_until(lambda: len(others) > before + 5, 20, "more registrations")
    finally:
        stop.set()
        thread.join()
    ids = {row[0] for row in stored(tmp_path / "backup0", "select id from peer")}
    assert ids >= {identity.id for identity in [*known, *others[:before]]}
    assert stored(tmp_path / "backup2", "pragma integrity_check") == [("ok",)]
    other = start_server()
    register(other, Identity.make("other-1"))
    assert "stop it first" in refused(other, "restore", str(tmp_path / "backup0"), "--yes")
    other.stop()
    assert call(other, "restore", str(tmp_path / "backup0"), typed="n\n").exit_code == 1
    done = asked(other, "restore", str(tmp_path / "backup0"), "--yes")
    assert done["peers"] == len(ids)
    assert stored(Path(done["kept"][0]), "select id from peer") == [("other-1",)]
    other.start()
    assert asked(other, "status")[0]["id_server"]["peers"] == len(ids)
    register(other, known[0])
    assert "no sound database" in refused(tmp_path, "restore", str(other.data / "id_ed25519"), "--yes")


def test_backup_that_cannot_be_written(served: ServerProcess, tmp_path: Path) -> None:
    """A file that is there, and a folder that is not, are told; nothing is left."""
    (tmp_path / "there").write_text("mine")
    assert "there already" in refused(served, "backup", str(tmp_path / "there"))
    assert "No such file" in refused(served, "backup", str(tmp_path / "missing" / "file"))
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["there"]


# Without a server --------------------------------------------------------------------------------


def test_without_a_server(start_server: StartServer, tmp_path: Path) -> None:
    """What only reads is done on the database, which stays as it is; the rest says that there is no server."""
    server, peer = start_server(), Identity.make("peer-1")
    register(server, peer)
    expected = json.loads(told(server, "peers", "export", "--format", "json"))
    server.stop()
    path = server.data / "db_v2.sqlite3"
    before = (path.read_bytes(), sorted(server.data.iterdir()))
    result = call(server, "peers", "list", "--json")
    assert [found["id"] for found in json.loads(result.stdout)["peers"]] == ["peer-1"]
    assert str(path) in result.stderr
    assert asked(server, "peers", "search", " eer- ")["total"] == 1
    assert asked(server, "peers", "show", "peer-1")["online"] == ""
    assert json.loads(told(server, "peers", "export", "--format", "json")) == expected
    for arguments in (
        ["peers", "delete", "peer-1", "--yes"],
        ["peers", "purge", "--days", "1", "--yes"],
        ["peers", "import", str(path)],
        ["peers", "list", "--online"],
        ["backup", str(tmp_path / "backup")],
    ):
        assert "No ID server runs" in refused(server, *arguments)
    assert "it takes id, created, seen" in refused(server, "peers", "list", "--sort", "address")
    assert (path.read_bytes(), sorted(server.data.iterdir())) == before


def test_without_anything(tmp_path: Path) -> None:
    """Without a server and a database both are said."""
    assert str(tmp_path) in refused(tmp_path, "peers", "list")
    (tmp_path / "db_v2.sqlite3").write_bytes(b"something else that is no database")
    assert call(tmp_path, "peers", "list").exit_code == 1
