"""Challenges of a certificate authority on the plain port, the way to the one with TLS, and WebSocket beside."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.client.controlled import Identity
from tests.client.links import dial_web
from tests.integration.server import free_port
from tests.integration.support import StartServer, unique_source
from tests.integration.web import DOMAIN, NAT_TEST, UPGRADE, Http, WebServer, frame, start_web

TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr_oA"
CONTENT = f"{TOKEN}.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI".encode()
CHALLENGES = "/.well-known/acme-challenge"


@pytest.fixture(scope="module")
def webroot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as certbot leaves it, with other things in and beside it."""
    root = tmp_path_factory.mktemp("acme") / "webroot"
    folder = root / ".well-known" / "acme-challenge"
    folder.mkdir(parents=True)
    (folder / TOKEN).write_bytes(CONTENT)
    for name in (".hidden", "with.dot", "with space", "index.html"):
        (folder / name).write_bytes(b"secret")
    (folder / "folder").mkdir()
    (folder / "folder" / TOKEN).write_bytes(b"secret")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "elsewhere").symlink_to(Path("..", TOKEN))
    os.mkfifo(folder / "fifo")
    for path in (folder.parent, root, root.parent):
        (path / TOKEN).write_bytes(b"secret")
    return root


@pytest.fixture(scope="module")
def web(start_module_server: StartServer, tmp_path_factory: pytest.TempPathFactory, webroot: Path) -> WebServer:
    """A server that serves it, with a port for TLS; relative to its data."""
    data = tmp_path_factory.mktemp("data")
    relative = os.path.relpath(webroot, data / "server" / "data")
    flags = ("--acme-webroot", relative, "--first-frame-timeout", "1")
    return start_web(start_module_server, tmp_path_factory.mktemp("tls"), *flags, folder=data / "server")


@pytest.fixture(scope="module")
def alone(start_module_server: StartServer, webroot: Path) -> int:
    """The port of a server without TLS, as before the first certificate."""
    port = free_port()
    start_module_server("--http", str(port + 5), "--acme-webroot", str(webroot), port=port)
    return port + 5


@pytest.mark.parametrize(
    "target", [f"{CHALLENGES}/{TOKEN}", f"{CHALLENGES}/{TOKEN}?x=y", f"{CHALLENGES}/%65{TOKEN[1:]}"]
)
def test_challenge(web: WebServer, alone: int, target: str) -> None:
    """Served as it is, to GET and HEAD, with TLS or before there is any."""
    for port in (web.http, alone):
        with Http.plain(port) as http:
            answer = http.ask(b"GET " + target.encode())
            assert (answer.status, answer.body) == (200, CONTENT)
            head = http.ask(b"HEAD " + target.encode())
            assert (head.status, head.headers["content-length"]) == (200, str(len(CONTENT)))


NOTHING = [
    CHALLENGES,
    f"{CHALLENGES}/",
    f"{CHALLENGES}/missing",
    f"{CHALLENGES}/.hidden",
    f"{CHALLENGES}/with.dot",
    f"{CHALLENGES}/with%20space",
    f"{CHALLENGES}/index.html",
    f"{CHALLENGES}/folder",
    f"{CHALLENGES}/folder/{TOKEN}",
    f"{CHALLENGES}/folder%2F{TOKEN}",
    f"{CHALLENGES}/dangling",
    f"{CHALLENGES}/elsewhere",
    f"{CHALLENGES}/fifo",
    f"{CHALLENGES}/{TOKEN}/",
    f"{CHALLENGES}//{TOKEN}",
    f"{CHALLENGES}/../{TOKEN}",
    f"{CHALLENGES}/../../{TOKEN}",
    f"{CHALLENGES}/%2e%2e/{TOKEN}",
    f"{CHALLENGES}/..%2f{TOKEN}",
    f"{CHALLENGES}/..%2f..%2f..%2f{TOKEN}",
    f"{CHALLENGES}/{TOKEN}%00",
    f"{CHALLENGES}/{TOKEN}%0a",
    f"{CHALLENGES}/..",
    f"/.well-known/{TOKEN}",
    f"/{TOKEN}",
    f"/../{TOKEN}",
    "/.well-known",
    "/.well-known/",
    "/",
]


@pytest.mark.parametrize("target", NOTHING)
def test_nothing_else(web: WebServer, alone: int, target: str) -> None:
    """No other file, no listing: 404, or the way to the other port."""
    with Http.plain(alone) as http:
        answer = http.ask(b"GET " + target.encode())
        assert (answer.status, answer.body) == (404, b"There is nothing here.\n")
    with Http.plain(web.http) as http:
        answer = http.ask(b"GET " + target.encode())
        assert answer.status in (308, 404)
        assert b"secret" not in answer.body
        assert TOKEN.encode() not in answer.body


def test_not_over_tls(web: WebServer) -> None:
    """Challenges are asked for on port 80; they are nobody's business elsewhere."""
    with Http.secure(web.https) as http:
        assert http.ask(f"GET {CHALLENGES}/{TOKEN}".encode()).status == 404


@pytest.mark.parametrize(
    ("host", "told"),
    [
        (DOMAIN, DOMAIN),
        (f"{DOMAIN}:80", DOMAIN),
        ("192.0.2.7:8080", "192.0.2.7"),
        ("[2001:db8::1]:80", "[2001:db8::1]"),
        ("[2001:db8::1]", "[2001:db8::1]"),
    ],
)
@pytest.mark.parametrize("target", ["/", "/a/b%20c?d=e&f=%2F#g", "//x/", "/@other.example/"])
def test_redirect(web: WebServer, host: str, told: str, target: str) -> None:
    """The same host and the same target with https, on the port that it is on."""
    with Http.plain(web.http) as http:
        answer = http.ask(b"GET " + target.encode(), host=host)
    assert answer.status == 308
    assert answer.headers["location"] == f"https://{told}:{web.https}{target}"
    assert urlsplit(answer.headers["location"]).port == web.https


@pytest.mark.parametrize(
    "host", ["", "a b", "a/b", "user@host", "a?b", "a#b", "x" * 300, "host:port", "[::1", "\\"]
)
def test_no_redirect_to_a_strange_host(web: WebServer, host: str) -> None:
    """What is no host name is not passed on."""
    with Http.plain(web.http) as http:
        answer = http.ask(b"GET /", host=host)
    assert answer.status == 404
    assert "location" not in answer.headers


@pytest.mark.parametrize("target", [b"http://other.example/x", b"@other.example/", b".other.example/", b"*"])
def test_no_redirect_for_a_strange_target(web: WebServer, target: bytes) -> None:
    """What is no path behind a host name is not put behind one."""
    with Http.plain(web.http) as http:
        answer = http.ask(b"GET " + target)
    assert answer.status in (400, 404, 405)
    assert "location" not in answer.headers


def test_websocket_beside(web: WebServer, alone: int) -> None:
    """A client that follows no redirect dials ws:// on this port."""
    assert web.ws.web is not None
    with dial_web(web.ws.web, "127.0.0.1", "/ws/id", (unique_source(), 0)) as link:
        assert link.ask(NAT_TEST).test_nat_response.port == link.local[1]
    with Http.plain(alone) as http:
        http.send(UPGRADE + frame(NAT_TEST))
        assert http.head().status == 101


@pytest.mark.parametrize("number", [1, 2])
def test_websocket_right_behind_a_challenge(web: WebServer, number: int) -> None:
    """Requests sent before the file was read wait, and the deadline of none of them cuts the WebSocket."""
    challenge = f"GET {CHALLENGES}/{TOKEN} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    with Http.plain(web.http) as http:
        http.send(challenge * number + UPGRADE)
        assert [http.response().body for _ in range(number)] == [CONTENT] * number
        assert http.response().status == 101
        http.send(frame(Identity.make().register_pk()))
        http.receive(http.receive(2)[1])
        with pytest.raises(TimeoutError):
            http.receive(1, timeout=2.5)
        http.send(frame(NAT_TEST))
        assert http.receive(2)[0] == 0x82
