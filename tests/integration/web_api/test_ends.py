"""API calls on the web ports: nothing goes on behind a call, and its end is told."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest

from tests.client.threads import wait_until
from tests.integration.api import Api, Call, keeping_echo
from tests.integration.command import asked
from tests.integration.support import StartServer
from tests.integration.web import Http, WebServer, start_web
from tests.integration.web_api.calls import (
    API_TIMEOUT,
)

HIDDEN = b"GET /admin HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"


def drops(web: WebServer, reason: str) -> int:
    """How often the web ports have counted a reason."""
    told = asked(web.process, "status")[0]["drops"]
    return sum(drop["count"] for drop in told if (drop["place"], drop["reason"]) == ("web", reason))


def counted(web: WebServer, reason: str, before: int) -> None:
    """Returns once a reason was counted `before` times and once more, and no more often."""
    wait_until(lambda: drops(web, reason) > before, 20, f"{reason} to be counted")
    assert drops(web, reason) == before + 1


@pytest.mark.parametrize("upgrade", ["websocket", "h2c", "WebSocket, h2c"])
def test_nothing_behind_a_refused_upgrade(web: WebServer, api: Api, upgrade: str) -> None:
    """A request that hides behind one is not forwarded: its path was not looked at."""
    path = f"/api/refused/{len(upgrade)}"
    api.answers[path] = lambda call: call.answer(b"no", "404 Not Found", "")
    hidden = b"GET /admin HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
    headers = f"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\nHTTP2-Settings: AAMAAABk\r\n".encode()
    with Http.secure(web.https) as http:
        assert http.ask(b"GET " + path.encode(), headers, hidden).body == b"no"
        with contextlib.suppress(ConnectionError):
            http.send(hidden)
        call = api.wait_call(path)
        assert call.ended.wait(10)
    assert call.behind == b""
    assert call.named("http2-settings") == []
    assert "h2c" not in call.named("upgrade")


CHUNKED = b"Transfer-Encoding: chunked\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (b"", b""),
        (b"Content-Length: 5\r\n", b"hello"),
        (b"Connection: keep-alive, Content-Length\r\nContent-Length: 5\r\n", b"hello"),
        (CHUNKED, b"5\r\nhello\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: Chunked\r\n", b"5;a=b\r\nhello\r\n0\r\nTrailer: x\r\n\r\n"),
        (b"Connection: keep-alive, Transfer-Encoding\r\n" + CHUNKED, b"5\r\nhello\r\n0\r\n\r\n"),
        (CHUNKED + b"Connection: Upgrade\r\nUpgrade: h2c\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
    ],
)
def test_nothing_behind_a_request(web: WebServer, api: Api, headers: bytes, body: bytes) -> None:
    """What comes behind the body is not forwarded, whether the API server waits for more or not."""
    plain = b"hello" if body else b""
    for kept in (False, True):
        path = f"/api/behind/{kept}/{abs(hash(headers))}"
        if kept:
            api.answers[path] = keeping_echo
        with Http.secure(web.https) as http:
            answer = http.ask(b"POST " + path.encode(), headers, body + HIDDEN)
            assert answer.body == b"answer to " + plain
            with contextlib.suppress(ConnectionError):
                http.send(HIDDEN)
        call = api.wait_call(path)
        assert call.ended.wait(10)
        assert call.behind == b""
        assert call.named("connection") == ["close"]
        assert call.named("transfer-encoding") == (["chunked"] if body and b"Length: " not in headers else [])
    assert "/admin" not in api.called()


@pytest.mark.parametrize(
    "headers",
    [
        CHUNKED + UPGRADE,
        CHUNKED + CHUNKED,
        CHUNKED + b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding: identity\r\n" + CHUNKED,
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: identity\r\nContent-Length: 5\r\n",
        CHUNKED + b"Content-Length: 5\r\n",
    ],
)
@pytest.mark.parametrize("path", [b"/api/coded", b"/ws/id", b"/"])
def test_other_transfer_codings(web: WebServer, api: Api, headers: bytes, path: bytes) -> None:
    """A request is in chunks, once, or not; and one in chunks is no upgrade."""
    before = drops(web, "bad_request")
    with Http.secure(web.https) as http:
        assert http.ask(b"GET " + path, headers, b"0\r\n\r\n" + HIDDEN).status == 400
        assert http.rest() == b""
    assert not {"/api/coded", "/admin"} & api.called()
    assert drops(web, "bad_request") == before + 1


def test_chunks_of_an_old_client(web: WebServer, api: Api) -> None:
    """HTTP/1.0 has no chunks: who gets such a request may take them for another one."""
    with Http.secure(web.https) as http:
        http.send(b"POST /api/coded HTTP/1.0\r\n" + CHUNKED + b"\r\n0\r\n\r\n")
        assert http.response().status == 400
    assert "/api/coded" not in api.called()


def listen(call: Call) -> None:
    """Give no answer until the other side has sent all."""
    call.behind = call.http.rest()


@pytest.mark.parametrize("before", [b"", b"5\r\nhello\r\n"])
@pytest.mark.parametrize(
    ("sound", "body"),
    [
        (b"", b"0\n\n"),
        (b"", b"-1\r\n"),
        (b"", b"\r\n"),
        (b"", b"0;" + b"x" * 300),
        (b"5\r\nhello", b"GET /admin\r\n"),
        (b"0\r\na: b\r\n", b"GET /admin\r\n"),
    ],
)
def test_malformed_chunks(web: WebServer, api: Api, before: bytes, sound: bytes, body: bytes) -> None:
    """They end the call, and nothing that is no chunk gets to the API server."""
    path, count = f"/api/malformed/{len(before)}/{len(sound)}/{len(body)}", drops(web, "bad_request")
    api.answers[path] = listen
    with Http.secure(web.https) as http:
        assert http.ask(b"POST " + path.encode(), CHUNKED, before + sound + body + HIDDEN).status == 400
        assert http.rest() == b""
    counted(web, "bad_request", count)
    call = api.wait_call(path)
    assert call.ended.wait(10)
    assert call.behind == before + sound


def test_malformed_chunks_behind_an_answer(web: WebServer, api: Api) -> None:
    """Who has the beginning of an answer gets the end of the connection."""

    def begin(call: Call) -> None:
        call.http.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        listen(call)

    api.answers["/api/begun"] = begin
    count = drops(web, "bad_request")
    with Http.secure(web.https) as http:
        http.send(b"POST /api/begun HTTP/1.1\r\nHost: x\r\n" + CHUNKED + b"\r\n")
        assert http.head().status == 200
        http.send(b"5\nhello")
        assert http.rest() == b"hello"
    counted(web, "bad_request", count)
    call = api.wait_call("/api/begun")
    assert call.ended.wait(10)
    assert call.behind == b""


REFUSED = b"HTTP/1.1 404 Not Found\r\nConnection: keep-alive\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        REFUSED + b"Content-Length: 5\r\n\r\nhello",
        REFUSED + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + REFUSED + b"Content-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n",
    ],
)
def test_end_of_a_refused_upgrade(web: WebServer, api: Api, answer: bytes) -> None:
    """It is told and comes behind the answer, also when the API server keeps the connection, and is no failure."""

    def refuse(call: Call) -> None:
        call.http.send(answer)
        listen(call)

    api.answers["/api/refusal"] = refuse
    with Http.secure(web.https) as http:
        begin = time.monotonic()
        head = http.ask(b"GET /api/refusal", UPGRADE)
        while head.status == 103:
            head = http.response()
        assert (head.status, head.body) in ((404, b"hello"), (204, b""))
        assert head.headers["connection"] == "close"
        assert http.rest() == b""
        assert time.monotonic() - begin < API_TIMEOUT
    wait_until(lambda: all(call.ended.is_set() for call in api.calls.all()), 20, "the end for the API server")
    assert "asking the API server failed" not in web.process.output


def test_refused_upgrade_of_unknown_length(web: WebServer, api: Api) -> None:
    """The answer ends with the API server's connection."""
    api.answers["/api/unknown"] = lambda call: call.http.send(REFUSED + b"\r\nhello")
    with Http.secure(web.https) as http:
        answer = http.ask(b"GET /api/unknown", UPGRADE)
        assert (answer.status, answer.body) == (404, b"hello")


def test_switch_behind_an_interim_answer(web: WebServer, api: Api) -> None:
    """An upgrade that the API server agrees to on second thoughts is one."""

    def agree(call: Call) -> None:
        call.http.send(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n")
        call.http.send(UPGRADE + b"\r\nhello ")
        call.http.send(b"echo of " + call.http.receive(9))

    api.answers["/api/agree"] = agree
    with Http.secure(web.https) as http:
        assert http.ask(b"GET /api/agree", UPGRADE, b"early").status == 103
        assert http.response().status == 101
        assert http.receive(6) == b"hello "
        http.send(b"late")
        assert http.rest() == b"echo of earlylate"


def test_upgrade_that_is_answered_with_nonsense(start_server: StartServer, tmp_path: Path, api: Api) -> None:
    """The client is told, and the log that the API server failed."""
    web = start_web(start_server, tmp_path, "--api-server", f"http://127.0.0.1:{api.port}")
    api.answers["/api/nonsense"] = lambda call: call.http.send(b"hello\r\n\r\n")
    with Http.secure(web.https) as http:
        assert http.ask(b"GET /api/nonsense", UPGRADE).status == 502
    web.process.wait_line("asking the API server failed: what it sent is no HTTP answer")


@pytest.mark.parametrize("body", [b"Content-Length: 10\r\n\r\nab", CHUNKED + b"\r\n5\r\nab"])
def test_silent_client(web: WebServer, api: Api, body: bytes) -> None:
    """A client that does not go on with its request is told; nobody says that the API server failed."""
    api.answers["/api/listening"] = listen
    count = drops(web, "no_request")
    with Http.secure(web.https) as http:
        http.send(b"POST /api/listening HTTP/1.1\r\nHost: x\r\n" + body)
        assert http.response().status == 408
        assert http.rest() == b""
    counted(web, "no_request", count)
    assert "asking the API server failed" not in web.process.output


def test_client_that_waits(start_server: StartServer, tmp_path: Path, api: Api) -> None:
    """Who asks before it sends a body may wait for the API server, which fails then."""
    flags = ("--api-server", f"http://127.0.0.1:{api.port}", "--api-timeout", "1")
    web = start_web(start_server, tmp_path, *flags)
    api.answers["/api/expected"] = listen
    with Http.secure(web.https) as http:
        assert http.ask(b"PUT /api/expected", b"Expect: 100-continue\r\nContent-Length: 5\r\n").status == 504
    web.process.wait_line("asking the API server failed: it was silent for too long")
