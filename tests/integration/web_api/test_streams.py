"""API calls on the web ports: joined to connections to the API server, whatever flows on them."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time

import pytest
from websockets.sync.client import connect

from tests.client.links import connected_socket
from tests.client.threads import wait_until
from tests.integration.api import Api, Call
from tests.integration.support import unique_source
from tests.integration.web import DOMAIN, TRUST, Http, WebServer
from tests.integration.web_api.calls import (
    API_TIMEOUT,
    BLOCK,
    BUFFERED,
    MEGABYTE,
    echo_messages,
    holds,
    resident,
    send_until_stuck,
)


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
