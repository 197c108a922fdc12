"""API calls on the web ports: which are forwarded, and what a client hears of an API server that fails."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

import pytest

from tests.client.threads import wait_until
from tests.integration.api import Api, Call
from tests.integration.support import StartServer, unique_source
from tests.integration.web import DOMAIN, Http, WebServer, start_web
from tests.integration.web_api.calls import (
    API_TIMEOUT,
    holds,
)


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
