"""The disk is full, read-only or broken: what can't be stored is refused, everything else goes on."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from time import monotonic

import pytest

from tests.client.controlled import Identity
from tests.client.links import Server
from tests.client.udp import UdpLink
from tests.evidence import Evidence
from tests.faults.conftest import NewLife, Serve
from tests.faults.databases import NAME, assert_stored, ids_in
from tests.faults.shim import HOLD, Shim
from tests.faults.storm import OK, SERVER_ERROR, Storm, new_peer
from tests.integration.server import run_to_end, twistd
from tests.peers.sqlite import make_rust_database
from tests.required import missing

PROMISE = "While the disk fails, new registrations are refused, known clients are served, and nothing is lost"
FAULTS = {
    "full": {"write": errno.ENOSPC, "truncate": errno.ENOSPC},
    "read-only": {"write": errno.EROFS, "truncate": errno.EROFS, "open": errno.EROFS},
    "broken write": {"write": errno.EIO},
    "broken sync": {"sync": errno.EIO},
}
MANY = 150


def some_peers(number: int = MANY) -> list[Identity]:
    """That many that nobody knows."""
    return list(islice(iter(new_peer, None), number))


@pytest.mark.parametrize("fault", FAULTS)
def test_failing_disk(serve: Serve, shim: Shim, new_life: NewLife, evidence: Evidence, fault: str) -> None:
    """While it lasts no new registration is acknowledged; after it all are, without a restart."""
    server = serve()
    view = server.view()
    before, refused = some_peers(), some_peers()
    assert len(Storm(view).register(before).having(OK)) == MANY
    life = new_life(view)
    with shim.failing(**FAULTS[fault]):
        assert len(Storm(view).register(refused).having(SERVER_ERROR)) == MANY
        life.goes_on()
    assert not {peer.id for peer in refused} & ids_in(server.data)
    server.wait_line("writing peers failed")
    assert len(Storm(view).register(refused).having(OK)) == MANY
    server.wait_line("writing peers works again")
    life.goes_on()
    server.check()
    server.kill()
    assert_stored(server.data, before + refused)
    evidence(PROMISE, refused=MANY, stored=2 * MANY)


def test_disk_that_fails_now_and_then(serve: Serve, shim: Shim, evidence: Evidence) -> None:
    """Exactly those registrations are stored that were acknowledged."""
    server = serve()
    storm = Storm(server.view())
    begin, faults = monotonic(), list(FAULTS.values())

    def over() -> bool:
        turn = int((monotonic() - begin) / 0.1)
        if turn % 2:
            shim.script(**faults[turn // 2 % len(faults)])
        else:
            shim.clear()
        return turn >= 16

    storm.run(over)
    shim.clear()
    acknowledged, refused = storm.having(OK), storm.having(SERVER_ERROR)
    assert len(acknowledged) > 50
    assert len(refused) > 50
    assert len(acknowledged) + len(refused) == len(storm.results)
    assert ids_in(server.data) == {peer.id for peer in acknowledged}
    evidence(PROMISE, refused=len(refused), stored=len(acknowledged))


def test_unreadable_disk(serve: Serve, shim: Shim, new_life: NewLife, evidence: Evidence) -> None:
    """Who must be looked up gets no answer, or SERVER_ERROR; who is known is served; then all are."""
    server = serve(ready=False)
    server.data.mkdir(parents=True)
    info = '{"ip": "::ffff:127.0.0.1"}'
    peers = [(f"stored-{number}", b"uuid", os.urandom(32), info) for number in range(20_000)]
    make_rust_database(server.data / NAME, *peers)
    view = server.start().view()
    life = new_life(view)
    with UdpLink(view.main) as udp:
        with shim.failing(read=errno.EIO):
            udp.send(Identity("stored-7777", b"", b"").register_peer())
            assert len(Storm(view).register(some_peers()).having(SERVER_ERROR)) > MANY / 2
            life.goes_on()
            with pytest.raises(TimeoutError):
                udp.receive(0)
        assert not udp.ask(Identity("stored-7777", b"", b"").register_peer()).register_peer_response.request_pk
    assert len(Storm(view).register(some_peers()).having(OK)) == MANY
    evidence(PROMISE, refused=MANY)


def test_acknowledged_after_the_sync(serve: Serve, shim: Shim, new_life: NewLife, evidence: Evidence) -> None:
    """While the disk hangs in a sync nothing new is acknowledged and everything else goes on; then all is."""
    server = serve()
    view = server.view()
    life = new_life(view)
    peer = new_peer()
    with UdpLink(view.main) as udp:
        with shim.failing(sync=HOLD):
            udp.send(peer.register_pk())
            for _ in range(3):
                life.goes_on()
            with pytest.raises(TimeoutError):
                udp.receive(0)
        assert udp.receive().register_pk_response.result == OK
    assert_stored(server.data, [peer])
    evidence("A registration is acknowledged when it is on disk; a disk that hangs holds up nobody else")


@pytest.mark.parametrize("fault", ["full", "broken sync"])
def test_stopped_while_the_disk_fails(serve: Serve, shim: Shim, evidence: Evidence, fault: str) -> None:
    """It ends, without a traceback, and the next start has everything."""
    server = serve()
    acknowledged = Storm(server.view()).register(some_peers()).having(OK)
    with shim.failing(**FAULTS[fault]):
        server.stop()
    assert_stored(server.data, acknowledged)
    server.start()
    assert_stored(server.data, acknowledged)
    evidence(PROMISE, stored=len(acknowledged))


@pytest.mark.parametrize("fault", [*FAULTS, "broken read"])
def test_start_while_the_disk_fails(shim: Shim, tmp_path: Path, evidence: Evidence, fault: str) -> None:
    """It ends with one sentence about the database, and leaves that as it was."""
    make_rust_database(tmp_path / NAME, ("peer", b"uuid", b"key", "{}"))
    before = (tmp_path / NAME).read_bytes()
    with shim.failing(**FAULTS.get(fault, {"read": errno.EIO})):
        ended = run_to_end([*twistd(), "-n", "--pidfile=", "rendezvous"], tmp_path, shim.env)
    assert ended.code == 1, ended.output
    (sentence,) = ended.statements
    assert sentence.startswith(f"db-url: '{tmp_path / NAME}' can't be used: ")
    assert (tmp_path / NAME).read_bytes() == before
    evidence("A start that can't use its database says so in one sentence and changes nothing", starts=1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        missing("only root may mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(view: Server) -> list[Identity]:
    """Register until the disk is full; those that were acknowledged."""
    storm = Storm(view)
    storm.run(lambda: len(storm.having(SERVER_ERROR)) >= MANY)
    return storm.having(OK)


def test_full_disk(serve: Serve, small_disk: Path, new_life: NewLife, evidence: Evidence) -> None:
    """A disk that is really full: known clients are served, nothing is lost, and new room is used."""
    server = serve(folder=small_disk)
    view = server.view()
    life = new_life(view)
    acknowledged = fill(view)
    life.goes_on()
    server.check()
    server.kill()
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    assert_stored(server.data, acknowledged)
    server.start()
    more = some_peers()
    assert len(Storm(view).register(more).having(OK)) == MANY
    server.kill()
    assert_stored(server.data, acknowledged + more)
    evidence(PROMISE, refused=MANY, stored=len(acknowledged))
