"""Whole conversations over TCP, sealed TCP and WebSocket, short requests on both their ways, and console lines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from rendezvous.wire.address import Address
from tests.client.wire import frame
from tests.hbbr.relay_fixture import MemoryRelay
from tests.hbbs.both_ways import by_short_path, by_slow_path, populated
from tests.hbbs.server import A_V6, A, B, Server
from tests.hbbs.test_fuzz import SEEDS, send_all
from tests.hostile.targets import Source, Target, as_text, pieces

_SOURCES = (A, B, A_V6, Address("127.0.0.1", 7), Address("::1", 7))
_WAYS = ("tcp", "nat_port", "websocket", "secured")


@cache
def _server() -> Server:
    server = Server()
    server.registered()
    return server


@contextmanager
def without_tracebacks() -> Iterator[None]:
    """Nothing may leave a failure in the log."""
    failures: list[LogEvent] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if "log_failure" in event:
            failures.append(event)

    globalLogPublisher.addObserver(observe)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observe)
    assert not failures, failures


def streams(data: bytes) -> None:
    """Any conversation ends, and leaves no connection and no error."""
    source, server = Source(data), _server()
    way, address, size = _WAYS[source.byte() % 4], _SOURCES[source.byte() % 5], source.byte() + 1
    with without_tracebacks():
        client = getattr(server, way)(address)
        if way in ("tcp", "nat_port"):
            chunks = pieces(source.rest(), size)
        else:
            chunks = []
            while not source.over:
                chunks.append(client.to_wire(source.piece()))
        send_all(client, chunks)
        server.reactor.settle()
    server.reactor.datagrams.clear()
    assert server.dropped("internal_error") == 0


@cache
def _twins() -> tuple[Server, Server]:
    return populated(0), populated(0)


def short_requests(data: bytes) -> None:
    """What the short path answers, drops and pushes is what the slow path does; the rest it hands over."""
    fast, slow = _twins()
    for server in (fast, slow):
        server.drops.counts.clear()
        server.reactor.datagrams.clear()
    if not data:
        return
    port, other = fast.settings.port, slow.settings.port
    received, closed, handed_over = by_short_path(fast, data, B, port)
    if handed_over is not None:
        return
    assert (received, closed) == by_slow_path(slow, data, B, other)
    assert fast.drops.counts == slow.drops.counts
    assert fast.reactor.datagrams == slow.reactor.datagrams


@cache
def _relay() -> MemoryRelay:
    return MemoryRelay()


def consoles(data: bytes) -> None:
    """Any line on either console is answered with text, or with nothing."""
    source = Source(data)
    of_relay, line = source.byte() % 2, source.rest()
    with without_tracebacks():
        if of_relay:
            assert isinstance(_relay().type(as_text(line)), str)
            return
        client = _server().nat_port(Address("127.0.0.1", 7))
        send_all(client, [line.replace(b"\0", b" ")[:1000].decode("ascii", "ignore").encode() + b"\n"])
    assert client.closed or not line


_LINES = (
    b"h",
    b"ib 1",
    b"ib ::1 -",
    b"ic x -",
    b"pr 0 9",
    b"aur Y",
    b"aur n",
    b"tg 1.2.3.4 ::1",
    b"rs a,b:5",
    b"rg",
)
_RELAY_LINES = (
    b"ba 1.2.3.4|::1",
    b"br all",
    b"b x",
    b"B",
    b"Ba 10.0.0.0/8",
    b"dt 0.5",
    b"t 9",
    b"tb 1e3",
    b"u",
    b"ls",
)

TARGETS = {
    "streams": Target(
        streams,
        [bytes([way, 0, 255]) + frame(seed) for seed in SEEDS for way in (0, 1)]
        + [bytes([way, 1, 0, len(seed)]) + seed for seed in SEEDS for way in (2, 3)],
    ),
    "short_requests": Target(short_requests, [frame(bytes(wrapped)) for wrapped in SEEDS]),
    "consoles": Target(consoles, [b"\x00" + line for line in _LINES] + [b"\x01" + line for line in _RELAY_LINES]),
}
