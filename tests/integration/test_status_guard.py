"""Who may ask the status page of a real server for what, without a browser's help."""

from __future__ import annotations

import re
import socket
from urllib.parse import urlencode

import pytest

from tests.client.threads import wait_until
from tests.integration.pages import PAGES, PASSWORD, PASSWORD_HASH, Browser, serve_page
from tests.integration.server import ServerProcess
from tests.integration.support import StartServer, unique_source
from tests.integration.test_relay import pair


@pytest.fixture(scope="module")
def served(start_module_server: StartServer) -> tuple[ServerProcess, str]:
    """A server with a page that asks for no password."""
    return serve_page(start_module_server, "--host", "rd.example.org")


@pytest.fixture
def browser(served: tuple[ServerProcess, str]) -> Browser:
    """A browser that has not been there."""
    return Browser(served[0], int(served[1].rpartition(":")[2]))


@pytest.fixture(scope="module")
def closed(start_module_server: StartServer) -> tuple[ServerProcess, str]:
    """A server with a page that asks for a password."""
    return serve_page(start_module_server, env={"STATUS_PASSWORD": PASSWORD_HASH})


@pytest.fixture
def stranger(closed: tuple[ServerProcess, str]) -> Browser:
    """A browser that has not been there, at an address of its own."""
    return Browser(closed[0], int(closed[1].rpartition(":")[2]))


@pytest.mark.parametrize("path", [*PAGES, "/static/style.css", "/history", "/nothing", "/static/nothing"])
def test_headers(browser: Browser, path: str) -> None:
    """Every answer forbids scripts, styles and frames of others, and to keep it."""
    browser.ask("GET", path)
    policy = browser.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert browser.headers["X-Content-Type-Options"] == "nosniff"
    assert browser.headers["Referrer-Policy"] == "no-referrer"
    assert browser.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("localhost", 200),
        ("LOCALHOST:21120", 200),
        ("127.0.0.1:80", 200),
        ("[::1]:21120", 200),
        ("192.0.2.7", 200),
        ("rd.example.org:443", 200),
        ("evil.example.org", 403),
        ("127.0.0.1.evil.example.org:21120", 403),
        ("rd.example.org.evil.example", 403),
        ("", 403),
        ("]", 403),
    ],
)
def test_host(browser: Browser, host: str, code: int) -> None:
    """Addresses, localhost and the name of --host are expected, and no other name."""
    assert browser.ask("GET", "/settings", Host=host)[0] == code


def test_proxy(browser: Browser, stranger: Browser) -> None:
    """What a proxy forwards is served only where there is a password."""
    assert browser.ask("GET", "/", X_Forwarded_For="192.0.2.1")[0] == 403
    assert browser.ask("GET", "/", Forwarded="for=192.0.2.1")[0] == 403
    assert browser.ask("GET", "/", Via="1.1 proxy.example")[0] == 403
    assert stranger.ask("GET", "/login", X_Forwarded_For="192.0.2.1")[0] == 200


@pytest.mark.parametrize("path", ["/lists", "/sessions", "/logout"])
def test_changes_need_a_token(browser: Browser, path: str) -> None:
    """A form of another site, which has no token or a wrong one, changes nothing."""
    form = {"list": "denylist", "entry": "192.0.2.9", "do": "add", "number": "1"}
    assert browser.ask("POST", path, form)[0] == 403
    assert browser.ask("POST", path, form | {"token": "0" * 64})[0] == 403
    assert "192.0.2.9" not in browser.ask("GET", "/lists")[1]
    assert browser.ask("GET", path + "?" + urlencode(form))[0] in (200, 405)
    assert "192.0.2.9" not in browser.ask("GET", "/lists")[1]


def test_changes_are_audited(browser: Browser) -> None:
    """Each is a line in the file and in the log, with where it came from."""
    form = {"token": browser.token("/lists"), "list": "denylist", "entry": "192.0.2.8", "do": "add"}
    assert browser.ask("POST", "/lists", form)[0] == 303
    assert browser.ask("POST", "/lists", form | {"do": "remove"})[0] == 303
    browser.server.wait_line(f"somebody at {browser.source}: removed 192.0.2.8 from denylist")
    assert browser.audited(2)[-2:] == ["added 192.0.2.8 to denylist", "removed 192.0.2.8 from denylist"]
    assert (browser.server.data / "audit.log").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"list": "nothing", "entry": "192.0.2.8"}, 404),
        ({"list": "denylist", "entry": "\n"}, 400),
        ({"list": "blocklist", "entry": "<script>"}, 400),
        ({"number": "77"}, 404),
        ({"number": "x"}, 400),
    ],
)
def test_wrong_changes(browser: Browser, form: dict[str, str], code: int) -> None:
    """Each is refused with a sentence, which is no part of the page's own text."""
    path = "/lists" if "list" in form else "/sessions"
    status, body = browser.ask("POST", path, form | {"token": browser.token("/lists")})
    assert status == code
    assert "<script>" not in body
    browser.server.check()


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/peers?offset=x&sort=nothing&all=1", 200),
        ("/peers?offset=99999999999", 200),
        ("/peers?offset=99999999999999&all=1", 200),
        ("/sessions?search=%22%3E%3Cscript%3E", 200),
        ("/sessions/77/cut", 404),
        ("/sessions/x/cut", 404),
        ("/peers?search=%ff", 400),
        ("/peers?search=%22%3E%3Cscript%3E", 200),
        ("/client?host=%22%3E%3Cscript%3E", 400),
        ("/nothing", 404),
        ("/static/../service.py", 404),
        ("/static/%2e%2e%2fservice.py", 404),
    ],
)
def test_wrong_questions(browser: Browser, path: str, code: int) -> None:
    """Nothing that is asked for fails with a traceback, or comes back as a part of the page."""
    status, body = browser.ask("GET", path)
    assert status == code
    assert "<script>" not in body
    browser.server.check()


def test_icon(browser: Browser, stranger: Browser) -> None:
    """Browsers that ask for an icon by its old name get one, and so does who is not logged in."""
    for asking in (browser, stranger):
        status, body = asking.ask("GET", "/favicon.ico")
        assert (status, asking.headers["Content-Type"]) == (200, "image/svg+xml; charset=utf-8")
        assert body.startswith("<svg")
    assert '<link rel="icon" href="/static/icon.svg"' in browser.ask("GET", "/")[1]


def test_host_of_a_client(browser: Browser) -> None:
    """The form suggests what it takes, and goes on with what was given."""
    _, body = browser.ask("GET", "/client")
    (suggested,) = re.findall('placeholder="(.*?)"', body)
    assert suggested == "rd.example.org"
    status, body = browser.ask("GET", f"/client?host={suggested}")
    assert status == 200
    assert f'<code id="id-server">rd.example.org:{browser.server.port}</code>' in body
    assert 'value="rd2.example.org"' in browser.ask("GET", "/client?host=rd2.example.org")[1]


def test_search_of_sessions(browser: Browser) -> None:
    """A part of either address finds a session."""
    with pair(browser.server.view(), "tcp", "tcp") as (one, other):
        one.send_payload(b"hello")
        assert other.receive_payload(10) == b"hello"
        for link in (one, other):
            host, port = link.local
            assert f"1 session with {host}:{port}" in browser.ask("GET", f"/sessions?search={host}:{port}")[1]
        assert "0 sessions with 192.0.2." in browser.ask("GET", "/sessions?search=192.0.2.")[1]


def test_events_are_bounded(browser: Browser) -> None:
    """Twenty windows are kept alive; when one is closed there is room for another."""
    head = b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"
    streams = [socket.create_connection(("127.0.0.1", browser.port), 20) for _ in range(20)]
    try:
        for stream in streams:
            stream.sendall(head)
            assert b"200 OK" in stream.recv(1000)
        assert browser.ask("GET", "/events")[0] == 503
        received = b""
        while b"data: {" not in received:
            received += streams[0].recv(1000)
    finally:
        for stream in streams:
            stream.close()

    def has_room() -> bool:
        with socket.create_connection(("127.0.0.1", browser.port), 20) as stream:
            stream.sendall(head)
            return b"200 OK" in stream.recv(1000)

    # One that was closed without unread events is missed when it is told the next.
    wait_until(has_room, 20, "room for another")


def test_connections_are_bounded(browser: Browser) -> None:
    """An address has 32 of them, and others are served meanwhile."""
    where, source = ("127.0.0.1", browser.port), unique_source()
    held = [socket.create_connection(where, 20, (source, 0)) for _ in range(33)]
    try:
        assert held[32].recv(1) == b""
        assert browser.ask("GET", "/")[0] == 200
        held[0].sendall(b"GET /lists HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in held[0].recv(1000)
    finally:
        for connection in held:
            connection.close()


def test_without_a_login(stranger: Browser) -> None:
    """Only the way to log in is shown: pages lead there, everything else is refused."""
    for path in PAGES:
        assert stranger.ask("GET", path)[0] == 303
        assert stranger.headers["Location"] == "/login"
    for path in ("/events", "/history"):
        assert stranger.ask("GET", path)[0] == 401
    form = {"token": stranger.token("/login"), "list": "denylist", "entry": "192.0.2.9", "do": "add"}
    assert stranger.ask("POST", "/lists", form)[0] == 401
    assert stranger.ask("GET", "/static/style.css")[0] == 200
    assert not (stranger.server.data / "denylist.txt").exists()


def test_login(stranger: Browser) -> None:
    """The password brings a cookie that scripts and other sites don't get; old tokens are worth nothing."""
    token = stranger.token("/login")
    assert stranger.log_in(PASSWORD) == 303
    cookie = stranger.headers["Set-Cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie
    assert stranger.ask("GET", "/settings")[0] == 200
    assert PASSWORD_HASH not in stranger.ask("GET", "/settings")[1]
    assert stranger.ask("POST", "/logout", {"token": token})[0] == 403
    assert stranger.ask("POST", "/logout", {"token": stranger.token("/lists")})[0] == 303
    assert stranger.ask("GET", "/settings")[0] == 303
    assert stranger.audited(2) == ["logged in", "logged out"]
    assert PASSWORD_HASH not in stranger.server.output


def test_login_behind_tls(stranger: Browser) -> None:
    """A proxy that speaks TLS says so, and the cookie never goes without."""
    form = {"token": stranger.token("/login"), "password": PASSWORD}
    assert stranger.ask("POST", "/login", form, X_Forwarded_Proto="https")[0] == 303
    assert "secure" in stranger.headers["Set-Cookie"].lower()


def test_wrong_passwords_are_limited(stranger: Browser) -> None:
    """After five of them the right one is not compared either."""
    for _ in range(5):
        assert stranger.log_in("wrong") == 403
    assert stranger.log_in(PASSWORD) == 429
    assert stranger.ask("GET", "/")[0] == 303
    assert stranger.audited(5) == ["tried to log in with a wrong password"] * 5


def test_events_end_with_the_login(stranger: Browser) -> None:
    """A window that is still open is told nothing after the logout."""
    assert stranger.log_in(PASSWORD) == 303
    with socket.create_connection(("127.0.0.1", stranger.port), 20) as stream:
        head = f"GET /events HTTP/1.1\r\nHost: localhost\r\nCookie: {stranger.cookie}\r\n\r\n"
        stream.sendall(head.encode())
        received = b""
        while b"data: {" not in received:
            received += stream.recv(1000)
        assert stranger.ask("POST", "/logout", {"token": stranger.token("/lists")})[0] == 303
        received = b""
        while not received.endswith(b"0\r\n\r\n"):
            received += stream.recv(1000)
    assert b"data" not in received
