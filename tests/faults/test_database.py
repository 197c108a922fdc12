"""The database is locked or damaged: one sentence at start, SERVER_ERROR at run time, nothing overwritten."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from time import monotonic

import pytest

from rendezvous.peers.store import StoreError, prepare
from tests.client.udp import UdpLink
from tests.evidence import Evidence
from tests.faults.conftest import NewLife, Serve
from tests.faults.databases import NAME, assert_stored, ids_in
from tests.faults.storm import OK, SERVER_ERROR, Storm, new_peer
from tests.faults.test_killed import RUNS
from tests.integration.server import free_port, run_to_end, twistd
from tests.peers.sqlite import make_rust_database

TWISTD = [*twistd(), "-n", "--pidfile=", "rendezvous"]
REFUSED = "A database that is damaged, empty, locked or something else is refused in one sentence and not touched"
PAGE = 4096
PATIENCE = 10.0
"""Seconds within which a locked database is given up; the server waits for 5."""


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a database, without the shared memory of those who look at it."""
    return {file.name: file.read_bytes() for file in folder.glob(f"*{NAME}*") if not file.name.endswith("-shm")}


def assert_refused(folder: Path, word: str) -> None:
    """The server ends with one sentence that has the word and says what to do."""
    ended = run_to_end(TWISTD, folder, {"PORT": str(free_port())})
    assert ended.code == 1, ended.output
    (sentence,) = ended.statements
    assert sentence.startswith("db-url: ")
    assert word in sentence
    assert "restore" in sentence


def assert_refused_untouched(folder: Path, word: str) -> None:
    """The same, and the files are as they were."""
    before = contents(folder)
    assert_refused(folder, word)
    assert contents(folder) == before


# Locked ------------------------------------------------------------------------------------------


def test_locked_while_it_runs(serve: Serve, new_life: NewLife, evidence: Evidence) -> None:
    """Registrations wait for a while, then hear SERVER_ERROR; everything else goes on; then all is as before."""
    server = serve()
    view = server.view()
    life = new_life(view)
    peer, begin = new_peer(), monotonic()
    with UdpLink(view.main) as udp:
        with closing(sqlite3.connect(server.data / NAME)) as other:
            other.execute("begin exclusive")
            udp.send(peer.register_pk())
            life.goes_on()
            life.goes_on()
            assert udp.receive(PATIENCE).register_pk_response.result == SERVER_ERROR
            waited = monotonic() - begin
            assert peer.id not in ids_in(server.data)
        assert udp.ask(peer.register_pk()).register_pk_response.result == OK
    life.goes_on()
    assert_stored(server.data, [peer])
    evidence("A database that another process locks is waited for, but not for long", f"{waited:.0f} s")


@pytest.mark.parametrize("mode", ["immediate", "exclusive"])
def test_locked_at_start(tmp_path: Path, evidence: Evidence, mode: str) -> None:
    """The start waits for a while, then says that the database is locked."""
    make_rust_database(tmp_path / NAME, ("peer", b"uuid", b"key", "{}"))
    with closing(sqlite3.connect(tmp_path / NAME)) as other:
        if mode == "exclusive":
            other.execute("pragma locking_mode = exclusive")
        other.execute(f"begin {mode}")
        assert_refused(tmp_path, "locked")
    assert len(ids_in(tmp_path)) == 1
    evidence(REFUSED, databases=1)


# Damaged -----------------------------------------------------------------------------------------


def page_overwritten(path: Path) -> None:
    """One of its pages has random bytes."""
    content = bytearray(path.read_bytes())
    content[5 * PAGE : 6 * PAGE] = os.urandom(PAGE)
    path.write_bytes(content)


def truncated(path: Path) -> None:
    """Its second half is gone."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def no_database(path: Path) -> None:
    """It is another kind of file."""
    path.write_bytes(b"this is no database " * 1000)


def empty(path: Path) -> None:
    """Nothing is in it."""
    path.write_bytes(b"")


def another_schema(path: Path) -> None:
    """It is another program's."""
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table peer (id text, name text)")


def only_its_log(path: Path) -> None:
    """The database itself is gone, but not what was to be written into it."""
    path.unlink()
    path.with_name(f"{NAME}-wal").write_bytes(b"log" * 1000)


DAMAGES: dict[Callable[[Path], None], str] = {
    page_overwritten: "damaged",
    truncated: "damaged",
    no_database: "not a database",
    empty: "is empty",
    another_schema: "peer table",
    only_its_log: "-wal' is there",
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with some pages."""
    path = tmp_path_factory.mktemp("sound") / NAME
    make_rust_database(path, *((f"peer-{number}", b"uuid", os.urandom(32), "{}") for number in range(600)))
    return path


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damaged_at_start(sound: Path, tmp_path: Path, evidence: Evidence, damage: Callable[[Path], None]) -> None:
    """The start says what is wrong and what to do."""
    shutil.copy(sound, tmp_path)
    damage(tmp_path / NAME)
    assert_refused_untouched(tmp_path, DAMAGES[damage])
    evidence(REFUSED, databases=1)


def test_any_page_overwritten(sound: Path, tmp_path: Path, evidence: Evidence) -> None:
    """Whichever page has random bytes, the database is refused and left as it is."""
    dice = random.Random(RUNS)
    whole, tries = sound.read_bytes(), RUNS * 5
    for _ in range(tries):
        page = dice.randrange(len(whole) // PAGE)
        begin = page * PAGE + dice.choice([0, 0, dice.randrange(8)])
        content = bytearray(whole)
        content[begin : begin + PAGE // 2] = dice.randbytes(PAGE // 2)
        (tmp_path / NAME).write_bytes(content)
        before = contents(tmp_path)
        with pytest.raises(StoreError):
            prepare(tmp_path / NAME)
        assert contents(tmp_path) == before
    evidence(REFUSED, databases=tries)


def test_damaged_with_a_log(tmp_path: Path, evidence: Evidence) -> None:
    """A damaged database whose last registrations stand in the log only keeps both apart, for who repairs it."""
    live = tmp_path / "live"
    live.mkdir()
    with closing(sqlite3.connect(live / NAME)) as other:
        other.execute("pragma journal_mode = wal")
        make_rust_database(live / NAME, *((f"peer-{number}", b"u" * 50, b"k" * 50, "{}") for number in range(300)))
        other.execute("pragma wal_checkpoint(truncate)")
        other.execute("insert into peer (guid, id, uuid, pk, info) values (x'ff', 'late', x'01', x'02', '{}')")
        other.commit()
        for file in live.iterdir():
            shutil.copy(file, tmp_path)
    page_overwritten(tmp_path / NAME)
    assert (tmp_path / f"{NAME}-wal").stat().st_size > 0
    assert_refused_untouched(tmp_path, "damaged")
    evidence(REFUSED, databases=1)


def test_damaged_while_it_runs(serve: Serve, new_life: NewLife, evidence: Evidence) -> None:
    """What needs the damaged part hears SERVER_ERROR; known clients are served."""
    server = serve(ready=False)
    server.data.mkdir(parents=True)
    peers = ((f"peer-{number}", b"uuid", os.urandom(32), "{}") for number in range(20_000))
    make_rust_database(server.data / NAME, *peers)
    view = server.start().view()
    life = new_life(view)
    with (server.data / NAME).open("r+b") as file:
        file.seek(20 * PAGE)
        file.write(os.urandom(server.data.joinpath(NAME).stat().st_size - 20 * PAGE))
    refused = Storm(view).register(new_peer() for _ in range(50)).having(SERVER_ERROR)
    assert refused
    life.goes_on()
    evidence("A database that is damaged while the server runs stops no known client", refused=len(refused))
