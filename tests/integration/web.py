"""Servers with web ports, and a small HTTP client that sends and sees every byte."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.links import Server, Web, WebSocketLink, connected_socket
from tests.client.wire import Address
from tests.integration.certificates import Authority, Issued
from tests.integration.server import ServerProcess, free_port
from tests.integration.support import StartServer, unique_source

DOMAIN = "rd.example.org"
TRUST = Authority()
GET = b"GET / HTTP/1.1\r\nHost: rd.example.org\r\n\r\n"
UPGRADE = (
    b"GET /ws/id HTTP/1.1\r\nHost: rd.example.org\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
NAT_TEST = pb.RendezvousMessage(test_nat_request=pb.TestNatRequest(serial=3))


@dataclass(frozen=True)
class WebServer:
    """A process with web ports, and where its certificate is."""

    process: ServerProcess
    tls: Path
    issued: Issued

    @property
    def https(self) -> int:
        """The port with TLS."""
        return self.process.port + 4

    @property
    def http(self) -> int:
        """The port without."""
        return self.process.port + 5

    @property
    def view(self) -> Server:
        """What a client knows that uses neither."""
        return self.process.view()

    @property
    def wss(self) -> Server:
        """What a client knows whose WebSockets go over TLS."""
        return replace(self.view, web=Web(DOMAIN, self.https, TRUST.trust()))

    @property
    def ws(self) -> Server:
        """What a client knows whose WebSockets go over plain HTTP."""
        return replace(self.view, web=Web(DOMAIN, self.http))


def certificate_flags(tls: Path) -> list[str]:
    """The options that name the certificate in a folder."""
    return ["--certificate", str(tls / "fullchain.pem"), "--private-key", str(tls / "privkey.pem")]


def start_web(start: StartServer, tls: Path, *flags: str, http: bool = True, **settings: object) -> WebServer:
    """A server with web ports; its certificate is made in the folder `tls`."""
    port = free_port()
    issued = TRUST.issue(DOMAIN).write(tls / "fullchain.pem", tls / "privkey.pem")
    ports = ["--https", str(port + 4), *(["--http", str(port + 5)] if http else [])]
    process = start(*ports, *certificate_flags(tls), *flags, **{"port": port} | settings)
    return WebServer(process, tls, issued)


def secure(
    port: int,
    name: str = DOMAIN,
    context: ssl.SSLContext | None = None,
    source: Address | None = None,
    before: bytes = b"",
) -> ssl.SSLSocket:
    """A TLS connection to a port, with the certificate verified for `name`; `before` goes before TLS."""
    plain = connected_socket(("127.0.0.1", port), source or (unique_source(), 0))
    try:
        plain.sendall(before)
        return (context or TRUST.trust()).wrap_socket(plain, server_hostname=name, suppress_ragged_eofs=False)
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
        plain.close()
        raise ConnectionResetError("the end came within the handshake") from error
    except BaseException:
        plain.close()
        raise


def secure_websocket(port: int, path: str = "/", source: str = "") -> WebSocketLink:
    """A WebSocket over TLS to any port."""
    made = connected_socket(("127.0.0.1", port), (source or unique_source(), 0))
    return WebSocketLink(made, path, web=Web(DOMAIN, port, TRUST.trust()))


@dataclass(frozen=True)
class Response:
    """A whole answer; names of headers are in small letters, values of one name joined by commas."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class Http:
    """One HTTP connection; what comes is read no further than asked for."""

    def __init__(self, made: socket.socket) -> None:
        self.socket = made
        self.buffer = b""

    @classmethod
    def plain(cls, port: int, source: str = "") -> Self:
        """A connection to a port without TLS."""
        return cls(connected_socket(("127.0.0.1", port), (source or unique_source(), 0)))

    @classmethod
    def secure(cls, port: int, source: str = "") -> Self:
        """A connection to a port with TLS."""
        return cls(secure(port, source=(source, 0) if source else None))

    @property
    def local(self) -> Address:
        """This side's address."""
        name = self.socket.getsockname()
        return str(name[0]), int(name[1])

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def ask(self, request: bytes, headers: bytes = b"", body: bytes = b"", host: str = DOMAIN) -> Response:
        """Send ``METHOD TARGET`` with headers, each ended by CR LF, and take the answer."""
        method = request.partition(b" ")[0].decode("ascii")
        self.send(request + b" HTTP/1.1\r\nHost: " + host.encode() + b"\r\n" + headers + b"\r\n" + body)
        return self.response(method)

    def _more(self, timeout: float) -> bool:
        self.socket.settimeout(timeout)
        try:
            data = self.socket.recv(65536)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
            raise ConnectionResetError("the end came without TLS's own") from error
        self.buffer += data
        return bool(data)

    def receive(self, size: int, timeout: float = 10.0) -> bytes:
        """Exactly `size` bytes, fewer at the end of the stream."""
        while len(self.buffer) < size and self._more(timeout):
            pass
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken

    def receive_some(self, timeout: float = 10.0) -> bytes:
        """Whatever comes next, empty at the end of the stream."""
        if not self.buffer:
            self._more(timeout)
        taken, self.buffer = self.buffer, b""
        return taken

    def until(self, mark: bytes, timeout: float = 10.0) -> bytes:
        """Everything up to and with `mark`; ConnectionError when it doesn't come."""
        while mark not in self.buffer:
            if not self._more(timeout):
                raise ConnectionError(f"the stream ended after {self.buffer!r}")
        taken, _, self.buffer = self.buffer.partition(mark)
        return taken + mark

    def head(self, timeout: float = 10.0) -> Response:
        """The next answer's head."""
        status, *lines = self.until(b"\r\n\r\n", timeout).decode("latin-1").splitlines()
        assert status.startswith("HTTP/1."), status
        headers: dict[str, str] = {}
        for line in filter(None, lines):
            name, _, value = line.partition(":")
            name, value = name.lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return Response(int(status.split(" ")[1]), headers)

    def response(self, method: str = "GET", timeout: float = 10.0) -> Response:
        """The next whole answer to a request by `method`."""
        head = self.head(timeout)
        if method == "HEAD" or head.status < 200 or head.status in (204, 304):
            return head
        if head.headers.get("transfer-encoding") == "chunked":
            return replace(head, body=self._chunks(timeout))
        length = head.headers.get("content-length")
        return replace(head, body=self.rest(timeout) if length is None else self.receive(int(length), timeout))

    def _chunks(self, timeout: float) -> bytes:
        body = b""
        while chunk := self.chunk(timeout):
            body += chunk
        return body

    def chunk(self, timeout: float = 10.0) -> bytes:
        """The next chunk of a body, empty for the last one."""
        size = int(self.until(b"\r\n", timeout).partition(b";")[0], 16)
        if size:
            return self.receive(size + 2, timeout)[:-2]
        while self.until(b"\r\n", timeout) != b"\r\n":
            pass
        return b""

    def rest(self, timeout: float = 10.0) -> bytes:
        """Everything until the other side closes."""
        deadline = time.monotonic() + timeout
        while self._more(max(0.01, deadline - time.monotonic())):
            pass
        taken, self.buffer = self.buffer, b""
        return taken

    def wait_closed(self, timeout: float = 10.0) -> None:
        """Read until the other side has closed, also by a reset; TimeoutError when it doesn't."""
        try:
            self.rest(timeout)
        except ConnectionError:
            return

    def close(self) -> None:
        """End the connection."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


Dial = Callable[[], Http]


def dialer(web: WebServer, port: str) -> Dial:
    """Connects to one of the ports."""
    if port == "https":
        return lambda: Http.secure(web.https)
    return lambda: Http.plain(web.http)


def nothing(http: Http) -> int:
    """What is said where there is nothing: on the plain port that it may be on the other."""
    return 404 if isinstance(http.socket, ssl.SSLSocket) else 308


def frame(message: pb.RendezvousMessage) -> bytes:
    """A short WebSocket message, masked with zeros."""
    payload = message.SerializeToString()
    return bytes([0x82, 0x80 | len(payload), 0, 0, 0, 0]) + payload
