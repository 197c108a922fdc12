"""What systemd does for a service: it opens the sockets, gives the notification socket, and listens there."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ACTIVATE = """
import json, os, socket, sys
sockets = []
for kind, host, port in json.loads(sys.argv[1]):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, getattr(socket, kind))
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(sys.argv[2]))
    if kind == "SOCK_STREAM":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    if kind == "SOCK_STREAM":
        sock.listen(128)
    sockets.append(os.dup(sock.detach()))
for number, descriptor in enumerate(sockets, 100):
    os.dup2(descriptor, number)
for number in range(len(sockets)):
    os.dup2(100 + number, 3 + number)
os.closerange(3 + len(sockets), 200)
os.environ |= {
    "LISTEN_PID": str(os.getpid()),
    "LISTEN_FDS": str(len(sockets)),
    "LISTEN_FDNAMES": ":".join(["rendezvous.socket"] * len(sockets)),
}
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Opens sockets as a socket unit says, and becomes the service."""

Bound = tuple[str, str, int]
"""``SOCK_STREAM`` or ``SOCK_DGRAM``, host and port."""


def activated(sockets: list[Bound], command: list[str], *, v6only: bool = True) -> list[str]:
    """The command that runs `command` with these sockets open."""
    return [sys.executable, "-c", ACTIVATE, json.dumps(sockets), str(int(v6only)), *command]


def all_ports(port: int) -> list[Bound]:
    """Every socket of both servers with the main port `port`, as in rendezvous.socket."""
    kinds = [("SOCK_DGRAM", port), *(("SOCK_STREAM", port + distance) for distance in range(-1, 4))]
    return [(kind, host, number) for kind, number in kinds for host in ("0.0.0.0", "::")]


class Notified:
    """What the service has told systemd."""

    def __init__(self, sock: socket.socket, path: Path) -> None:
        self._socket = sock
        self.path = path

    def wait(self, text: str, timeout: float = 20.0) -> str:
        """The next message that contains `text`; those before it are dropped."""
        deadline = time.monotonic() + timeout
        while True:
            self._socket.settimeout(max(0.01, deadline - time.monotonic()))
            message = self._socket.recv(4096).decode()
            if text in message:
                return message


@contextmanager
def notified(folder: Path) -> Iterator[Notified]:
    """A notification socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        path = folder / "notify"
        sock.bind(str(path))
        yield Notified(sock, path)
