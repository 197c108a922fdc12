"""Bad clients: many at once, slow ones, ones that have vanished, and how to see what became of them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.links import Link, LinkClosedError, Server, bound_socket
from tests.client.wire import Address
from tests.integration.server import WORKER, ServerProcess

_SO_ATTACH_FILTER = 26
_DROP_ALL = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
"""A packet filter of one instruction: return 0, which drops the packet."""

_hosts = count(1)

PORTS = ("second", "main", "websocket", "relay", "relay_websocket")
"""P-1, P, P+2, Q and Q+2, as `tests.client.links.Server` calls them."""
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
NAT_TEST = pb.RendezvousMessage(test_nat_request=pb.TestNatRequest(serial=1))


def stranger() -> str:
    """A loopback address that nobody else in this run has, out of millions."""
    number = next(_hosts)
    return f"127.{100 + WORKER % 20}.{number // 250 % 250}.{number % 250 + 1}"


def address_of(view: Server, port: str) -> Address:
    """The address of one of the PORTS."""
    found: Address = getattr(view, port)
    return found


def connect(target: Address, source: str = "") -> socket.socket:
    """A connection from an address of its own, or from `source`."""
    made = bound_socket(socket.SOCK_STREAM, target, (source or stranger(), 0), reuse=False)
    try:
        made.settimeout(10)
        made.connect(target)
    except OSError:
        made.close()
        raise
    return made


def vanish(made: socket.socket) -> None:
    """From now on nothing reaches this socket any more, nor is anything answered: the client's power is gone."""
    program = struct.pack("HL", 1, ctypes.addressof(_DROP_ALL))
    made.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def ended(made: socket.socket) -> bool:
    """Whether the other side has ended the connection; what came before is read and forgotten."""
    try:
        while readable_now(made):
            if not made.recv(1 << 16):
                return True
    except ConnectionError:
        return True
    return False


def readable_now(made: socket.socket) -> bool:
    """Whether there is something to read, or an end."""
    poller = select.poll()
    poller.register(made, select.POLLIN)
    return bool(poller.poll(0))


def ends_within(made: socket.socket, seconds: float) -> bool:
    """Whether the other side ends the connection in time."""
    deadline = time.monotonic() + seconds
    while not ended(made):
        if time.monotonic() > deadline:
            return False
        wait_readable([made], deadline - time.monotonic())
    return True


def wait_readable(sockets: Iterable[socket.socket], seconds: float) -> None:
    """Returns when one of the sockets has something to read, or the time is over."""
    poller = select.poll()
    for made in sockets:
        poller.register(made, select.POLLIN)
    poller.poll(max(0.0, seconds) * 1000)


@dataclass
class Trickle:
    """A client that sends `begin` at once, then one byte of `drops` after the other, a second apart."""

    made: socket.socket
    begin: bytes
    drops: bytes
    sent: int = 0
    lasted: float | None = None


@dataclass
class Crowd:
    """Slow clients, and for how long each was tolerated: since before the first of them connected."""

    limit: float
    every: float = 1.0
    clients: dict[str, Trickle] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)

    def add(self, name: str, made: socket.socket, begin: bytes, drops: bytes) -> None:
        """One more."""
        self.clients[name] = Trickle(made, begin, drops)

    def run(self) -> None:
        """Lets all of them send until each was closed, or the limit is over."""
        start = time.monotonic()
        for client in self.clients.values():
            self._send(client, client.begin)
        rounds = 0
        while time.monotonic() - self.begun < self.limit and (left := self._open()):
            rounds += 1
            for client in left:
                drop = client.drops[client.sent % len(client.drops) :][:1]
                client.sent += 1
                self._send(client, drop)
            while time.monotonic() - start < rounds * self.every and self._open():
                wait_readable([client.made for client in self._open()], 0.05)
                self._note(time.monotonic() - self.begun)
        for client in self.clients.values():
            client.made.close()

    def _open(self) -> list[Trickle]:
        return [client for client in self.clients.values() if client.lasted is None]

    def _note(self, now: float) -> None:
        for client in self._open():
            if ended(client.made):
                client.lasted = now

    @staticmethod
    def _send(client: Trickle, data: bytes) -> None:
        with contextlib.suppress(OSError):
            client.made.sendall(data)


def memory(server: ServerProcess) -> int:
    """Bytes of memory that the server's process has in use."""
    assert server.process is not None
    pages = Path(f"/proc/{server.process.pid}/statm").read_text("ascii").split()[1]
    return int(pages) * 4096


def most_memory(server: ServerProcess) -> int:
    """Bytes of memory that the server's process has had in use at most."""
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text("ascii")
    [kilobytes] = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(kilobytes) * 1024


def descriptors(server: ServerProcess) -> int:
    """How many files and sockets the server's process has open."""
    assert server.process is not None
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def refused_in_all(server: ServerProcess) -> Counter[str]:
    """Stops the server; what it has dropped or refused, by place and reason, as ``place: reason``."""
    server.stop()
    counts: Counter[str] = Counter()
    for line in server.lines:
        for word, number in re.findall(
            r"(\w+: \w+) (\d+)", line.partition("dropped or refused: ")[2].partition('"')[0]
        ):
            counts[word] += int(number)
    return counts


def next_push(link: Link, timeout: float = 0.3) -> pb.RendezvousMessage | None:
    """What a registered connection is sent within the time; None when that is nothing."""
    try:
        return link.receive(timeout)
    except TimeoutError:
        return None


@contextlib.contextmanager
def closed_at_the_end(sockets: list[socket.socket]) -> Iterator[list[socket.socket]]:
    """Closes all that is in the list then."""
    try:
        yield sockets
    finally:
        for made in sockets:
            made.close()


def answered(link: Link, message: pb.RendezvousMessage, timeout: float = 10.0) -> pb.RendezvousMessage | None:
    """The answer to a message; None when the connection is closed instead."""
    try:
        return link.ask(message, timeout)
    except LinkClosedError:
        return None
