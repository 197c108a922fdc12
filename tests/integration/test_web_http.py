"""What the web ports say to HTTP: to well-behaved clients and to nonsense."""

from __future__ import annotations

import contextlib

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from tests.integration.support import StartServer
from tests.integration.web import (
    GET,
    NAT_TEST,
    UPGRADE,
    Dial,
    Http,
    WebServer,
    dialer,
    frame,
    nothing,
    start_web,
)

LARGEST_BODY = 65536


@pytest.fixture(scope="module")
def web(start_module_server: StartServer, tmp_path_factory: pytest.TempPathFactory) -> WebServer:
    """A server that has patience."""
    return start_web(start_module_server, tmp_path_factory.mktemp("certificate"))


@pytest.fixture(params=["https", "http"])
def dial(request: pytest.FixtureRequest, web: WebServer) -> Dial:
    """Connects to either port."""
    return dialer(web, request.param)


def test_two_requests_on_one_connection(dial: Dial) -> None:
    """The connection stays, also after a body, and a request in pieces is one."""
    with dial() as http:
        for path in (b"/", b"/x?y=z", b"/favicon.ico"):
            answer = http.ask(b"GET " + path)
            assert answer.status == nothing(http)
            assert answer.headers["content-length"] == str(len(answer.body))
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "server" not in answer.headers
        assert http.ask(b"POST /", b"Content-Length: 5\r\n", b"hello").status == nothing(http)
        body = bytes(LARGEST_BODY)
        assert http.ask(b"PUT /", b"Content-Length: %d\r\n" % len(body), body).status == nothing(http)
        for byte in GET:
            http.send(bytes([byte]))
        assert http.response().status == nothing(http)


def test_head(dial: Dial) -> None:
    """The head that GET gets, and no body."""
    with dial() as http:
        got = http.ask(b"GET /")
        head = http.ask(b"HEAD /")
        assert (head.status, head.body) == (got.status, b"")
        assert head.headers["content-length"] == got.headers["content-length"]
        assert http.ask(b"GET /").status == got.status


def test_options(dial: Dial) -> None:
    """Web pages of any origin are told what they may do, before they do it."""
    with dial() as http:
        asked = b"Origin: https://app.example\r\nAccess-Control-Request-Method: GET\r\n"
        for _ in range(2):
            answer = http.ask(b"OPTIONS /x", asked)
            assert (answer.status, answer.body) == (204, b"")
            assert answer.headers["access-control-allow-origin"] == "*"
            assert "GET" in answer.headers["access-control-allow-methods"]
        assert http.ask(b"OPTIONS *").status in (200, 204)
        assert http.ask(b"GET /", b"Origin: null\r\n").headers["access-control-allow-origin"] == "*"


def test_pipelined(dial: Dial) -> None:
    """Requests sent together are answered in their order, the last of them with a WebSocket."""
    with dial() as http:
        http.send(GET + GET.replace(b"GET", b"HEAD") + GET + UPGRADE + frame(NAT_TEST))
        assert [http.response(method).status for method in ("GET", "HEAD", "GET")] == [nothing(http)] * 3
        assert http.response().status == 101
        kind, size = http.receive(2)
        answer = pb.RendezvousMessage.FromString(http.receive(size))
        assert (kind, answer.test_nat_response.port) == (0x82, http.local[1])


@pytest.mark.parametrize(
    "request_head", [b"GET / HTTP/1.0\r\n\r\n", GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")]
)
def test_end_after_the_answer(dial: Dial, request_head: bytes) -> None:
    """HTTP/1.0, and who asks for it, gets the end of the connection behind the answer; more is not answered."""
    with dial() as http:
        http.send(request_head + GET)
        assert http.response().status in (404, 308, 400)
        assert http.rest() == b""


MALFORMED = {
    "no request": b"hello\r\n\r\n",
    "two words": b"GET /\r\n\r\n",
    "four words": b"GET / x HTTP/1.1\r\n\r\n",
    "zeros": bytes(64) + b"\r\n\r\n",
    "binary": bytes(range(128, 256)) * 2 + b"\r\n\r\n",
    "no name": b"GET / HTTP/1.1\r\n: x\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nHost\r\n\r\n",
    "space in a name": b"GET / HTTP/1.1\r\nHo st: x\r\n\r\n",
    "zero in a value": b"GET / HTTP/1.1\r\nHost: x\0y\r\n\r\n",
    "length no number": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\nhello",
    "length negative": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\nhello",
    "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nhello",
    "length and chunks": GET[:-2] + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "other encoding": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\nhello",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": GET.replace(b"\r\n\r\n", b"\r\nHost: rd.example.org\r\n\r\n"),
    "two hosts of an old client": b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
    "long line": b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
    "long header": b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
    "much without an end": b"x" * 100_000,
    "many headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X%d: y\r\n" % n for n in range(600)) + b"\r\n",
    "bad, and more": b"GET\r\n" + GET * 20,
    "bad header, and more": b"GET / HTTP/1.1\r\nX\r\n\r\n" + GET * 20,
    "bad header in the middle": b"GET / HTTP/1.1\r\nX\r\nY: z\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed(dial: Dial, kind: str) -> None:
    """An error at most, then the end; nothing of it gets into the log."""
    with dial() as http:
        with contextlib.suppress(ConnectionError):
            http.send(MALFORMED[kind])
        http.socket.settimeout(10)
        with contextlib.suppress(ConnectionError):
            assert http.until(b"\r\n\r\n").startswith(b"HTTP/1.1 400 ")
        with contextlib.suppress(ConnectionError):
            http.send(GET)
        with contextlib.suppress(ConnectionError):
            assert http.rest() == b""
    with dial() as http:
        assert http.ask(b"GET /").status == nothing(http)


@pytest.mark.parametrize(("length", "status"), [(b"x", 400), (b"99999", 413)])
def test_web_pages_are_told_what_is_wrong(dial: Dial, length: bytes, status: int) -> None:
    """Also what is not answered by a resource may be read by pages of any origin."""
    with dial() as http:
        answer = http.ask(b"POST /", b"Origin: https://app.example\r\nContent-Length: " + length + b"\r\n")
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (status, "*")


ODD = {
    "form without a boundary": b"Content-Type: multipart/form-data\r\n",
    "form with a bad boundary": b"Content-Type: multipart/form-data; boundary=\xff\x00\r\n",
    "form that is none": b"Content-Type: multipart/form-data; boundary=x\r\n",
    "form": b"Content-Type: application/x-www-form-urlencoded; charset=\xff\r\n",
    "type": b"Content-Type: ;;;=\r\n",
    "cookies": b"Cookie: =; ;;a=\xff; b\r\n",
    "authorization": b"Authorization: Basic \xff\r\n",
    "hosts": b"Host: \xff\r\nHost: [::1\r\n",
    "range": b"Range: bytes=9-1\r\nIf-Modified-Since: never\r\nIf-None-Match: *\r\n",
    "expectation": b"Expect: the-unexpected\r\n",
    "upgrade": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    "folded": b"X: a\r\n b\r\n\tc\r\n",
}


@pytest.mark.parametrize("target", [b"/", b"*", b"/%", b"/%00%ff//../..", b"http://other.example/", b"x", b"\xff"])
@pytest.mark.parametrize("kind", ODD)
def test_odd(web: WebServer, kind: str, target: bytes) -> None:
    """Odd headers and targets are no reason for more than a 404 or a 400."""
    for port in ("https", "http"):
        with dialer(web, port)() as http:
            answer = http.ask(b"POST " + target, ODD[kind] + b"Content-Length: 3\r\n", b"a=\xff")
            assert answer.status in (400, 404, 405, nothing(http))


@pytest.mark.parametrize("head", [b"Content-Length: 65537\r\n", b"Content-Length: 99999999999999999999\r\n"])
@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"])
def test_body_too_long(dial: Dial, head: bytes, expect: bytes) -> None:
    """It is refused before it comes; who sends it all the same gets to read that."""
    with dial() as http:
        answer = http.ask(b"POST /", head + expect)
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        assert http.rest() == b""
    with dial() as http:
        assert http.ask(b"POST /", head, bytes(LARGEST_BODY + 1)).status == 413
    with dial() as http:
        http.send(b"POST / HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n")
        for _ in range(20):
            http.send(bytes(LARGEST_BODY))
        assert http.response().status == 413


def test_chunks_are_refused(dial: Dial) -> None:
    """A body of unknown length is too long."""
    with dial() as http:
        assert http.ask(b"POST /", b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n").status == 413


def test_continue(dial: Dial) -> None:
    """A body that is short enough is asked for."""
    with dial() as http:
        assert http.ask(b"POST /", b"Expect: 100-continue\r\nContent-Length: 5\r\n").status == 100
        http.send(b"hello")
        assert http.response().status == nothing(http)


def test_http_on_the_port_for_tls(web: WebServer) -> None:
    """It ends at once and quietly."""
    with Http.plain(web.https) as http:
        http.send(GET)
        http.wait_closed()
