"""What the web ports say to clients that are slow, too many, or leave what they get."""

from __future__ import annotations

import contextlib
import socket
import ssl
from pathlib import Path

import pytest

from tests.client.links import bound_socket, connected_socket, dial_web
from tests.client.threads import wait_until
from tests.integration.support import StartServer, unique_source
from tests.integration.web import (
    DOMAIN,
    GET,
    UPGRADE,
    Dial,
    Http,
    WebServer,
    dialer,
    nothing,
    start_web,
)

IN_ALL = 20


@pytest.fixture(scope="module")
def web(start_module_server: StartServer, tmp_path_factory: pytest.TempPathFactory) -> WebServer:
    """A server that has patience, and allows few connections."""
    limits = ("--max-web-connections-per-address", "3", "--max-web-connections", str(IN_ALL))
    return start_web(start_module_server, tmp_path_factory.mktemp("certificate"), *limits)


@pytest.fixture(scope="module")
def hasty(start_module_server: StartServer, tmp_path_factory: pytest.TempPathFactory) -> WebServer:
    """A server that waits a second for a request."""
    limits = ("--first-frame-timeout", "1", "--max-web-connections-per-address", "3")
    return start_web(start_module_server, tmp_path_factory.mktemp("certificate"), *limits)


@pytest.fixture(params=["https", "http"])
def dial(request: pytest.FixtureRequest, web: WebServer) -> Dial:
    """Connects to either port."""
    return dialer(web, request.param)


@pytest.fixture(params=["https", "http"])
def dial_hasty(request: pytest.FixtureRequest, hasty: WebServer) -> Dial:
    """Connects to either port of the hasty server."""
    return dialer(hasty, request.param)


SLOW = {
    "nothing": b"",
    "half a line": b"GET / HT",
    "half a head": GET[:-2],
    "half a body": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhell",
    "half a second request": GET + GET[:-2],
}


@pytest.mark.parametrize("kind", SLOW)
def test_slow_requests(dial_hasty: Dial, kind: str) -> None:
    """A request has a second, however it is spread over that."""
    with dial_hasty() as http:
        http.send(SLOW[kind])
        if kind == "half a second request":
            assert http.response().status == nothing(http)
        http.wait_closed()


def test_bytes_do_not_extend_the_time(dial_hasty: Dial) -> None:
    """Now and then a byte of a head is not enough."""
    with dial_hasty() as http:
        http.socket.settimeout(0.2)
        for _ in range(25):
            try:
                http.send(b"G")
                if not http.socket.recv(1):
                    return
            except TimeoutError:
                continue
            except OSError:
                return
        pytest.fail("still open")


def test_idle_connection_ends_in_order(hasty: WebServer) -> None:
    """Between requests it is closed without a reset, which would reach a request on its way."""
    for port in ("https", "http"):
        with dialer(hasty, port)() as http:
            assert http.ask(b"GET /").status == nothing(http)
            assert http.rest() == b""


def test_slow_handshake(hasty: WebServer) -> None:
    """TLS is a part of the time for a request."""
    with Http.plain(hasty.https) as http:
        http.send(b"\x16\x03\x01")
        http.wait_closed()


def test_tls_on_the_port_for_http(hasty: WebServer) -> None:
    """It ends quietly, as whatever else is no request."""
    plain = connected_socket(("127.0.0.1", hasty.http), (unique_source(), 0))
    plain.settimeout(10)
    context = ssl.create_default_context()
    with plain, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(plain, server_hostname=DOMAIN)


def few(web: WebServer, source: str) -> bool:
    """Whether a client may have the three connections that one is allowed, and no fourth."""
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(Http.plain(web.http, source)) for _ in range(4)]
        try:
            if [http.ask(b"GET /").status for http in opened[:3]] != [308] * 3:
                return False
        except ConnectionError:
            return False
        with pytest.raises(ConnectionError):
            opened[3].ask(b"GET /")
        return True


def test_limit_of_an_address(web: WebServer) -> None:
    """Three connections, not four, of which those count that speak HTTP; each that ends makes room."""
    source = unique_source()
    for _ in range(3):
        wait_until(lambda: few(web, source), 15, "room after answers")
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(Http.secure(web.https, source)).send(b"GET / HT")
        with Http.plain(web.http, source) as http, pytest.raises(ConnectionError):
            http.ask(b"GET /")
    wait_until(lambda: few(web, source), 15, "room after requests that were given up")
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            http = stack.enter_context(Http.secure(web.https, source))
            http.send(b"nonsense\r\n\r\n")
            http.head()
    wait_until(lambda: few(web, source), 15, "room after nonsense")
    assert web.wss.web is not None
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(dial_web(web.wss.web, "127.0.0.1", "/ws/id", (source, 0)))
        wait_until(lambda: few(web, source), 15, "room beside WebSockets")
    wait_until(lambda: few(web, source), 15, "room after WebSockets")


def test_room_after_slow_requests(hasty: WebServer) -> None:
    """Who was too slow is forgotten."""
    source = unique_source()
    with contextlib.ExitStack() as stack:
        for port in (hasty.https, hasty.http, hasty.http):
            http = stack.enter_context(Http.plain(port, source))
            http.send(b"\x16\x03")
            http.wait_closed()
        wait_until(lambda: few(hasty, source), 15, "room")


def test_limit_in_all(web: WebServer) -> None:
    """So many of all addresses on both ports, not one more; then there is room again."""
    with contextlib.ExitStack() as stack:
        for number in range(IN_ALL):
            http = stack.enter_context(Http.secure(web.https) if number % 2 else Http.plain(web.http))
            assert http.ask(b"GET /").status == nothing(http)
        last = stack.enter_context(Http.plain(web.http))
        with contextlib.suppress(ConnectionError):
            assert last.receive(1) == b""
    wait_until(lambda: few(web, unique_source()), 15, "room")


def test_a_websocket_that_is_refused(start_server: StartServer, tmp_path: Path) -> None:
    """When its server has no room the client is told, and later there is room again."""
    limits = ("--max-connections-per-address", "1", "--max-web-connections-per-address", "2")
    web, source = start_web(start_server, tmp_path, *limits), unique_source()
    assert web.wss.web is not None
    with dial_web(web.wss.web, "127.0.0.1", "/ws/id", (source, 0)):
        for _ in range(5):
            with Http.secure(web.https, source) as http:
                http.send(UPGRADE)
                assert http.response().status == 503
                assert http.rest() == b""

    def again() -> bool:
        with Http.secure(web.https, source) as http:
            http.send(UPGRADE)
            return http.head().status == 101

    wait_until(again, 15, "room for a WebSocket")


def test_answers_that_nobody_takes(dial: Dial, web: WebServer) -> None:
    """A client that only asks, and reads no answer, is not read from for long."""
    secure = isinstance((first := dial()).socket, ssl.SSLSocket)
    first.close()
    address = ("127.0.0.1", web.https if secure else web.http)
    made = bound_socket(socket.SOCK_STREAM, address, (unique_source(), 0))
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        made.setsockopt(socket.SOL_SOCKET, option, 8192)
    made.connect(address)
    if secure:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        made = context.wrap_socket(made, server_hostname=DOMAIN)
    sent = 0
    with made:
        made.settimeout(1)
        with contextlib.suppress(TimeoutError):
            while sent < 4_000_000:
                sent += made.send(GET * 100)
    assert sent < 4_000_000


def descriptors(web: WebServer) -> int:
    """How many the server has open."""
    assert web.process.process is not None
    return len(list(Path(f"/proc/{web.process.process.pid}/fd").iterdir()))


def test_connections_left_open_by_the_client(web: WebServer) -> None:
    """After the last answer the server does not wait for the client to close for long."""
    closing = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    ends = [
        closing,
        b"GET / HTTP/1.0\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n",
    ]
    before = descriptors(web)
    with contextlib.ExitStack() as stack:
        for port in ("https", "http"):
            for request_head in ends:
                http = stack.enter_context(dialer(web, port)())
                http.send(request_head)
                http.head()
        wait_until(lambda: descriptors(web) <= before, 20, "the server's end of each")
