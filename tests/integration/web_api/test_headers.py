"""API calls on the web ports: what the API server is told of who asks."""

from __future__ import annotations

from tests.integration.api import Api
from tests.integration.server import free_port
from tests.integration.support import StartServer
from tests.integration.web import DOMAIN, Http, WebServer

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
