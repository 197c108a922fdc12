"""What the tests of the fast paths share: servers with peers, and short requests on both their ways."""

from __future__ import annotations

import socket
from typing import Any
from unittest.mock import patch

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from rendezvous.stream import Stream
from rendezvous.wire.address import Address
from tests.hbbs.server import B_V6, A, B, Server, record


def populated(serial: int, **settings: Any) -> Server:
    """A server with a peer on UDP over either family, one on a connection, and two that only the store has."""
    server = Server(serial=str(serial), **settings)
    server.registered()
    server.registered("on-ipv6-1", B_V6)
    server.register_on(server.secured(B._replace(port=1)), "connected")
    for id, host in (("stored-1", B.host), ("stored-2", A.host)):
        store(server, id, host)
    return server


def store(server: Server, id: str, host: str, *, pk: bytes | None = None) -> None:
    """Somebody has registered as `id` in an earlier life of the server."""
    stored = record(id, host)
    server.store.records[id] = stored if pk is None else stored._replace(pk=pk)
    server.ids.add(id)


def by_short_path(server: Server, data: bytes, source: Address, port: int) -> tuple[bytes, bool, bytes | None]:
    """What a connection from `source` that brings `data` is sent, whether it is closed, what is handed over."""
    near, far = socket.socketpair()
    with far:
        far.sendall(data)
        far.setblocking(False)
        accepting = server.reactor.short_request_ports[port, socket.AF_INET]
        with patch.object(accepting, "_converse", wraps=accepting._converse) as converse:
            accepting.accepted(near, source)
        server.reactor.settle()
        received, closed = _drained(far)
    handed_over: bytes | None = None
    if converse.called:
        [(_, seen, handed_over)] = [call.args for call in converse.call_args_list]
        assert seen == source
    for stream in [reader for reader in server.reactor.getReaders() if isinstance(reader, Stream)]:
        stream.connectionLost(Failure(ConnectionDone()))
    return received, closed, handed_over


def _drained(far: socket.socket) -> tuple[bytes, bool]:
    """What there is, and whether it has come to its end."""
    received = b""
    while True:
        try:
            piece = far.recv(65536)
        except BlockingIOError:
            return received, False
        except ConnectionResetError:  # a Unix socket's way to tell that its other end has not read everything
            return received, True
        if not piece:
            return received, True
        received += piece


def by_slow_path(server: Server, data: bytes, source: Address, port: int) -> tuple[bytes, bool]:
    """What a connection in memory is sent, and whether it is closed then."""
    client = server.tcp(source) if port == server.settings.port else server.nat_port(source)
    if client.refused:
        return b"", True
    client.send_bytes(data)
    server.reactor.settle()
    received, closed = client.new_bytes(), client.closed
    client.reset()
    return received, closed
