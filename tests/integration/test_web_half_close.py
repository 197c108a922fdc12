"""Clients of the plain web port that say that nothing more comes, and wait for the answer."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.integration.api import Api, Call
from tests.integration.server import free_port
from tests.integration.support import StartServer
from tests.integration.web import Http

API_TIMEOUT = 20
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
CALL = b"POST /api/half HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"
UPGRADE = b"GET /api/half/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SOON = 5.0
"""Seconds; below all that a server waits for by default."""


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    """An API server."""
    with Api() as running:
        yield running


@pytest.fixture(scope="module")
def port(start_module_server: StartServer, api: Api) -> int:
    """The web port of a server that forwards to it."""
    port = free_port()
    flags = ("--api-server", f"http://127.0.0.1:{api.port}", "--api-timeout", str(API_TIMEOUT))
    start_module_server("--http", str(port + 5), *flags, port=port)
    return port + 5


@pytest.fixture
def http(port: int) -> Iterator[Http]:
    """A connection to it."""
    with Http.plain(port) as connection:
        yield connection


def send_all(http: Http, data: bytes) -> None:
    """Send bytes, and that they are all."""
    http.send(data)
    http.socket.shutdown(socket.SHUT_WR)


def ends_soon(http: Http) -> None:
    """The connection ends with nothing more."""
    begin = time.monotonic()
    assert http.rest() == b""
    assert time.monotonic() - begin < SOON


@pytest.mark.parametrize("count", [1, 4000])
def test_answers(http: Http, count: int) -> None:
    """All answers come, also those that the client is slow to take, then the end."""
    send_all(http, GET * count)
    assert [http.response().status for _ in range(count)] == [404] * count
    ends_soon(http)


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HT", GET[:-2], b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel"]
)
def test_unfinished(http: Http, sent: bytes) -> None:
    """Who sends no whole request gets the end at once."""
    send_all(http, sent)
    ends_soon(http)


def test_idle_after_an_answer(http: Http) -> None:
    """A connection that has been of use ends as soon as the client has no more requests."""
    http.send(GET)
    assert http.response().status == 404
    send_all(http, b"")
    ends_soon(http)


def test_answer_of_the_api_server(http: Http, api: Api) -> None:
    """It comes, however late."""
    answer = threading.Event()

    def late(call: Call) -> None:
        body = call.body()
        assert answer.wait(20)
        call.answer(b"answer to " + body)

    api.answers["/api/half"] = late
    send_all(http, CALL + b"hello")
    api.wait_call("/api/half")
    with pytest.raises(TimeoutError):
        http.receive_some(0.5)
    answer.set()
    assert http.response().body == b"answer to hello"
    ends_soon(http)


def test_call_that_is_not_finished(http: Http, api: Api) -> None:
    """The API server learns that the client has left in the middle of a body."""
    api.answers["/api/half/body"] = lambda call: setattr(call, "behind", call.http.rest())
    http.send(CALL.replace(b"/half", b"/half/body") + b"hel")
    call = api.wait_call("/api/half/body")
    send_all(http, b"l")
    ends_soon(http)
    assert call.ended.wait(SOON)
    assert call.behind == b"hell"


@pytest.mark.parametrize("when", ["before", "after"])
def test_websocket(http: Http, api: Api, when: str) -> None:
    """One that is no HTTP any more ends with the client's side, and a refusal of it comes before."""

    def agree(call: Call) -> None:
        call.http.send(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        call.behind = call.http.rest()

    path = f"/api/half/{when}"
    upgrade = UPGRADE.replace(b"/api/half/ws", path.encode())
    api.answers[path] = agree
    if when == "before":
        send_all(http, upgrade)
        assert http.response().status == 101
    else:
        http.send(upgrade)
        assert http.response().status == 101
        send_all(http, b"hello")
    ends_soon(http)
    call = api.wait_call(path)
    assert call.ended.wait(SOON)
    assert call.behind == (b"" if when == "before" else b"hello")
