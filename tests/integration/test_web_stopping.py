"""SIGTERM and SIGUSR2 while the API server thinks: calls are answered, as long as there is time."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.client.threads import wait_until
from tests.integration.api import Api, Call
from tests.integration.server import ServerProcess, free_port
from tests.integration.support import StartServer
from tests.integration.test_handover import handed_over
from tests.integration.test_stopping import QUICK, terminate
from tests.integration.web import Http

CALL = b"GET /api/slow HTTP/1.1\r\nHost: x\r\n\r\n"
UPGRADE = b"GET /api/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
BODY = bytes(3_000_000)


@pytest.fixture
def told() -> threading.Event:
    """Tells the API server to answer."""
    return threading.Event()


@pytest.fixture
def api(told: threading.Event) -> Iterator[Api]:
    """An API server that answers when it is told to."""

    def slow(call: Call) -> None:
        assert told.wait(30)
        call.answer(BODY)

    def switch(call: Call) -> None:
        call.http.send(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        call.http.rest(30)

    with Api() as running:
        running.answers |= {"/api/slow": slow, "/api/ws": switch}
        yield running
        told.set()


def served(start_server: StartServer, api: Api, *flags: str) -> tuple[ServerProcess, int]:
    """A server that forwards to it, and its web port."""
    port = free_port()
    to_api = ("--api-server", f"http://127.0.0.1:{api.port}")
    return start_server("--http", str(port + 5), *to_api, *flags, port=port), port + 5


def test_calls_go_on(start_server: StartServer, api: Api, told: threading.Event) -> None:
    """A call that waits gets its whole answer after SIGTERM; a new one is refused, and the server ends then."""
    server, port = served(start_server, api, "--stop-timeout", "60")
    with Http.plain(port) as http, Http.plain(port) as other:
        assert other.ask(b"GET /").status == 404
        http.send(CALL)
        api.wait_call("/api/slow")
        process = terminate(server)
        server.wait_line("1 API calls may go on for 60 s")
        with pytest.raises(OSError, match="refused"):
            Http.plain(port)
        assert other.ask(b"GET /api/new").status == 503
        told.set()
        assert http.response().body == BODY
        process.wait(QUICK)
    assert "/api/new" not in api.called()


def test_deadline(start_server: StartServer, api: Api) -> None:
    """A call that takes too long is cut."""
    server, port = served(start_server, api, "--stop-timeout", "1")
    with Http.plain(port) as http:
        http.send(CALL)
        api.wait_call("/api/slow")
        process = terminate(server)
        http.wait_closed()
        process.wait(QUICK)


@pytest.mark.parametrize("ended", ["switched", "answered"])
def test_what_is_not_waited_for(start_server: StartServer, api: Api, told: threading.Event, ended: str) -> None:
    """A WebSocket to the API server holds up no end, nor does a client that stays behind its answer."""
    server, port = served(start_server, api, "--stop-timeout", "60")
    with Http.plain(port) as http:
        told.set()
        http.send(UPGRADE if ended == "switched" else CALL)
        assert http.response().status == (101 if ended == "switched" else 200)
        terminate(server).wait(QUICK)


def test_second_signal(start_server: StartServer, api: Api) -> None:
    """It ends calls, too."""
    server, port = served(start_server, api, "--stop-timeout", "60")
    with Http.plain(port) as http:
        http.send(CALL)
        api.wait_call("/api/slow")
        process = terminate(server)
        server.wait_line("API calls may go on")
        process.terminate()
        http.wait_closed(QUICK)
        process.wait(QUICK)


def test_another_process_takes_over(start_server: StartServer, api: Api, told: threading.Event) -> None:
    """A call goes on in the old process, which ends behind it; new ones are the new process's."""
    server, port = served(start_server, api)
    with Http.plain(port) as http:
        http.send(CALL)
        api.wait_call("/api/slow")
        with handed_over(server):
            with Http.plain(port) as other:
                assert other.ask(b"GET /api/other").status == 200
            assert server.process is not None
            assert server.process.poll() is None
            told.set()
            assert http.response().body == BODY
            wait_until(lambda: server.process is not None and server.process.poll() is not None, 20, "its end")
