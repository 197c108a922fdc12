"""Connections to the servers: framed TCP, secured TCP and WebSocket behind one way of use."""

from __future__ import annotations

import contextlib
import ipaddress
import select
import socket
import ssl
import struct
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Self

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.tls import through_tls
from tests.client.wire import Address, FrameReader, SealedDirection, answer_key_exchange, frame

Transport = Literal["tcp", "secured", "websocket"]
SEND_TIMEOUT = 30.0
CHUNK = 1 << 18


class LinkClosedError(ConnectionError):
    """The other side has ended the connection."""


@dataclass(frozen=True)
class Web:
    """One port for both servers, by the paths that a client uses whose server is a domain name; wss with `tls`."""

    domain: str
    port: int
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True)
class Server:
    """Where a server listens, and what a client has been given to trust it and be let in.

    `udp_port` is given where something in between leads TCP and UDP to different ports, and `web` where
    WebSocket clients have a domain name.
    """

    host: str
    port: int
    relay_port: int = 0
    key: str = ""
    public_key: bytes = b""
    udp_port: int = 0
    web: Web | None = None

    @property
    def main(self) -> Address:
        """TCP port P, and UDP port P unless told otherwise."""
        return self.host, self.port

    @property
    def udp(self) -> Address:
        """UDP port P."""
        return self.host, self.udp_port or self.port

    @property
    def second(self) -> Address:
        """TCP port P-1, for the NAT test and online states."""
        return self.host, self.port - 1

    @property
    def websocket(self) -> Address:
        """WebSocket port P+2."""
        return self.host, self.port + 2

    @property
    def relay(self) -> Address:
        """TCP port of the relay: P+1 unless the test says otherwise."""
        return self.host, self.relay_port or self.port + 1

    @property
    def relay_websocket(self) -> Address:
        """WebSocket port of the relay, two above its TCP port."""
        return self.host, self.relay[1] + 2

    def at(self, host: str) -> Server:
        """The same server under another of its addresses."""
        return replace(self, host=host)

    def relay_named(self, name: str) -> Address:
        """The address that a relay's name means to a client; this server's own relay when empty."""
        return parse_address(name, 21117) if name else self.relay


def parse_address(text: str, default_port: int) -> Address:
    """`host`, `host:port`, `[v6]:port` or a bare IPv6 address."""
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(text.strip("[]"))), default_port
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def describe(address: Address) -> str:
    """An address as a relay's name is written."""
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


def family(address: Address) -> socket.AddressFamily:
    """The address family of a numerical address."""
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


def bound_socket(
    kind: socket.SocketKind, like: Address, source: Address | None = None, reuse: bool = True
) -> socket.socket:
    """A socket of the family of `like`, bound to `source`; its port may be used by others too.

    It is bound in any case: the port of a socket that only connects may be somebody else's as well.
    """
    made = socket.socket(family(like), kind)
    if reuse:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        made.bind(source or ("", 0))
    except OSError:
        made.close()
        raise
    made.settimeout(SEND_TIMEOUT)
    return made


def connected_socket(target: Address, source: Address | None = None, timeout: float = 10.0) -> socket.socket:
    """A TCP connection, from `source` when given; the source port stays usable for others."""
    made = bound_socket(socket.SOCK_STREAM, target, source)
    try:
        made.settimeout(timeout)
        made.connect(target)
    except OSError:
        made.close()
        raise
    made.settimeout(SEND_TIMEOUT)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def readable(made: socket.socket, timeout: float) -> bool:
    """Whether there is something to read within the time."""
    poller = select.poll()
    poller.register(made, select.POLLIN)
    return bool(poller.poll(max(0.0, timeout) * 1000))


def endpoint(name: tuple[object, ...]) -> Address:
    """The first two parts of what a socket says about an address."""
    return str(name[0]), int(str(name[1]))


class Link(ABC):
    """One connection that carries messages; empty payloads are heartbeats."""

    transport: Transport

    def __init__(self, made: socket.socket) -> None:
        self.socket = made
        self.local = endpoint(made.getsockname())
        self.remote = endpoint(made.getpeername())
        self.heartbeats = 0

    @abstractmethod
    def send_payload(self, payload: bytes) -> None:
        """Send one payload as it is, sealed where the transport seals."""

    @abstractmethod
    def receive_payload(self, timeout: float = 10.0) -> bytes:
        """The next payload, also an empty one; LinkClosedError or TimeoutError."""

    @abstractmethod
    def close(self) -> None:
        """End the connection in order."""

    def send(self, message: pb.RendezvousMessage) -> None:
        """Send one message."""
        self.send_payload(message.SerializeToString())

    def receive_any(self, timeout: float = 10.0) -> pb.RendezvousMessage | None:
        """The next message, or None for a heartbeat."""
        payload = self.receive_payload(timeout)
        if not payload:
            self.heartbeats += 1
            return None
        return pb.RendezvousMessage.FromString(payload)

    def receive(self, timeout: float = 10.0, answer_heartbeats: bool = False) -> pb.RendezvousMessage:
        """The next message; heartbeats on the way are skipped, and answered when asked for."""
        deadline = time.monotonic() + timeout
        while True:
            message = self.receive_any(max(0.0, deadline - time.monotonic()))
            if message is not None:
                return message
            if answer_heartbeats:
                self.send_payload(b"")

    def ask(self, message: pb.RendezvousMessage, timeout: float = 10.0) -> pb.RendezvousMessage:
        """Send one message and take the next one as its answer."""
        self.send(message)
        return self.receive(timeout)

    def wait_closed(self, timeout: float = 10.0) -> None:
        """Read until the other side has closed; TimeoutError when it doesn't."""
        deadline = time.monotonic() + timeout
        try:
            while True:
                self.receive_payload(max(0.0, deadline - time.monotonic()))
        except LinkClosedError:
            return

    def reset(self) -> None:
        """End the connection with a reset; what was sent just before may still be on its way."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class PlainLink(Link):
    """Framed TCP; like a client it skips one KeyExchange that comes before any answer."""

    transport: Transport = "tcp"

    def __init__(self, made: socket.socket, skip_key_exchange: bool = True) -> None:
        super().__init__(made)
        self.frames = FrameReader()
        self.offered: pb.KeyExchange | None = None
        self._may_skip = skip_key_exchange

    def send_payload(self, payload: bytes) -> None:
        self.send_raw(frame(payload))

    def send_raw(self, data: bytes) -> None:
        """Send bytes that are no frame, or one in parts."""
        try:
            self.socket.sendall(data)
        except (ConnectionError, BrokenPipeError) as error:
            raise LinkClosedError(str(error)) from error

    def receive_raw(self, timeout: float = 10.0) -> bytes:
        """Whatever bytes come next; empty at the end of the stream."""
        rest = self.frames.take_rest()
        return rest or self._read(timeout)

    def _read(self, timeout: float) -> bytes:
        if not readable(self.socket, timeout):
            raise TimeoutError(f"nothing to read from {self.remote} within {timeout:.1f} s")
        try:
            return self.socket.recv(CHUNK)
        except ConnectionError:
            return b""

    def receive_payload(self, timeout: float = 10.0) -> bytes:
        deadline = time.monotonic() + timeout
        while (payload := self.frames.next()) is None:
            data = self._read(max(0.0, deadline - time.monotonic()))
            if not data:
                raise LinkClosedError(f"{self.remote} closed the connection")
            self.frames.feed(data)
        return payload

    def receive_any(self, timeout: float = 10.0) -> pb.RendezvousMessage | None:
        message = super().receive_any(timeout)
        if self._may_skip and message is not None:
            self._may_skip = False
            if message.WhichOneof("union") == "key_exchange":
                self.offered = message.key_exchange
                return super().receive_any(timeout)
        return message

    def half_close(self) -> None:
        """Say that nothing more will be sent; the other direction stays open."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.socket.close()


class SecuredLink(PlainLink):
    """Framed TCP that demands the server's KeyExchange first and then seals every payload."""

    transport: Transport = "secured"

    def __init__(self, made: socket.socket, server_key: bytes, timeout: float = 18.0) -> None:
        super().__init__(made, skip_key_exchange=False)
        first = pb.RendezvousMessage.FromString(super().receive_payload(timeout))
        if first.WhichOneof("union") != "key_exchange":
            raise ValueError(f"expected a KeyExchange, got {first.WhichOneof('union')}")
        self.offered = first.key_exchange
        answer, session_key = answer_key_exchange(first.key_exchange, server_key)
        super().send_payload(answer.SerializeToString())
        self._outgoing = SealedDirection(session_key)
        self._incoming = SealedDirection(session_key)

    def send_payload(self, payload: bytes) -> None:
        super().send_payload(self._outgoing.seal(payload))

    def receive_payload(self, timeout: float = 10.0) -> bytes:
        return self._incoming.open(super().receive_payload(timeout))


class WebSocketLink(Link):
    """A WebSocket whose binary messages are the payloads."""

    transport: Transport = "websocket"

    def __init__(
        self,
        made: socket.socket,
        path: str = "/",
        headers: Mapping[str, str] | None = None,
        web: Web | None = None,
    ) -> None:
        super().__init__(made)
        if web is not None and web.tls is not None:
            self.socket = through_tls(made, web.tls, web.domain)
        host = f"{web.domain}:{web.port}" if web else describe(self.remote)
        self.connection: ClientConnection = connect(
            f"ws://{host}{path}",
            sock=self.socket,
            legacy=True,
            open_timeout=5,
            additional_headers=headers,
            compression=None,
            proxy=None,
            ping_interval=None,
            max_size=None,
            close_timeout=2,
        )

    def send_payload(self, payload: bytes) -> None:
        try:
            self.connection.send(payload)
        except ConnectionClosed as error:
            raise LinkClosedError(str(error)) from error

    def receive_payload(self, timeout: float = 10.0) -> bytes:
        try:
            return self.connection.recv(timeout, decode=False)
        except ConnectionClosed as error:
            raise LinkClosedError(str(error)) from error

    def close(self) -> None:
        self.connection.close()

    def reset(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.socket.shutdown(socket.SHUT_RD)
        self.socket.close()


def dial_web(web: Web, host: str, path: str, source: Address | None = None, timeout: float = 10.0) -> WebSocketLink:
    """Connect to a path of a web port that is reached at `host`."""
    return WebSocketLink(connected_socket((host, web.port), source, timeout), path, web=web)


def dial(transport: Transport, server: Server, source: Address | None = None, timeout: float = 10.0) -> Link:
    """Connect to the rendezvous server."""
    if transport == "websocket" and server.web:
        return dial_web(server.web, server.host, "/ws/id", source, timeout)
    if transport == "websocket":
        return WebSocketLink(connected_socket(server.websocket, source, timeout))
    made = connected_socket(server.main, source, timeout)
    return SecuredLink(made, server.public_key) if transport == "secured" else PlainLink(made)


def dial_relay(
    transport: Transport,
    relay: Address,
    source: Address | None = None,
    timeout: float = 10.0,
    web: Web | None = None,
) -> Link:
    """Connect to a relay's TCP port, to the WebSocket port two above it, or to `web`; it is never secured."""
    if transport == "websocket" and web:
        return dial_web(web, relay[0], "/ws/relay", source, timeout)
    if transport == "websocket":
        return WebSocketLink(connected_socket((relay[0], relay[1] + 2), source, timeout))
    return PlainLink(connected_socket(relay, source, timeout), skip_key_exchange=False)
