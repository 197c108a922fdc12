"""Where server and load meet: two network namespaces with a veth pair between them, or loopback.

The namespaces have no names. Each belongs to a process that only sleeps, and is gone with it.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.programs import BenchError

CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
SERVER_ADDRESS, CLIENT_ADDRESS = "192.0.2.1", "192.0.2.2"
SOURCES = 10
"""First octet of the clients' addresses between namespaces."""
LOOPBACK_SOURCES = 127

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Place:
    """Where a process runs: on one processor, in the network of another process."""

    cpu: int | None
    network: int | None = None
    """The descriptor of a network namespace."""

    def enter(self) -> None:
        """What a child does before it becomes another program; it ends with its parent."""
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if self.network is not None and _libc.setns(self.network, CLONE_NEWNET):
            os._exit(126)
        if self.cpu is not None:
            os.sched_setaffinity(0, {self.cpu})


@dataclass(frozen=True)
class Network:
    """How the load reaches the server, and where both run."""

    kind: str
    host: str
    sources: int
    server: Place
    load: Place
    notes: tuple[str, ...]


def processors() -> tuple[int | None, int | None, tuple[str, ...]]:
    """The processors of the server and of the load, and what is to be said about them."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        return None, None, ("Server and load share the only processor.",)
    return usable[0], usable[1], ()


def obstacle() -> str | None:
    """Why there can't be namespaces, or None."""
    if os.geteuid() != 0:
        return "not root"
    if shutil.which("ip") is None:
        return "no ip command"
    return None


@contextmanager
def network(loopback: bool) -> Iterator[Network]:
    """Namespaces where they are possible and wanted, else loopback with a note; all gone afterwards."""
    server_cpu, load_cpu, notes = processors()
    reason = "asked for" if loopback else obstacle()
    if reason is not None:
        notes += (f"Measured on loopback ({reason}).",)
        yield Network("loopback", "127.0.0.1", LOOPBACK_SOURCES, Place(server_cpu), Place(load_cpu), notes)
        return
    with ExitStack() as stack:
        _, server_net = _namespace(stack)
        load_pid, load_net = _namespace(stack)
        _connect(Place(None, server_net), Place(None, load_net), load_pid)
        yield Network(
            "veth", SERVER_ADDRESS, SOURCES, Place(server_cpu, server_net), Place(load_cpu, load_net), notes
        )


def _namespace(stack: ExitStack) -> tuple[int, int]:
    """The sleeping process of a new namespace, and a descriptor of the namespace."""

    def leave() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if _libc.unshare(CLONE_NEWNET):
            os._exit(126)

    sleeper = _spawn(["sleep", "infinity"], leave)
    stack.callback(_end, sleeper)
    own, made = (Path("/proc", str(pid), "ns/net") for pid in ("self", sleeper.pid))
    if os.readlink(own) == os.readlink(made):
        raise BenchError("There can't be a network namespace here; try --loopback.")
    descriptor = os.open(made, os.O_RDONLY)
    stack.callback(os.close, descriptor)
    return sleeper.pid, descriptor


def _spawn(command: Sequence[str], first: Callable[[], None]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, preexec_fn=first)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _connect(server: Place, load: Place, load_pid: int) -> None:
    """Join both by a veth pair; every address of the sources' network is one of the load's."""
    _ip(server, f"link add bench0 type veth peer name bench1 netns {load_pid}")
    for place, device, address in ((server, "bench0", SERVER_ADDRESS), (load, "bench1", CLIENT_ADDRESS)):
        _ip(place, "link set lo up")
        _ip(place, f"address add {address}/30 dev {device}")
        _ip(place, f"link set {device} up")
    _ip(server, f"route add {SOURCES}.0.0.0/8 via {CLIENT_ADDRESS}")
    _ip(load, f"route add local {SOURCES}.0.0.0/8 dev lo")


def _ip(place: Place, arguments: str) -> None:
    done = subprocess.run(
        ["ip", *arguments.split()], capture_output=True, text=True, timeout=20, preexec_fn=place.enter, check=False
    )
    if done.returncode:
        raise BenchError(f"ip {arguments}: {done.stderr.strip()}; try --loopback.")
