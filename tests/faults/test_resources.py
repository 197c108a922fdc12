"""Out of descriptors, out of memory: bounded where floods would take them, and a clear end where there are none."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.client.links import Server, connected_socket
from tests.client.udp import UdpLink
from tests.evidence import Evidence
from tests.faults.conftest import NewLife, Serve
from tests.faults.databases import NAME, assert_stored
from tests.faults.storm import OK, Storm, new_peer
from tests.integration.server import ROOT, START_TIMEOUT, STOP_TIMEOUT, ServerProcess
from tests.integration.support import unique_source

MEGABYTE = 1 << 20
UNKNOWN = 5000
UNFINISHED = (60_000 << 2 | 2).to_bytes(3, "little") + bytes(59_000)
"""Most of a frame that is allowed."""
DESCRIPTORS = "Out of descriptors, known clients are served; new connections wait, and are taken when there is room"
OUT_OF_MEMORY = (
    "Out of memory, the server ends with one sentence once it has begun, and the next start has everything"
)
MEMORY = "What a flood may take of the memory is bounded"


def pid(server: ServerProcess) -> int:
    """The process of a server that runs."""
    assert server.process is not None
    return server.process.pid


def ports(view: Server) -> tuple[tuple[str, int], ...]:
    """All TCP ports."""
    return view.main, view.second, view.websocket, view.relay, view.relay_websocket


@contextmanager
def flood(view: Server, each: int, payload: bytes = b"\2") -> Iterator[int]:
    """Connections to every port that have begun something; how many there are."""
    with ExitStack() as stack:
        made = 0
        for address in ports(view) * each:
            with suppress(OSError):
                link = stack.enter_context(connected_socket(address, (unique_source(), 0)))
                link.setblocking(False)
                link.send(payload)
                made += 1
        yield made


# Descriptors -------------------------------------------------------------------------------------


def test_few_descriptors_from_the_beginning(serve: Serve, new_life: NewLife, evidence: Evidence) -> None:
    """The limits of connections are fitted to them, so that a flood does not take the last ones."""
    server = serve(ready=False)
    server.command = ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh", *server.arguments()]
    view = server.start().view()
    assert "take" in server.wait_line("descriptors, but the system gives 64")
    life = new_life(view)
    with flood(view, 30) as connections:
        life.stays()
    life.recovers()
    server.stop()
    (dropped,) = [line for line in server.lines if "dropped or refused" in line]
    assert "too_many_connections" in dropped
    evidence(DESCRIPTORS, connections=connections)


def test_no_descriptors_left(serve: Serve, new_life: NewLife, evidence: Evidence) -> None:
    """They run out while it serves, however many the limits allow: who is known is served, and others wait."""
    server = serve()
    life = new_life(server.view())
    open_now = len(os.listdir(f"/proc/{pid(server)}/fd"))
    before = resource.prlimit(pid(server), resource.RLIMIT_NOFILE)
    resource.prlimit(pid(server), resource.RLIMIT_NOFILE, (open_now + 20, before[1]))
    with flood(server.view(), 30) as connections:
        life.stays()
        assert len(os.listdir(f"/proc/{pid(server)}/fd")) <= open_now + 20
    resource.prlimit(pid(server), resource.RLIMIT_NOFILE, before)
    life.recovers()
    server.stop()
    (dropped,) = [line for line in server.lines if "dropped or refused" in line]
    assert "accept_failed" in dropped
    evidence(DESCRIPTORS, connections=connections)


# Memory ------------------------------------------------------------------------------------------


def size(server: ServerProcess, what: str) -> int:
    """`VmSize` or `VmRSS` in bytes."""
    text = Path(f"/proc/{pid(server)}/status").read_text("ascii")
    (line,) = [line for line in text.splitlines() if line.startswith(f"{what}:")]
    return int(line.split()[1]) * 1024


def allow(server: ServerProcess, more: int) -> None:
    """Let the server have so many bytes more than it has, and no more."""
    limit = size(server, "VmSize") + more
    resource.prlimit(pid(server), resource.RLIMIT_AS, (limit, limit))


def test_floods_are_bounded(serve: Serve, new_life: NewLife, evidence: Evidence) -> None:
    """Unfinished messages and unknown ids take little memory, however many there are."""
    server = serve("--max-connections=100", "--max-relay-connections=100", "--max-lookups=2000")
    view = server.view()
    life = new_life(view)
    before = size(server, "VmRSS")
    allow(server, 64 * MEGABYTE)
    with flood(view, 60, UNFINISHED) as connections, UdpLink(view.main, (unique_source(), 0)) as udp:
        for number in range(UNKNOWN):
            udp.send_to(b"\x32\x0e\x0a\x0c%012d" % number, view.main)
        life.stays()
        grown = size(server, "VmRSS") - before
    life.recovers()
    assert grown < 48 * MEGABYTE
    evidence(MEMORY, f"{grown / MEGABYTE:.0f} MB more at most", connections=connections, unknown_ids=UNKNOWN)


def test_no_memory_left(serve: Serve, evidence: Evidence) -> None:
    """It ends with one sentence, and the next start has everything that was acknowledged."""
    server = serve()
    view = server.view()
    process = server.process
    assert process is not None
    storm = Storm(view).register(new_peer() for _ in range(20))
    allow(server, MEGABYTE)
    with flood(view, 60, UNFINISHED):
        storm.run(lambda: process.poll() is not None)
    server.wait_line("There is no memory or no thread left")
    server.check()
    assert process.wait() == 1
    server.kill()
    assert_stored(server.data, storm.having(OK))
    server.start()
    more = Storm(server.view()).register(new_peer() for _ in range(20))
    assert len(more.having(OK)) == 20
    evidence(OUT_OF_MEMORY, ends=1)


@pytest.mark.parametrize("megabytes", [25, 45, 60, 65, 70, 75, 80, 90])
def test_start_without_memory(serve: Serve, tmp_path: Path, evidence: Evidence, megabytes: int) -> None:
    """A start that has too little ends in one sentence once twistd has come to us, and the next one is clean."""
    poor = ServerProcess(tmp_path / "server")
    poor.command = ["sh", "-c", f'ulimit -v {megabytes * 1024}; exec "$@"', "sh", *poor.arguments()]
    poor.launch()
    with suppress(AssertionError):
        poor.wait_line("ready", START_TIMEOUT)
        poor.stop()
    if poor.process is not None:
        assert poor.process.wait(STOP_TIMEOUT) not in (0, None)
        poor.kill()
        told = [line for line in poor.lines if "memory" in line and line.endswith((".", '."}'))]
        # Python itself may lose a MemoryError, wherever it is, and raise a SystemError in its place.
        ours = f"{ROOT}/" in poor.output.replace(f"{ROOT}/.venv/", "")
        assert not ours or "SystemError" in poor.output, poor.output
        assert len(told) == 1 or "Traceback" in poor.output, poor.output
    server = serve(folder=tmp_path / "server")
    assert (server.data / NAME).stat().st_size > 0
    evidence(OUT_OF_MEMORY, ends=1)
