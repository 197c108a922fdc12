"""A crowd beside a real server, what both told each second, and what must hold of it."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.network import LOOPBACK_SOURCES, Place
from bench.peers import fill
from bench.usage import Usage
from tests.integration.command import asked
from tests.integration.server import ROOT, ServerProcess

SECONDS = int(os.environ.get("RENDEZVOUS_LOAD_SECONDS", "60"))
PEERS = int(os.environ.get("RENDEZVOUS_LOAD_PEERS", "200000"))
DATABASE = "db_v2.sqlite3"
KINDS = ("heartbeats", "registrations", "punches", "messages")
FORGOTTEN = 300.0
"""Seconds after which the server forgets a silent peer."""
MAX_TRACKED = 1000
"""Entries of each table of rates, which are full after seconds so."""
KIB_PER_PEER, OTHER_KIB = 1.0, 3.5 * 1024
MOST_DROPPED, MOST_LATE = 0.05, 0.1
"""Parts of the datagrams and of the time beyond which a machine is too slow to tell anything."""
BEFORE_OTHERS = -10
"""The niceness of server and crowd, where it may be set: other tests have what these leave of the processors."""
MOST_STALLED = 0.05
"""The part of the registrations that may have come while the disk hung for some seconds."""
DESCRIPTORS = 150
"""What their number may differ by: of 200 punches a second some are under way at any time."""

Line = dict[str, Any]


@dataclass(frozen=True)
class Where:
    """Where server and crowd run, the address that leads to the server, and the peers' first octet."""

    server: Place = Place(None)
    crowd: Place = Place(None)
    host: str = "127.0.0.1"
    sources: int = LOOPBACK_SOURCES


@dataclass(frozen=True)
class Run:
    """One line a second with what the crowd told and the server used, and the crowd's last one."""

    lines: list[Line]
    summary: Line


def inside(place: Place) -> list[str]:
    """What a command begins with that is run there, with as many descriptors as may be had, and before others."""
    limit = ["prlimit", f"--nofile={resource.getrlimit(resource.RLIMIT_NOFILE)[1]}"]
    if not os.geteuid():
        limit += ["nice", "-n", str(BEFORE_OTHERS)]
    if place.network is None:
        return limit
    return [*limit, "nsenter", f"--net=/proc/{os.getpid()}/fd/{place.network}"]


def run(folder: Path, where: Where, seconds: int = SECONDS, peers: int = PEERS) -> Run:
    """Fill a database, start a server, let the crowd loose on it, and stop both.

    Raises AssertionError when the server's log has a traceback.
    """
    server = ServerProcess(folder, flags=("--max-tracked", str(MAX_TRACKED)))
    server.command = [*inside(where.server), *server.arguments()]
    server.data.mkdir(parents=True)
    fill(server.data / DATABASE, peers, where.sources)
    try:
        server.start()
        return _watch(server, where, seconds, peers)
    finally:
        server.stop()


def _watch(server: ServerProcess, where: Where, seconds: int, peers: int) -> Run:
    assert server.process is not None
    pid = server.process.pid
    view = server.view(where.host)
    command = [*inside(where.crowd), sys.executable, "-m", "tests.load.crowd", where.host, str(server.port)]
    command += [str(server.relay_port or server.port + 1), view.key, "--sources", str(where.sources)]
    command += ["--seconds", str(seconds), "--peers", str(peers)]
    crowd = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    lines: list[Line] = []
    try:
        assert crowd.stdout is not None
        for text in crowd.stdout:
            line: Line = json.loads(text)
            if line["done"]:
                return Run(lines, line | {"dropped": line["dropped"] + dropped(server)})
            lines.append(line | used(pid))
        raise AssertionError(f"the crowd has ended with {crowd.wait()}")
    finally:
        crowd.send_signal(signal.SIGKILL)
        crowd.communicate()


def dropped(server: ServerProcess) -> int:
    """Datagrams for which the kernel had no room, as the server had no time to take those before."""
    (status,) = asked(server, "status")
    full = [drop["count"] for drop in status["drops"] if drop["reason"] == "receive_buffer_full"]
    return sum(full)


def used(pid: int) -> Line:
    """What a process uses: MiB, seconds of CPU time, descriptors and threads."""
    process, usage = Path("/proc", str(pid)), Usage.of(pid)
    return {
        "rss": usage.resident_mib,
        "server_cpu": usage.cpu,
        "descriptors": len(list((process / "fd").iterdir())),
        "threads": len(list((process / "task").iterdir())),
    }


def check(result: Run, seconds: int = SECONDS) -> None:
    """Nothing is lost, and nothing grows but what churn adds. Raises AssertionError."""
    check_losses(result.summary)
    lines = [line for line in result.lines if line["second"] <= seconds]
    check_memory(lines)
    more = quarter(lines, "descriptors", 3) - quarter(lines, "descriptors", 1)
    assert abs(more) <= DESCRIPTORS, more
    assert quarter(lines, "threads", 3) <= quarter(lines, "threads", 1)


def check_accounts(last: Line) -> None:
    """What was not answered was dropped by the kernel, which has counted it. Raises AssertionError."""
    assert last["unanswered"] <= last["dropped"], last
    assert (last["broken"], last["unexpected"]) == (0, 0), last


def too_slow(last: Line, seconds: int = SECONDS) -> str:
    """Why a run says little of the server, as the machine had no time for it; empty when it had."""
    dropped, late = last["dropped"] / last["questions"], last["late"] / seconds
    if dropped <= MOST_DROPPED and late <= MOST_LATE:
        return ""
    return f"the machine is busy: it dropped {dropped:.1%} of the datagrams, and the crowd was late for {late:.0%}"


def check_losses(last: Line) -> None:
    """Heartbeats are lost where the kernel had no room for them, other questions never: clients repeat these.

    Where the kernel dropped nothing and the crowd had its time, nothing is slow either, but for registrations
    that a disk may hold up. Raises AssertionError.
    """
    check_accounts(last)
    assert all(last[kind]["sent"] - last[kind]["lost"] == last[kind]["answered"] > 0 for kind in KINDS), last
    assert all(last[kind]["lost"] == 0 for kind in KINDS if kind != "heartbeats"), last
    if not last["dropped"] and not last["late"]:
        for kind in KINDS:
            most = MOST_STALLED * last[kind]["sent"] if kind == "registrations" else 0
            assert last[kind]["lost"] == 0, last
            assert max(last[kind]["slow"], last[kind]["repeated"]) <= most, last


def check_memory(lines: Sequence[Line]) -> None:
    """In the second half of a run memory grows by what new peers take, and by no more. Raises AssertionError."""
    # All peers are in memory by then, and the bounded tables are full, so that a new peer takes its entry in the
    # directory and its place in the filter of known ids, until it is forgotten: 0.7 KiB were measured beside 30,000
    # peers, and beside 200,000 all growth was 1.3 KiB for each new one. A leak of 1 KiB more is too much.
    begin, end = part(lines, 5, 10), part(lines, 9, 10)
    new = held(lines, end[len(end) // 2]) - held(lines, begin[len(begin) // 2])
    grown = median_of(end, "rss") - median_of(begin, "rss")
    assert grown * 1024 <= new * KIB_PER_PEER + OTHER_KIB, (grown, new)


def held(lines: Sequence[Line], line: Line) -> int:
    """How many new peers the server has in memory at a moment, as it forgets silent ones."""
    forgotten = [
        each["registrations"]["answered"] for each in lines if each["second"] <= line["second"] - FORGOTTEN
    ]
    return int(line["registrations"]["answered"]) - max(forgotten, default=0)


def part(lines: Sequence[Line], number: int, of: int) -> Sequence[Line]:
    """The part `number`, from 0, `of` so many of a run."""
    length = len(lines) // of
    return lines[number * length : (number + 1) * length]


def median_of(lines: Sequence[Line], name: str) -> float:
    """The median of one figure."""
    return median(float(line[name]) for line in lines)


def quarter(lines: Sequence[Line], name: str, number: int) -> float:
    """The median of one figure in the quarter `number`, from 0, of a run."""
    return median_of(part(lines, number, 4), name)
