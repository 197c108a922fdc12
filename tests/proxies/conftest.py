"""Servers with proxies in front of them; one of each kind for all tests of a module."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rendezvous.self_signed import self_signed
from tests.client.links import Server, Web
from tests.integration.conftest import new_controlled, start_server, starter
from tests.integration.server import ServerProcess, free_port
from tests.integration.support import StartServer
from tests.proxies import processes
from tests.proxies.configurations import (
    DOMAIN,
    EDGE,
    HTTP,
    HTTPS,
    Certificate,
    caddy,
    caddy_one_port,
    haproxy,
    nginx,
    nginx_one_port,
)

__all__ = ["new_controlled", "start_server"]

KEEP_ALIVE = 3
"""Twice the seconds between two heartbeats."""


@dataclass(frozen=True)
class Front:
    """A server by its web ports, behind a proxy; `cuts` tells whether that one ends silent connections.

    `attempts` is how often a long call is made: Caddy 2.6 cuts an answer now and then when the last of a long
    request is still on its way through it (its issue 5431).
    """

    server: ServerProcess
    secure: Server
    plain: Server
    cuts: bool
    attempts: int


RunFront = Callable[[str, ServerProcess], AbstractContextManager[Front]]


@dataclass(frozen=True)
class Asked:
    """A request as the API server got it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Api:
    """A small API server that remembers what it was asked."""

    port: int
    asked: list[Asked] = field(default_factory=list)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for the domain, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    pair = Certificate(folder / "certificate.pem", folder / "private-key.pem")
    for file, content in zip(pair, self_signed((DOMAIN,), 2), strict=True):
        file.write_bytes(content)
    return pair


@pytest.fixture(scope="session")
def trust(certificate: Certificate) -> ssl.SSLContext:
    """A client's TLS, which trusts that certificate and no other, and checks the name."""
    return ssl.create_default_context(cafile=certificate.certificate)


@pytest.fixture(scope="session")
def api() -> Iterator[Api]:
    """The API server on a port of its own."""
    served = Api(0)

    class Answering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            served.asked.append(Asked(self.command, self.path, headers, body))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[::-1])

        do_GET = do_POST = answer

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    served.port = int(http.server_address[1])
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield served
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


@pytest.fixture(scope="session")
def start_session_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """Start servers for all tests of a worker; stopped, and their logs checked, at its end."""
    yield from starter(tmp_path_factory.mktemp("servers"))


@pytest.fixture(scope="session")
def trusting(start_session_server: StartServer, api: Api) -> ServerProcess:
    """A server that believes the headers of proxies on this machine, and those of a further one."""
    port = free_port()
    return start_session_server(
        *("--trusted-proxies", f"127.0.0.1,{EDGE}", "--http", str(port + HTTP)),
        *("--api-server", f"http://127.0.0.1:{api.port}", "--keep-alive", str(KEEP_ALIVE)),
        port=port,
    )


@pytest.fixture(scope="session")
def spoken_to(start_session_server: StartServer, api: Api, certificate: Certificate) -> ServerProcess:
    """A server that believes the PROXY protocol of proxies on this machine."""
    port = free_port()
    return start_session_server(
        *("--proxy-protocol", "127.0.0.1", "--https", str(port + HTTPS), "--http", str(port + HTTP)),
        *("--certificate", str(certificate.certificate), "--private-key", str(certificate.private_key)),
        *("--api-server", f"http://127.0.0.1:{api.port}", "--keep-alive", str(KEEP_ALIVE)),
        port=port,
    )


@pytest.fixture(scope="module")
def run_front(
    api: Api, certificate: Certificate, trust: ssl.SSLContext, tmp_path_factory: pytest.TempPathFactory
) -> RunFront:
    """Run a kind of proxy in front of a server for as long as it is needed."""

    @contextmanager
    def run(kind: str, server: ServerProcess) -> Iterator[Front]:
        at, port = free_port(), server.port
        folder, ports = tmp_path_factory.mktemp(kind), (at + HTTPS, at + HTTP)
        made: AbstractContextManager[None]
        match kind:
            case "nginx" | "nginx-real-ip":
                name = "X-Real-IP" if kind == "nginx-real-ip" else "X-Forwarded-For"
                made = processes.nginx(folder, nginx(at, port, api.port, certificate, name), *ports)
            case "nginx-one-port":
                made = processes.nginx(folder, nginx_one_port(at, port, certificate), *ports)
            case "caddy" | "caddy-behind":
                behind = EDGE if kind == "caddy-behind" else ""
                made = processes.caddy(folder, caddy(at, port, api.port, certificate, behind), *ports)
            case "caddy-one-port":
                made = processes.caddy(folder, caddy_one_port(at, port, certificate), *ports)
            case "haproxy":
                made = processes.haproxy(folder, haproxy(at, port), *ports)
            case _:
                raise ValueError(kind)
        with made:
            view = server.view()
            secure = replace(view, web=Web(DOMAIN, at + HTTPS, trust))
            plain = replace(view, web=Web(DOMAIN, at + HTTP))
            is_caddy = "caddy" in kind
            yield Front(server, secure, plain, cuts=not is_caddy, attempts=3 if is_caddy else 1)

    return run


@pytest.fixture(scope="module", params=["nginx", "nginx-one-port", "caddy", "caddy-one-port", "haproxy"])
def front(request: pytest.FixtureRequest, run_front: RunFront) -> Iterator[Front]:
    """A server behind each kind of proxy that takes web ports, and each way to configure it."""
    server = request.getfixturevalue("spoken_to" if request.param == "haproxy" else "trusting")
    with run_front(request.param, server) as made:
        yield made
