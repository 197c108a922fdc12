"""The status page and the figures for Prometheus on the port with TLS, where they are asked for."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.client.links import dial_web
from tests.client.threads import wait_until
from tests.integration.pages import PAGES, PASSWORD, PASSWORD_HASH
from tests.integration.server import free_port, run_to_end
from tests.integration.support import StartServer, unique_source
from tests.integration.test_handover import handed_over
from tests.integration.test_relay import pair
from tests.integration.web import DOMAIN, NAT_TEST, TRUST, Http, Response, WebServer, certificate_flags, start_web

ENV = {"STATUS_PASSWORD": PASSWORD_HASH}
UNREACHABLE = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def web(start_module_server: StartServer, tmp_path_factory: pytest.TempPathFactory) -> WebServer:
    """A server with both on its port with TLS."""
    flags = ("--status", "https", "--metrics", "https", "--host", DOMAIN, "--api-server", UNREACHABLE)
    return start_web(start_module_server, tmp_path_factory.mktemp("tls"), *flags, env=ENV)


class Browser:
    """One connection over TLS, which keeps its cookie."""

    def __init__(self, web: WebServer, source: str = "", headers: bytes = b"") -> None:
        self.http = Http.secure(web.https, source)
        self.headers = headers
        self.answer = Response(0)

    def get(self, path: str, host: str = DOMAIN) -> int:
        """The status of a page."""
        self.answer = self.http.ask(b"GET " + path.encode(), self.headers, host=host)
        return self.answer.status

    def post(self, path: str, **form: str) -> int:
        """The status that a form brings."""
        body = urlencode(form).encode()
        about = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n" % len(body)
        self.answer = self.http.ask(b"POST " + path.encode(), self.headers + about, body)
        return self.answer.status

    def log_in(self, password: str = PASSWORD) -> int:
        """The status that a password brings; the cookie is kept."""
        assert self.get("/login") == 200
        token = re.search(rb'name="token" value="([0-9a-f]{64})"', self.answer.body)
        assert token is not None
        status = self.post("/login", token=token[1].decode(), password=password)
        if status == 303:
            self.headers += b"Cookie: " + self.answer.headers["set-cookie"].partition(";")[0].encode() + b"\r\n"
        return status


Browse = Callable[..., Browser]


@pytest.fixture
def browse() -> Iterator[Browse]:
    """Makes browsers, whose connections end with the test."""
    with ExitStack() as stack:

        def made(web: WebServer, source: str = "", headers: bytes = b"") -> Browser:
            browser = Browser(web, source, headers)
            stack.callback(browser.http.close)
            return browser

        yield made


def scraped(web: WebServer, password: str | None = None, source: str = "", user: str = "prometheus") -> Response:
    """What Prometheus gets with a password, or without."""
    named = base64.b64encode(f"{user}:{password}".encode())
    with Http.secure(web.https, source) as http:
        return http.ask(b"GET /metrics", b"" if password is None else b"Authorization: Basic " + named + b"\r\n")


def test_pages(web: WebServer, browse: Browse) -> None:
    """The password brings a cookie for TLS alone, and with it every page is there, guarded as on its own port."""
    assert f"Status page on https, port {web.https}" in web.process.output
    browser = browse(web)
    for path in PAGES:
        assert (browser.get(path), browser.answer.headers["location"]) == (303, "/login")
    assert browser.log_in("wrong") == 403
    assert browser.log_in() == 303
    cookie = browser.answer.headers["set-cookie"].lower()
    for word in ("secure", "httponly", "samesite=strict"):
        assert word in cookie
    for path in (*PAGES, "/static/style.css", "/history"):
        assert browser.get(path) == 200, path
        assert browser.answer.headers["content-security-policy"].startswith("default-src 'none'; ")
        assert browser.answer.headers["x-frame-options"] == "DENY"
    assert browser.get("/nothing") == 404
    assert browser.get("/", host="evil.example.org") == 403
    assert browser.get("/", host="127.0.0.1") == 200


def test_events(web: WebServer, browse: Browse) -> None:
    """Live figures come over TLS as long as somebody is logged in."""
    browser = browse(web)
    assert browser.get("/events") == 401
    assert browser.log_in() == 303
    browser.http.send(b"GET /events HTTP/1.1\r\nHost: " + DOMAIN.encode() + b"\r\n" + browser.headers + b"\r\n")
    head = browser.http.head()
    assert (head.status, head.headers["content-type"]) == (200, "text/event-stream")
    seen = [browser.http.chunk(10) for _ in range(4)]
    assert sum(chunk.startswith(b"data: {") for chunk in seen) >= 2


def test_other_paths_come_first(web: WebServer, browse: Browse) -> None:
    """WebSocket and API calls are what they were, and on the plain port there are no pages."""
    assert web.wss.web is not None
    with dial_web(web.wss.web, "127.0.0.1", "/ws/id", (unique_source(), 0)) as link:
        assert link.ask(NAT_TEST).test_nat_response.port == link.local[1]
    browser = browse(web)
    assert browser.get("/api/login-options") == 502
    with Http.plain(web.http) as http:
        for target in (b"/", b"/login", b"/metrics"):
            answer = http.ask(b"GET " + target)
            assert (answer.status, answer.headers["location"]) == (
                308,
                f"https://{DOMAIN}:{web.https}{target.decode()}",
            )


def test_metrics(web: WebServer) -> None:
    """Figures take the password, with any user."""
    assert f"Metrics on https, port {web.https}, at /metrics" in web.process.output
    for user in ("", "prometheus", "ü"):
        answer = scraped(web, PASSWORD, user=user)
        assert answer.status == 200
        assert b"rendezvous_build_info" in answer.body
    asked = scraped(web)
    assert (asked.status, asked.headers["www-authenticate"]) == (401, 'Basic realm="rendezvous"')
    assert b"rendezvous" not in asked.body
    with Http.secure(web.https) as http:
        for strange in (b"Basic", b"Basic %%%", b"Bearer x", b"Basic " + base64.b64encode(b"no colon")):
            assert http.ask(b"GET /metrics", b"Authorization: " + strange + b"\r\n").status == 401
        assert http.ask(b"GET /metrics/x").status == 404
        assert http.ask(b"HEAD /metrics").status == 401


def test_wrong_passwords_are_limited(web: WebServer, browse: Browse) -> None:
    """Five of them from an address, at either door, close both for a while; other addresses are not concerned."""
    source = unique_source()
    for _ in range(3):
        assert scraped(web, "wrong", source).status == 401
    browser = browse(web, source)
    for _ in range(2):
        assert browser.log_in("wrong") == 403
    assert scraped(web, PASSWORD, source).status == 429
    assert browser.log_in() == 429
    body = scraped(web, PASSWORD).body.decode()
    counted = dict(re.findall(r'rendezvous_drops_total\{place="web",reason="(\w+)"\} ([0-9.]+)', body))
    assert float(counted["wrong_password"]) == 3
    assert float(counted["too_many_passwords"]) == 1


def test_behind_a_proxy(start_server: StartServer, tmp_path: Path, browse: Browse) -> None:
    """Whose passwords are wrong is told by a trusted proxy, so nobody locks out everybody."""
    flags = ("--status", "https", "--host", DOMAIN, "--trusted-proxies", "127.0.0.0/8")
    web = start_web(start_server, tmp_path / "tls", *flags, env=ENV)
    for _ in range(5):
        assert browse(web, headers=b"X-Forwarded-For: 203.0.113.5\r\n").log_in("wrong") == 403
    assert browse(web, headers=b"X-Forwarded-For: 203.0.113.5\r\n").log_in() == 429
    assert browse(web, headers=b"X-Forwarded-For: 2001:db8::5\r\n").log_in() == 303
    audit, address = web.process.data / "audit.log", '"address": "2001:db8::5"'
    wait_until(lambda: address in audit.read_text("utf-8"), 20, "the line of the audit")


@pytest.mark.parametrize("name", ["status", "metrics"])
def test_one_of_them(start_server: StartServer, tmp_path: Path, name: str, browse: Browse) -> None:
    """The other one is not there."""
    web = start_web(start_server, tmp_path / "tls", f"--{name}", "https", "--host", DOMAIN, http=False, env=ENV)
    browser = browse(web)
    assert browser.get("/login") == (200 if name == "status" else 404)
    assert browser.get("/metrics") == (404 if name == "status" else 401)


def test_another_process_takes_over(start_server: StartServer, tmp_path: Path, browse: Browse) -> None:
    """The old one, which keeps a relay session, sends browsers to the new one."""
    web = start_web(start_server, tmp_path / "tls", "--status", "https", "--host", DOMAIN, env=ENV)
    browser = browse(web)
    assert browser.log_in() == 303
    with pair(web.view, "tcp", "tcp") as (one, other):
        one.send_payload(b"hello")
        assert other.receive_payload(10) == b"hello"
        with handed_over(web.process):
            assert browser.get("/sessions") == 307
            assert (browser.answer.headers["location"], browser.answer.headers["connection"]) == (
                "/sessions",
                "close",
            )
            assert browse(web).get("/login") == 200
            one.close()
            other.close()


@pytest.mark.parametrize("name", ["status", "metrics"])
@pytest.mark.parametrize("missing", ["https", "status-password"])
def test_refused_starts(start_server: StartServer, tmp_path: Path, name: str, missing: str) -> None:
    """Without the port or the password there is no start, and one sentence says what it takes."""
    port, tls = free_port(), tmp_path / "tls"
    TRUST.issue(DOMAIN).write(tls / "fullchain.pem", tls / "privkey.pem")
    flags = [f"--{name}", "https"]
    if missing != "https":
        flags += ["--https", str(port + 4), *certificate_flags(tls)]
    refused = start_server(*flags, port=port, ready=False)
    refused.data.mkdir(parents=True)
    if missing != "status-password":
        (refused.folder / ".env").write_text(f"STATUS_PASSWORD='{PASSWORD_HASH}'\n", "utf-8")
    ended = run_to_end(refused.arguments(), refused.folder)
    assert ended.code == 1
    assert ended.statements == [f"{name}: 'https' takes a port for --https and a status-password as well."]
