"""API calls that come through the ID server and are forwarded to the configured API server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.links import LinkClosedError, Server, Transport, dial
from tests.integration.support import StartServer, unique_source


@dataclass
class Api:
    """A small API server that remembers what it was asked."""

    port: int
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture(scope="module")
def running_api() -> Iterator[Api]:
    """The API server on a port of its own."""
    served = Api(0)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            served.requests.append((self.command, self.path, headers, body))
            answer = b"answer to " + body
            self.send_response(418 if "teapot" in self.path else 200)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("X-Answer", "yes")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = do_DELETE = answer

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.port = int(http.server_address[1])
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield served
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


@pytest.fixture(scope="module")
def proxying(running_api: Api, start_module_server: StartServer) -> Server:
    """A server that forwards to the API server."""
    return start_module_server("--api-server", f"http://127.0.0.1:{running_api.port}").view()


@pytest.fixture
def api(running_api: Api) -> Api:
    """The API server, which hasn't been asked anything yet."""
    running_api.requests.clear()
    return running_api


def ask(
    view: Server, method: str, path: str, body: bytes = b"", transport: Transport = "secured"
) -> pb.HttpProxyResponse:
    """One call through the ID server."""
    request = pb.HttpProxyRequest(
        method=method,
        path=path,
        headers=[
            pb.HeaderEntry(name="Authorization", value="Bearer token"),
            pb.HeaderEntry(name="Content-Type", value="application/json"),
            pb.HeaderEntry(name="Connection", value="X-Hop"),
            pb.HeaderEntry(name="X-Hop", value="1"),
            pb.HeaderEntry(name="X_Forwarded_For", value="192.0.2.1"),
            pb.HeaderEntry(name="X-Forwarded-Proto", value="spoofed"),
        ],
        body=body,
    )
    with dial(transport, view, (unique_source(), 0)) as link:
        return link.ask(pb.RendezvousMessage(http_proxy_request=request)).http_proxy_response


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_call_is_forwarded(proxying: Server, api: Api, method: str) -> None:
    """Method, path with query, headers and body get there; status, headers and body come back."""
    body = b'{"id": 1}' if method in ("POST", "PUT") else b""
    answer = ask(proxying, method, "/api/teapot?a=1&b=%20", body)
    assert (answer.status, answer.error) == (418, "")
    assert answer.body == b"answer to " + body
    headers = {entry.name.lower(): entry.value for entry in answer.headers}
    assert headers["x-answer"] == "yes"
    command, path, sent, received = api.requests[0]
    assert (command, path, received) == (method, "/api/teapot?a=1&b=%20", body)
    assert sent["authorization"] == "Bearer token"
    assert "x-hop" not in sent
    assert sent["x-forwarded-for"].startswith("127.")
    assert not {"192.0.2.1", "spoofed"} & set(sent.values())


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/other",
        "/api/../secret",
        "/api/%2e%2e/secret",
        "/api/..;/secret",
        "/api/%2e%2e;x/secret",
        "//host/api/x",
        "http://h/api/x",
    ],
)
def test_other_paths_are_not_forwarded(proxying: Server, api: Api, path: str) -> None:
    """Only what stays under `/api/` is."""
    assert ask(proxying, "GET", path).error
    assert not api.requests


def test_only_when_sealed(proxying: Server, api: Api) -> None:
    """In the clear, or over a WebSocket, nothing is forwarded."""
    transports: list[Transport] = ["tcp", "websocket"]
    for transport in transports:
        try:
            answer = ask(proxying, "GET", "/api/x", transport=transport)
            assert answer.error or not answer.status
        except LinkClosedError:
            pass
    assert not api.requests


def test_error_at_once_when_nobody_answers(start_server: StartServer) -> None:
    """An API server that refuses connections is an error, not a wait."""
    view = start_server("--api-server", "http://127.0.0.1:9").view()
    begin = time.monotonic()
    assert ask(view, "GET", "/api/login-options").error
    assert time.monotonic() - begin < 5
