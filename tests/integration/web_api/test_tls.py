"""API calls on the web ports, for an API server with TLS."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.client.links import connected_socket
from tests.integration.api import Api
from tests.integration.support import StartServer, unique_source
from tests.integration.web import DOMAIN, TRUST, Http, start_web
from tests.integration.web_api.calls import (
    BLOCK,
    BUFFERED,
    MEGABYTE,
    echo_messages,
    holds,
    resident,
    send_until_stuck,
)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API server with TLS."""
    folder = tmp_path_factory.mktemp("api")
    TRUST.issue("localhost").write(folder / "certificate.pem", folder / "key.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    with Api(context) as running:
        yield running


def test_api_server_with_tls(start_server: StartServer, tmp_path: Path, secured: Api) -> None:
    """It is believed when its certificate is trusted; bodies stream both ways, slow takers make wait."""
    trusted, stop = tmp_path / "trusted.pem", threading.Event()
    trusted.write_bytes(TRUST.pem)
    flags = ("--api-server", f"https://localhost:{secured.port}")
    web = start_web(start_server, tmp_path / "tls", *flags, env={"SSL_CERT_FILE": str(trusted)})
    secured.answers["/api/taker"] = holds(stop)
    secured.answers["/api/ws"] = echo_messages
    with Http.secure(web.https) as http:
        body = BLOCK * 3
        answer = http.ask(b"PUT /api/tls", b"Content-Length: %d\r\n" % len(body), body)
        assert answer.body == b"answer to " + body
    call = secured.wait_call("/api/tls")
    assert call.named("host") == [f"localhost:{secured.port}"]
    before = resident(web)
    with Http.secure(web.https) as http:
        http.send(b"PUT /api/taker HTTP/1.1\r\nHost: x\r\nContent-Length: 200000000\r\n\r\n" + BLOCK)
        assert send_until_stuck(http.socket, 200 * MEGABYTE) < BUFFERED
        assert resident(web) - before < 10 * MEGABYTE
    stop.set()
    made = connected_socket(("127.0.0.1", web.https), (unique_source(), 0))
    with connect(f"wss://{DOMAIN}:{web.https}/api/ws", sock=made, ssl=TRUST.trust(), proxy=None) as websocket:
        websocket.send(b"hello")
        assert websocket.recv(10) == b"hello"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_api_server_that_is_not_trusted(start_server: StartServer, tmp_path: Path, secured: Api, host: str) -> None:
    """Without a trusted certificate for this name the call does not get there, and the log says why."""
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(TRUST.pem)
    env = {} if host == "localhost" else {"SSL_CERT_FILE": str(trusted)}
    before = len(secured.calls.all())
    web = start_web(start_server, tmp_path / "tls", "--api-server", f"https://{host}:{secured.port}", env=env)
    with Http.secure(web.https) as http:
        assert http.ask(b"POST /api/secret", b"Content-Length: 6\r\n", b"secret").status == 502
    assert len(secured.calls.all()) == before
    line = web.process.wait_line("it gave no answer")
    assert ("certificate verify failed" if host == "localhost" else "Mismatch") in line
