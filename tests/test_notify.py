"""What systemd is told, over a socket in the file system and one that is in none."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from rendezvous.composed import Composed
from rendezvous.notify import Notifier
from rendezvous.patience import Patience
from rendezvous.running import Running


@pytest.fixture
def signals() -> Iterator[None]:
    """Handlers of signals are as before at the end."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(params=["file", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket as systemd's, and what NOTIFY_SOCKET says then."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        name = str(tmp_path / "notify") if request.param == "file" else f"@rendezvous-{os.getpid()}"
        sock.bind(name.replace("@", "\0"))
        yield sock, name


def told(sock: socket.socket) -> list[str]:
    """What has come."""
    found = []
    while True:
        try:
            found.append(sock.recv(4096).decode())
        except BlockingIOError:
            return found


def test_told(listener: tuple[socket.socket, str]) -> None:
    """Values are lines of one datagram."""
    sock, name = listener
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.tell(READY=1, STATUS="serving")
    notifier.tell(STOPPING=1)
    assert told(sock) == ["READY=1\nSTATUS=serving", "STOPPING=1"]


@pytest.mark.parametrize("name", ["", "/nowhere/notify"])
def test_nobody_listens(name: str) -> None:
    """Without a socket, or with one that is gone, nothing happens."""
    Notifier({"NOTIFY_SOCKET": name}).tell(READY=1)
    Notifier({}).tell(READY=1)


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "60000000"}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({}, 0.0),
    ],
)
def test_watchdog(environ: dict[str, str], seconds: float) -> None:
    """A sign of life is due at half of the time, from the process that is watched."""
    assert Notifier({"NOTIFY_SOCKET": "@x", **environ}).watchdog == seconds


class _Reactor(Clock):
    def callWhenRunning(self, call: object) -> None:
        self.callLater(0, call)  # type: ignore[arg-type]


@pytest.mark.usefixtures("signals")
def test_life_of_a_service(listener: tuple[socket.socket, str]) -> None:
    """Ready once the reactor runs, alive at half of the time, stopping, and nothing behind that."""
    sock, name = listener
    clock = _Reactor()
    notifier = Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "20000000"})
    running = Running(Composed(Path("none"), Patience(clock)), notifier, clock, 0)
    running.startService()
    assert told(sock) == []
    clock.advance(0)
    assert told(sock) == ["READY=1\nSTATUS=serving", "WATCHDOG=1"]
    clock.advance(9)
    assert told(sock) == []
    clock.advance(1)
    assert told(sock) == ["WATCHDOG=1"]
    running.stopService()
    clock.advance(100)
    assert told(sock) == ["STOPPING=1\nSTATUS=stopping"]
