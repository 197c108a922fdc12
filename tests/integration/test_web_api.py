"""API calls on the web ports: joined to connections to the API server, whatever flows on them."""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol
from websockets.sync.client import connect

from tests.client.links import connected_socket
from tests.client.threads import wait_until
from tests.integration.api import Answer, Api, Call
from tests.integration.server import free_port
from tests.integration.support import StartServer, unique_source
from tests.integration.web import DOMAIN, TRUST, Http, WebServer, start_web

API_TIMEOUT = 2
MEGABYTE = 1_000_000
BLOCK = random.Random(3).randbytes(MEGABYTE)
BUFFERED = 40 * MEGABYTE
"""More than the kernel keeps for the four sockets between the sides."""


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    """An API server without TLS."""
    with Api() as running:
        yield running


@pytest.fixture(scope="module")
def web(start_module_server: StartServer, tmp_path_factory: pytest.TempPathFactory, api: Api) -> WebServer:
    """A server that forwards to it on the port with TLS."""
    flags = ("--api-server", f"http://127.0.0.1:{api.port}", "--api-timeout", str(API_TIMEOUT))
    return start_web(start_module_server, tmp_path_factory.mktemp("tls"), *flags)


def resident(web: WebServer) -> int:
    """The server's memory in bytes."""
    assert web.process.process is not None
    status = Path(f"/proc/{web.process.process.pid}/status").read_text("ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def holds(stop: threading.Event) -> Answer:
    """An answer that does not come until told, nor anything else."""

    def hold(call: Call) -> None:
        stop.wait(20)

    return hold


# Calls ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "REPORT"])
def test_call(web: WebServer, api: Api, method: str) -> None:
    """Method, target, headers and body get there; status, headers and body come back."""
    target = f"/api/{method}/a%20b?c=%2F..&d"

    def teapot(call: Call) -> None:
        call.answer(b"answer to " + call.body(), "418 I'm a teapot", "X-Answer: 1\r\nX-Answer: 2\r\n")

    api.answers[target.partition("?")[0]] = teapot
    body = b"hello" if method in ("POST", "PUT", "PATCH", "REPORT") else b""
    length = b"Content-Length: 5\r\n" if body else b""
    with Http.secure(web.https) as http:
        answer = http.ask(f"{method} {target}".encode(), b"Authorization: Bearer x\r\nX-One: 1\r\n" + length, body)
    assert answer.status == 418
    assert answer.headers["x-answer"] == "1, 2"
    assert answer.body == (b"" if method == "HEAD" else b"answer to " + body)
    call = api.wait_call(target)
    assert (call.method, call.target) == (method, target)
    assert (call.named("authorization"), call.named("x-one")) == (["Bearer x"], ["1"])
    assert call.named("host") == [f"127.0.0.1:{api.port}"]


def test_after_other_requests(web: WebServer) -> None:
    """A connection that was answered here may go on with a call."""
    with Http.secure(web.https) as http:
        assert http.ask(b"GET /").status == 404
        assert http.ask(b"HEAD /").status == 404
        assert http.ask(b"POST /api/after", b"Content-Length: 1\r\n", b"x").body == b"answer to x"
    with Http.secure(web.https) as http:
        http.send(
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\nPOST /api/after HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"
        )
        assert [http.response().status for _ in range(2)] == [404, 200]


def test_not_on_the_plain_port(web: WebServer, api: Api) -> None:
    """Where there is TLS a call without is redirected, not forwarded."""
    with Http.plain(web.http) as http:
        answer = http.ask(b"GET /api/plain")
    assert (answer.status, answer.headers["location"]) == (308, f"https://{DOMAIN}:{web.https}/api/plain")
    assert "/api/plain" not in api.called()


@pytest.mark.parametrize("chunked", [True, False])
def test_body_streams_up(web: WebServer, api: Api, chunked: bool) -> None:
    """The API server gets the beginning of a body before the client has sent the rest."""
    path, begun = f"/api/up/{chunked}", threading.Event()

    def take(call: Call) -> None:
        taken = b""
        for part in call.parts():
            taken += part
            begun.set()
        call.answer(taken)

    api.answers[path] = take
    length = b"Transfer-Encoding: chunked\r\n" if chunked else b"Content-Length: 10\r\n"
    with Http.secure(web.https) as http:
        http.send(b"PUT " + path.encode() + b" HTTP/1.1\r\nHost: x\r\n" + length + b"\r\n")
        http.send(b"5\r\nhello\r\n" if chunked else b"hello")
        if chunked:
            assert begun.wait(10)
            http.send(b"6;extension=1\r\n world\r\n0\r\nTrailer: x\r\n\r\n")
        else:
            http.send(b"world")
        assert http.response().body == (b"hello world" if chunked else b"helloworld")


@pytest.mark.parametrize("chunked", [True, False])
def test_fifty_megabytes_up_and_down(web: WebServer, api: Api, chunked: bool) -> None:
    """They arrive as they were sent, and come back, without being kept here."""
    path = f"/api/large/{chunked}"

    def take(call: Call) -> None:
        total = hashlib.sha256()
        for part in call.parts():
            total.update(part)
        call.http.send(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nX-Sum: " + total.hexdigest().encode() + b"\r\n\r\n"
        )
        for _ in range(50):
            call.http.send(BLOCK)

    api.answers[path] = take
    length = b"Transfer-Encoding: chunked\r\n" if chunked else b"Content-Length: %d\r\n" % (50 * MEGABYTE)
    before = resident(web)
    with Http.secure(web.https) as http:
        http.send(b"PUT " + path.encode() + b" HTTP/1.1\r\nHost: x\r\n" + length + b"\r\n")
        for _ in range(50):
            http.send(b"%x\r\n%b\r\n" % (MEGABYTE, BLOCK) if chunked else BLOCK)
        http.send(b"0\r\n\r\n" if chunked else b"")
        answer, received, size = http.head(30), hashlib.sha256(), 0
        while part := http.receive(MEGABYTE, 30):
            received.update(part)
            size += len(part)
    expected = hashlib.sha256(BLOCK * 50).hexdigest()
    assert (size, answer.headers["x-sum"], received.hexdigest()) == (50 * MEGABYTE, expected, expected)
    assert resident(web) - before < 20 * MEGABYTE


def test_answer_streams_down(web: WebServer, api: Api) -> None:
    """The client gets the beginning of an answer before the API server has sent the rest."""
    taken = threading.Event()

    def give(call: Call) -> None:
        call.http.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nfirst\r\n")
        assert taken.wait(10)
        call.http.send(b"4\r\nrest\r\n0\r\n\r\n")

    api.answers["/api/down"] = give
    with Http.secure(web.https) as http:
        http.send(b"GET /api/down HTTP/1.1\r\nHost: x\r\n\r\n")
        assert http.head().status == 200
        assert http.chunk() == b"first"
        taken.set()
        assert (http.chunk(), http.chunk()) == (b"rest", b"")


def send_until_stuck(made: socket.socket, most: int) -> int:
    """Send until nobody takes more; how much it was."""
    sent = 0
    made.settimeout(1)
    with contextlib.suppress(TimeoutError, OSError):
        while sent < most:
            sent += made.send(BLOCK)
    return sent


def test_slow_reader(web: WebServer, api: Api) -> None:
    """Who takes nothing of an answer makes the API server wait, however long, and gets it all."""
    sent: list[int] = []

    def give(call: Call) -> None:
        call.http.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        sent.append(send_until_stuck(call.http.socket, 200 * MEGABYTE))
        call.http.socket.settimeout(30)
        call.http.send(b"end")

    api.answers["/api/slow"] = give
    before = resident(web)
    with Http.secure(web.https) as http:
        http.send(b"GET /api/slow HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: bool(sent), 20, "the API server to be stuck")
        assert sent[0] < BUFFERED
        assert resident(web) - before < 10 * MEGABYTE
        time.sleep(API_TIMEOUT + 0.5)  # what is tested is that nothing happens
        assert http.head().status == 200
        size, last = 0, b""
        while part := http.receive(MEGABYTE, 30):
            size, last = size + len(part), (last + part)[-3:]
        assert (size, last) == (sent[0] + 3, b"end")


def test_slow_taker(web: WebServer, api: Api) -> None:
    """An API server that takes nothing of a body makes the client wait."""
    stop = threading.Event()
    api.answers["/api/taker"] = holds(stop)
    before = resident(web)
    with Http.secure(web.https) as http:
        http.send(b"PUT /api/taker HTTP/1.1\r\nHost: x\r\nContent-Length: 200000000\r\n\r\n")
        assert send_until_stuck(http.socket, 200 * MEGABYTE) < BUFFERED
        assert resident(web) - before < 10 * MEGABYTE
    stop.set()


def test_continue(web: WebServer, api: Api) -> None:
    """The API server itself asks for a body, or refuses it; what it says comes before the body goes."""

    def take(call: Call) -> None:
        call.http.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        call.answer(call.body())

    def refuse(call: Call) -> None:
        call.answer(b"no", "413 Content Too Large")

    api.answers |= {"/api/continue": take, "/api/refuse": refuse}
    with Http.secure(web.https) as http:
        head = b"Expect: 100-continue\r\nContent-Length: 5\r\n"
        assert http.ask(b"PUT /api/continue", head).status == 100
        http.send(b"hello")
        assert http.response().body == b"hello"
    with Http.secure(web.https) as http:
        answer = http.ask(b"PUT /api/refuse", b"Expect: 100-continue\r\nContent-Length: 99999999\r\n")
        assert (answer.status, answer.body) == (413, b"no")
    with Http.secure(web.https) as http:
        body = BLOCK * 3
        answer = http.ask(b"PUT /api/refuse", b"Content-Length: %d\r\n" % len(body), body)
        assert (answer.status, answer.body) == (413, b"no")


def test_client_that_leaves(web: WebServer, api: Api) -> None:
    """The API server is told, before and while it answers."""

    def wait(call: Call) -> None:
        call.behind = call.http.rest()

    api.answers["/api/leave/silent"] = wait
    gone = threading.Event()

    def give(call: Call) -> None:
        call.http.send(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                call.http.send(BLOCK)
        gone.set()

    api.answers["/api/leave/giving"] = give
    for path in ("silent", "giving"):
        with Http.secure(web.https) as http:
            http.send(f"GET /api/leave/{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            call = api.wait_call(f"/api/leave/{path}")
        assert call.ended.wait(10)
    assert gone.wait(1)


# WebSocket -----------------------------------------------------------------------------------------


def echo_messages(call: Call) -> None:
    """Speak WebSocket and send each message back."""
    websocket = ServerProtocol(max_size=None)
    lines = "".join(f"{name}: {value}\r\n" for name, value in call.headers)
    websocket.receive_data(f"GET {call.target} HTTP/1.1\r\n{lines}\r\n".encode())
    websocket.send_response(websocket.accept(websocket.events_received()[0]))  # type: ignore[arg-type]
    while not websocket.close_expected():
        for data in websocket.data_to_send():
            call.http.send(data)
        data = call.http.receive_some(30)
        websocket.receive_data(data)
        for event in websocket.events_received():
            if isinstance(event, Frame) and event.opcode is Opcode.BINARY:
                websocket.send_binary(event.data)
    for data in websocket.data_to_send():
        call.http.send(data)


def test_websocket(web: WebServer, api: Api) -> None:
    """It goes through, and may be silent for longer than an answer."""
    api.answers["/api/ws"] = echo_messages
    made = connected_socket(("127.0.0.1", web.https), (unique_source(), 0))
    with connect(f"wss://{DOMAIN}:{web.https}/api/ws?x=y", sock=made, ssl=TRUST.trust(), proxy=None) as websocket:
        for size in (1, 70_000, 900_000):
            websocket.send(BLOCK[:size])
            assert websocket.recv(10) == BLOCK[:size]
        with pytest.raises(TimeoutError):
            websocket.recv(API_TIMEOUT + 1)
        websocket.send(b"still there")
        assert websocket.recv(10) == b"still there"
    call = api.wait_call("/api/ws")
    assert call.ended.wait(10)
    assert (call.named("connection"), call.named("upgrade")) == (["upgrade"], ["websocket"])


# Headers -------------------------------------------------------------------------------------------

SPOOFED = (
    b"X-Forwarded-For: 192.0.2.1\r\nx-forwarded-for: 192.0.2.2, 192.0.2.3\r\nX_Forwarded_For: 192.0.2.4\r\n"
    b"X-Real-IP: 192.0.2.5\r\nX-Real_IP: 192.0.2.6\r\nForwarded: for=192.0.2.7;proto=http;host=evil.example\r\n"
    b"X-Forwarded-Proto: http\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Ssl: off\r\n"
    b"True-Client-IP: 192.0.2.8\r\nCF-Connecting-IP: 192.0.2.9\r\nCF_Connecting_IP: 192.0.2.10\r\n"
    b"X-Client-IP: 192.0.2.11\r\nX-Cluster-Client-IP: 192.0.2.12\r\n"
)


def test_who_asks(web: WebServer, api: Api) -> None:
    """The API server is told whose call it is, and by which name; the client's own words don't count."""
    with Http.secure(web.https) as http:
        http.ask(b"GET /api/who", SPOOFED)
        source = http.local[0]
    call = api.wait_call("/api/who")
    assert call.named("x-forwarded-for") == [source]
    assert call.named("x-real-ip") == [source]
    assert call.named("x-forwarded-proto") == ["https"]
    assert call.named("x-forwarded-host") == [DOMAIN]
    values = " ".join(value for _, value in call.headers)
    assert "192.0.2." not in values
    assert "evil" not in values


def test_headers_of_one_hop(web: WebServer, api: Api) -> None:
    """They concern the connection to this server; all others are passed on as they came."""
    hop = (
        b"Connection: keep-alive, X-Hop\r\nConnection: x-other\r\nKeep-Alive: timeout=5\r\n"
        b"X-Hop: 1\r\nX-Other: 1\r\n"
        b"Proxy-Authorization: Basic x\r\nProxy-Connection: keep-alive\r\n"
    )
    with Http.secure(web.https) as http:
        http.ask(
            b"GET /api/hop", hop + b"Cookie: a=b\r\nX-Two: 1\r\nX-Two: 2\r\nAccept: */*\r\nX-Bytes: \xc3\xa9\r\n"
        )
    call = api.wait_call("/api/hop")
    names = {name.lower() for name, _ in call.headers}
    assert not names & {"keep-alive", "x-hop", "x-other", "proxy-authorization", "proxy-connection", "upgrade"}
    assert call.named("connection") == ["close"]
    assert (call.named("cookie"), call.named("x-two"), call.named("accept")) == (["a=b"], ["1", "2"], ["*/*"])
    assert call.named("x-bytes") == ["\xc3\xa9"]


def test_odd_headers(web: WebServer, api: Api) -> None:
    """What is no text is passed on as it came, or is not looked at."""
    odd = b"Connection: \xff, \xfe\r\nUpgrade: \xff\r\nX-Forwarded-For: \xff\r\nX-Real-IP: \xff\r\n"
    with Http.secure(web.https) as http:
        http.send(b"GET /api/odd HTTP/1.1\r\nHost: \xff\r\n" + odd + b"X-Odd: \xff\r\n\r\n")
        assert http.response().status == 200
        source = http.local[0]
    call = api.wait_call("/api/odd")
    assert (call.named("x-odd"), call.named("x-forwarded-host")) == (["\xff"], ["\xff"])
    assert call.named("x-forwarded-for") == [source]


def test_old_client(web: WebServer, api: Api) -> None:
    """HTTP/1.0, without a host, gets its answer and the end."""
    with Http.secure(web.https) as http:
        http.send(b"GET /api/old HTTP/1.0\r\n\r\n")
        assert http.response().status == 200
        assert http.rest() == b""
    assert api.wait_call("/api/old").named("x-forwarded-host") == []


def test_behind_a_trusted_proxy(start_server: StartServer, api: Api) -> None:
    """The proxy's word counts: whose call it is, and how that came to the proxy."""
    port = free_port()
    flags = ("--api-server", f"http://127.0.0.1:{api.port}", "--trusted-proxies", "127.0.0.0/8")
    start_server("--http", str(port + 5), *flags, port=port)
    told = b"X-Forwarded-For: 192.0.2.1, 203.0.113.9\r\nX-Forwarded-Proto: https\r\n"
    told += b"X-Forwarded-Host: public.example\r\nForwarded: for=\xff\r\n"
    with Http.plain(port + 5) as http:
        http.ask(b"GET /api/proxied/1", told)
        source = http.local[0]
    call = api.wait_call("/api/proxied/1")
    assert call.named("x-forwarded-for") == ["203.0.113.9"]
    assert call.named("x-forwarded-proto") == ["https"]
    assert call.named("x-forwarded-host") == ["public.example"]
    with Http.plain(port + 5) as http:
        http.ask(b"GET /api/proxied/2", host="other.example:8080")
        source = http.local[0]
    call = api.wait_call("/api/proxied/2")
    assert call.named("x-forwarded-for") == [source]
    assert call.named("x-forwarded-proto") == ["http"]
    assert call.named("x-forwarded-host") == ["other.example:8080"]


# Paths ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "/api",
        "/API/x",
        "/apis/x",
        "/x/api/y",
        "/api/../admin",
        "/api/%2e%2e/admin",
        "/api/.%2E/admin",
        "/api/..%2fadmin",
        "/api/x/..%2f..%2fadmin",
        "/api/%2e%2e%2fadmin",
        "/api/..%5cadmin",
        "/api/..\\admin",
        "/api/x/../../admin",
        "/api/./../admin",
        "/api//../admin",
        "/api/%00",
        "/api/%0d%0aX:y",
        "/api/x%23y",
        "/api/..;/admin",
        "/api/x/%2e%2e;a=b/../admin",
        "/api/%2e%2e%3b/admin",
        "/api/.;/..;",
        "http://127.0.0.1/api/x",
        "https://rd.example.org/api/x",
        "*",
        "api/x",
        "/./admin",
        "/admin",
        "/admin?/api/x",
        "/%61pi",
    ],
)
def test_other_paths(web: WebServer, api: Api, target: str) -> None:
    """What is not below /api/ is not forwarded, however it is written."""
    before = len(api.calls.all())
    with Http.secure(web.https) as http:
        assert http.ask(b"GET " + target.encode()).status in (400, 404, 405)
    assert len(api.calls.all()) == before


@pytest.mark.parametrize(
    ("target", "called"),
    [
        ("/api/one/../two", "/api/two"),
        ("/api/./three", "/api/three"),
        ("/%61pi/four", "/api/four"),
        ("/x/../api/five/", "/api/five/"),
        ("/api/%252e%252e/six", "/api/%252e%252e/six"),
        ("/api/seven?a=/../b&c=%2e%2e", "/api/seven?a=/../b&c=%2e%2e"),
        ("/api/eight?", "/api/eight?"),
        ("/api/nine;/..x;y=z", "/api/nine;/..x;y=z"),
        ("/api/%E2%82%AC", "/api/%E2%82%AC"),
    ],
)
def test_paths_in_normal_form(web: WebServer, api: Api, target: str, called: str) -> None:
    """What is below /api/ is called by a path that cannot be read in two ways."""
    with Http.secure(web.https) as http:
        assert http.ask(b"GET " + target.encode()).status == 200
    assert called in api.called()


# What goes wrong -----------------------------------------------------------------------------------


def test_nobody_answers(start_server: StartServer, tmp_path: Path) -> None:
    """At once, and so that the client can read it; one connection of an address is enough for a call."""
    limit = ("--max-web-connections-per-address", "1", "--api-server", "http://127.0.0.1:9")
    web, source = start_web(start_server, tmp_path, *limit), unique_source()

    def refused() -> bool:
        try:
            with Http.secure(web.https, source) as http:
                return http.ask(b"POST /api/x", b"Content-Length: 400000\r\n", bytes(400_000)).status == 502
        except ConnectionError:
            return False

    for _ in range(3):
        wait_until(refused, 15, "an answer")
    assert "asking the API server failed" in web.process.output


def test_silent(web: WebServer, api: Api) -> None:
    """An API server that says nothing, or no more, is waited for as long as set."""
    stop = threading.Event()
    api.answers["/api/silent"] = holds(stop)

    def half(call: Call) -> None:
        call.http.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        stop.wait(20)

    api.answers["/api/half"] = half
    begin = time.monotonic()
    with Http.secure(web.https) as silent, Http.secure(web.https) as cut:
        for http, path in ((silent, b"silent"), (cut, b"half")):
            http.send(b"GET /api/" + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = silent.response()
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (504, "*")
        assert cut.head().status == 200
        cut.wait_closed()
        assert cut.buffer == b"hello"
    assert API_TIMEOUT - 0.1 <= time.monotonic() - begin < API_TIMEOUT + 6
    stop.set()


def test_no_answer(web: WebServer, api: Api) -> None:
    """An API server that closes without a word."""
    api.answers["/api/nothing"] = lambda call: None
    with Http.secure(web.https) as http:
        answer = http.ask(b"GET /api/nothing")
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (502, "*")


def test_limit_counts_calls(start_server: StartServer, tmp_path: Path, api: Api) -> None:
    """A call is a connection of its client for as long as it lasts."""
    flags = ("--max-web-connections-per-address", "2", "--api-server", f"http://127.0.0.1:{api.port}")
    web, source, stop = start_web(start_server, tmp_path, *flags), unique_source(), threading.Event()
    api.answers["/api/held"] = holds(stop)
    with contextlib.ExitStack() as stack:
        for number in range(2):
            http = stack.enter_context(Http.secure(web.https, source))
            http.send(b"GET /api/held?%d HTTP/1.1\r\nHost: x\r\n\r\n" % number)
            api.wait_call(f"/api/held?{number}")
        with Http.plain(web.http, source) as third, pytest.raises(ConnectionError):
            third.ask(b"GET /")
    stop.set()

    def free() -> bool:
        with contextlib.suppress(ConnectionError), Http.secure(web.https, source) as http:
            return http.ask(b"GET /api/free").status == 200
        return False

    wait_until(free, 15, "room")


# An API server with TLS ----------------------------------------------------------------------------


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
