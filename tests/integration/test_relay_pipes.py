"""A relay that is not root and whose user has as many pipes as the kernel gives: it copies, and splices again."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random

import pytest

from tests.client.links import PlainLink, Server
from tests.client.threads import wait_until
from tests.hbbr.driven import bytes_in
from tests.integration.duplex import dial
from tests.integration.server import ROOT, ServerProcess
from tests.integration.support import StartServer

USER = str(60_000 + os.getpid() % 4000)
"""A user of this run's own, since the limit is one of all processes of a user."""
AS_USER = ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups"]
SOFT_LIMIT = Path("/proc/sys/fs/pipe-user-pages-soft")
BLOCK = Random(9).randbytes(1 << 20)
MEBIBYTES = 30
SESSIONS = 200
BURST = 70_000
HOLD = """
import fcntl, os, sys
pages = int(sys.argv[1])
kept = []
while pages > 0:
    kept.append(os.pipe())
    try:
        size = fcntl.fcntl(kept[-1][1], fcntl.F_SETPIPE_SZ, 1 << 20)
    except OSError:
        size = fcntl.fcntl(kept[-1][1], fcntl.F_GETPIPE_SZ)
    pages -= size // 4096
print(fcntl.fcntl(os.pipe()[1], fcntl.F_GETPIPE_SZ), flush=True)
sys.stdin.read()
"""
"""Takes all pages for pipes that its user may have, and tells how large one more pipe is."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of the other user's; pytest's own folders are root's alone."""
    if os.geteuid():
        pytest.skip("only root can be another user")
    if not shutil.which("setpriv"):
        pytest.skip("setpriv is not installed")
    if not SOFT_LIMIT.exists() or SOFT_LIMIT.read_text().strip() == "0":
        pytest.skip("users have no limit of pipes here")
    can_import = [*AS_USER, sys.executable, "-c", "import rendezvous.tap"]
    if subprocess.run(can_import, cwd="/", capture_output=True, check=False).returncode:
        pytest.skip(f"another user can't read {ROOT}")
    with tempfile.TemporaryDirectory() as name:
        made = Path(name)
        (made / "data").mkdir()
        for path in (made, made / "data"):
            os.chown(path, int(USER), int(USER))
        yield made


@contextmanager
def pipes_exhausted() -> Iterator[int]:
    """The user has no more pages for pipes; the size of a pipe it opens now."""
    command = [*AS_USER, sys.executable, "-c", HOLD, SOFT_LIMIT.read_text().strip()]
    with subprocess.Popen(command, cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        try:
            yield int(holder.stdout.readline())
        finally:
            holder.kill()


def pipes_of(server: ServerProcess) -> int:
    """How many ends of pipes the server has open."""
    assert server.process is not None
    descriptors = Path(f"/proc/{server.process.pid}/fd")
    return sum(os.readlink(link).startswith("pipe:") for link in descriptors.iterdir())


@contextmanager
def session(view: Server) -> Iterator[tuple[PlainLink, PlainLink]]:
    """Two joined sides."""
    relay_uuid = str(uuid.uuid4())
    with dial("tcp", view.relay, relay_uuid) as one, dial("tcp", view.relay, relay_uuid) as other:
        assert isinstance(one, PlainLink)
        assert isinstance(other, PlainLink)
        yield one, other


def send(link: PlainLink) -> str:
    """Sends bulk; its checksum."""
    total = hashlib.sha256()
    for number in range(MEBIBYTES):
        data = BLOCK[number:] + BLOCK[:number]
        total.update(data)
        link.send_raw(data)
    return total.hexdigest()


def receive(link: PlainLink) -> str:
    """The checksum of the bulk that comes."""
    total, left = hashlib.sha256(), MEBIBYTES << 20
    while left:
        data = link.receive_raw(30)
        assert data, f"the stream ended with {left} bytes missing"
        total.update(data)
        left -= len(data)
    return total.hexdigest()


def pass_both_ways(one: PlainLink, other: PlainLink) -> None:
    """Bulk passes both ways at once, whole."""
    with ThreadPoolExecutor(3) as pool:
        sent = [pool.submit(send, link) for link in (one, other)]
        there = pool.submit(receive, other)
        assert receive(one) == sent[1].result(60)
        assert there.result(60) == sent[0].result(60)


def test_bulk_passes_where_pipes_are_small(start_server: StartServer, folder: Path) -> None:
    """With no pages for pipes left bulk is copied, whole; when there are some again, new sessions are spliced."""
    server = start_server("-k", "", part="hbbr", folder=folder, ready=False)
    server.command = [*AS_USER, *server.arguments()]
    server.start()
    with session(server.view()) as (one, other):  # whose bytes tell that the reactor runs, with pipes of its own
        one.send_raw(b"x")
        assert other.receive_raw() == b"x"
        at_rest = pipes_of(server)
    with pipes_exhausted() as size:
        assert size == 8192
        with session(server.view()) as (one, other):
            pass_both_ways(one, other)
            assert pipes_of(server) == at_rest
    with session(server.view()) as (one, other):
        pass_both_ways(one, other)
        assert at_rest < pipes_of(server) <= at_rest + 4
    wait_until(lambda: pipes_of(server) == at_rest, 20, "the pipes are closed")


def test_idle_sessions_leave_pipes_to_busy_ones(start_server: StartServer, folder: Path) -> None:
    """Two hundred sessions that each had a burst keep no pipe, so that the next busy one is spliced."""
    server = start_server("-k", "", part="hbbr", folder=folder, ready=False)
    server.command = [*AS_USER, *server.arguments()]
    server.start()
    with ExitStack() as sessions:
        for _ in range(SESSIONS):
            one, other = sessions.enter_context(session(server.view()))
            for sender, reader in ((one, other), (other, one)):
                sender.send_raw(BLOCK[:BURST])
                left = BURST
                while left:
                    left -= len(reader.receive_raw())
        assert most_in_a_pipe(server) == 0
        one, other = sessions.enter_context(session(server.view()))
        sending = threading.Thread(target=send, args=(one,))
        sending.start()
        wait_until(lambda: most_in_a_pipe(server) > BURST, 20, "bulk that nobody takes waits in a pipe")
        receive(other)
        sending.join()


def most_in_a_pipe(server: ServerProcess) -> int:
    """How many bytes wait in the fullest pipe of the server."""
    assert server.process is not None
    most = 0
    for link in Path(f"/proc/{server.process.pid}/fd").iterdir():
        if os.readlink(link).startswith("pipe:"):
            with open(
                link, "rb", buffering=0, opener=lambda path, _: os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            ) as pipe:
                most = max(most, bytes_in(pipe.fileno()))
    return most
