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
from tests.integration.server import ROOT, ServerProcess

SECONDS = int(os.environ.get("RENDEZVOUS_LOAD_SECONDS", "60"))
PEERS = int(os.environ.get("RENDEZVOUS_LOAD_PEERS", "200000"))
DATABASE = "db_v2.sqlite3"
KINDS = ("heartbeats", "registrations", "punches", "messages")
CHURN = 0.05 / 60
"""Part of the peers that is replaced in a second."""
FORGOTTEN = 300.0
"""Seconds after which the server forgets a silent peer."""
KIB_PER_PEER, OTHER_KIB = 2.0, 8 * 1024
HEARTBEATS_LOST = 1e-4
"""Part of the datagrams that a busy machine may drop; a peer stays online with every second one answered."""
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
    """What a command begins with that is run there, with as many descriptors as may be had."""
    limit = ["prlimit", f"--nofile={resource.getrlimit(resource.RLIMIT_NOFILE)[1]}"]
    if place.network is None:
        return limit
    return [*limit, "nsenter", f"--net=/proc/{os.getpid()}/fd/{place.network}"]


def run(folder: Path, where: Where, seconds: int = SECONDS, peers: int = PEERS) -> Run:
    """Fill a database, start a server, let the crowd loose on it, and stop both.

    Raises AssertionError when the server's log has a traceback.
    """
    server = ServerProcess(folder)
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
                return Run(lines, line)
            lines.append(line | used(pid))
        raise AssertionError(f"the crowd has ended with {crowd.wait()}")
    finally:
        crowd.send_signal(signal.SIGKILL)
        crowd.communicate()


def used(pid: int) -> Line:
    """What a process uses: MiB, seconds of CPU time, descriptors and threads."""
    process, usage = Path("/proc", str(pid)), Usage.of(pid)
    return {
        "rss": usage.resident_mib,
        "server_cpu": usage.cpu,
        "descriptors": len(list((process / "fd").iterdir())),
        "threads": len(list((process / "task").iterdir())),
    }


def check(result: Run, seconds: int = SECONDS, peers: int = PEERS) -> None:
    """Nothing is lost, and nothing grows but what churn adds. Raises AssertionError."""
    last = result.summary
    allowed = dict.fromkeys(KINDS, 0) | {"heartbeats": int(last["heartbeats"]["sent"] * HEARTBEATS_LOST)}
    assert all(last[kind]["lost"] <= allowed[kind] for kind in KINDS), last
    assert all(last[kind]["sent"] - last[kind]["lost"] == last[kind]["answered"] > 0 for kind in KINDS), last
    assert (last["broken"], last["unexpected"]) == (0, 0), last
    lines = [line for line in result.lines if line["second"] <= seconds]
    # The middles of the two quarters are half a run apart. A new peer costs its entry until it is forgotten, and
    # those of its id and address in the rates' bounded tables: measured, all growth of a run was 1.8 KiB for each.
    new = peers * CHURN * min(seconds / 2, FORGOTTEN)
    grown = quarter(lines, "rss", 3) - quarter(lines, "rss", 1)
    assert grown * 1024 <= new * KIB_PER_PEER + OTHER_KIB, grown
    more = quarter(lines, "descriptors", 3) - quarter(lines, "descriptors", 1)
    assert abs(more) <= DESCRIPTORS, more
    assert quarter(lines, "threads", 3) <= quarter(lines, "threads", 1)


def quarter(lines: Sequence[Line], name: str, number: int) -> float:
    """The median of one figure in the quarter `number`, from 0, of a run."""
    part = len(lines) // 4
    return median(float(line[name]) for line in lines[number * part : (number + 1) * part])
