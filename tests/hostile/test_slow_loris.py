"""Clients that send a byte a second, on every port and in every state of a connection: the time limit ends them."""

from __future__ import annotations

import contextlib
import ssl
import time
from pathlib import Path

import pytest

from tests.client.links import SecuredLink, Server
from tests.client.threads import wait_until
from tests.client.udp import UdpLink
from tests.client.wire import frame, frame_header
from tests.evidence import Evidence
from tests.hbbr.relay_fixture import request
from tests.hbbr.ws_wire import BINARY, CONT, PING, client_frame
from tests.hostile.strangers import NAT_TEST, PORTS, UPGRADE, Crowd, address_of, connect, ended, stranger
from tests.integration.server import free_port
from tests.integration.support import StartServer
from tests.integration.web import DOMAIN, TRUST, certificate_flags, start_web

PROMISE = "A client that sends a byte a second is closed at the time limit, on every port"
LIMIT = 2
"""Seconds of every time limit of the server."""
HTTP_LIMIT = 30
"""The same of a request at the ports of administrators, which nothing sets."""
SLACK = 6.0
"""Seconds that a busy machine may take longer."""
SPEAKING = "127.199.0.0/16"
"""Who must begin with a PROXY protocol header."""

LONG_FRAME = frame_header(60_000) + b"x" * 50
MASKED = client_frame(b"x" * 60_000)[:60]
FRAGMENTS = client_frame(b"xx", BINARY, fin=False) + client_frame(b"", CONT, fin=False) * 9

HELLO = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(50)
"""The begin of a TLS handshake."""
HTTP = {
    "request line": (b"", b"GET /?" + b"x" * 60),
    "header": (b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"y"),
    "body": (b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n", b"x"),
}
"""What a client of HTTP sends at once, and then a byte a second."""

FRAMED = ("second", "main", "relay")
BROWSED = ("websocket", "relay_websocket")
CASES = {
    **{f"{port}: frame": (port, b"", LONG_FRAME) for port in FRAMED},
    **{f"{port}: heartbeats": (port, b"\0", b"\0") for port in ("second", "main")},
    **{f"{port}: handshake": (port, b"", UPGRADE) for port in BROWSED},
    **{f"{port}: header": (port, UPGRADE[:-2] + b"X: ", b"y") for port in BROWSED},
    **{f"{port}: message": (port, UPGRADE, MASKED) for port in BROWSED},
    **{f"{port}: fragments": (port, UPGRADE + FRAGMENTS[:8], FRAGMENTS[8:]) for port in BROWSED},
    **{f"{port}: pings": (port, UPGRADE, client_frame(b"", PING)) for port in BROWSED},
    "websocket: empty messages": ("websocket", UPGRADE, client_frame(b"")),
}
"""What a client sends on which port: all at once, and then a byte a second."""


def crowd_at(view: Server) -> Crowd:
    """A client for each case, and some that need to know the key or come from a proxy."""
    crowd = Crowd(LIMIT * 2 + SLACK)
    for name, (port, begin, drops) in CASES.items():
        crowd.add(name, connect(address_of(view, port)), begin, drops)
    for number, port in enumerate(PORTS, 1):
        made = connect(address_of(view, port), f"127.199.0.{number}")
        crowd.add(f"{port}: PROXY header", made, b"PROXY ", b"UNKNOWN   ")
    sealed = SecuredLink(connect(view.main), view.public_key).socket
    crowd.add("main: sealed frame", sealed, frame_header(5000), b"x")
    crowd.add("relay: early bytes", connect(view.relay), frame(request("slow-1", view.key)), b"x")
    first = UPGRADE + client_frame(request("slow-2", view.key))
    crowd.add("relay_websocket: early bytes", connect(view.relay_websocket), first, client_frame(b"x" * 99))
    return crowd


def test_a_byte_a_second(start_server: StartServer, evidence: Evidence) -> None:
    """However its bytes are spread, a connection ends at the time limit, on each port and in each state."""
    limits = ("--first-frame-timeout", str(LIMIT), "--pairing-timeout", str(LIMIT))
    view = start_server("--consoles", "no", "--proxy-protocol", SPEAKING, *limits).view()
    crowd = crowd_at(view)
    begin = time.monotonic()
    with UdpLink(view.main, (stranger(), 0)) as honest:
        honest.ask(NAT_TEST)
    assert time.monotonic() - begin < SLACK
    crowd.run()
    lasted = {name: client.lasted for name, client in crowd.clients.items()}
    assert {name: t for name, t in lasted.items() if t is None or not LIMIT - 0.2 < t < LIMIT + SLACK} == {}
    assert {name.partition(":")[0] for name in lasted} == set(PORTS)
    evidence(PROMISE, connections=len(crowd.clients))


@pytest.mark.slow
def test_a_byte_a_second_in_tls_and_at_the_administrators(
    start_server: StartServer, tmp_path: Path, evidence: Evidence
) -> None:
    """A handshake of TLS has the time of a handshake, and HTTP has its own."""
    first = free_port()
    others = {"https": first + 4, "status": first + 5, "metrics": first + 6}
    TRUST.issue(DOMAIN).write(tmp_path / "fullchain.pem", tmp_path / "privkey.pem")
    flags = [flag for name, number in others.items() for flag in (f"--{name}", str(number))]
    limits = ("--consoles", "no", "--first-frame-timeout", str(LIMIT))
    view = start_server(*limits, *flags, *certificate_flags(tmp_path), port=first).view()
    crowd, hello = Crowd(HTTP_LIMIT + 2 * SLACK), client_hello()
    expected = {"https: TLS": LIMIT, "websocket: TLS": LIMIT, "relay_websocket: TLS": LIMIT}
    for name in expected:
        port = name.partition(":")[0]
        target = (view.host, others[port]) if port in others else address_of(view, port)
        crowd.add(name, connect(target), hello[:20], hello[20:])
    for name in ("status", "metrics"):
        for case, (begin, drops) in HTTP.items():
            crowd.add(f"{name}: {case}", connect((view.host, others[name])), begin, drops)
    crowd.run()
    for name, client in crowd.clients.items():
        limit = expected.get(name, HTTP_LIMIT)
        assert client.lasted is not None, name
        assert limit - 0.2 < client.lasted < limit + SLACK, name
    evidence(PROMISE, connections=len(crowd.clients))


def client_hello() -> bytes:
    """What a client of TLS begins with."""
    outgoing = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=DOMAIN)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def test_a_byte_a_second_on_the_console_s_ports(start_server: StartServer, evidence: Evidence) -> None:
    """On loopback, where commands are awaited, too: what is no command within 200 ms is closed unanswered."""
    view = start_server("--first-frame-timeout", str(LIMIT)).view()
    crowd = Crowd(LIMIT * 2 + SLACK)
    for port in ("second", "relay"):
        crowd.add(f"{port}: text", connect(address_of(view, port)), b"", b"help")
        crowd.add(f"{port}: frame", connect(address_of(view, port)), LONG_FRAME[:5], LONG_FRAME[5:])
    crowd.run()
    for name, client in crowd.clients.items():
        assert client.lasted is not None, name
        assert client.lasted < LIMIT + SLACK, name
    evidence(PROMISE, connections=len(crowd.clients))


def test_a_byte_a_second_of_tls(start_server: StartServer, tmp_path: Path) -> None:
    """A handshake that never ends is ended at the time limit on each port with TLS, also after its first byte."""
    web = start_web(start_server, tmp_path, "--first-frame-timeout", str(LIMIT))
    ports = [(port, address_of(web.view, port)) for port in BROWSED] + [("https", ("127.0.0.1", web.https))]
    crowd = Crowd(LIMIT * 2 + SLACK)
    for port, address in ports:
        crowd.add(f"{port}: hello", connect(address), HELLO[:1], HELLO[1:])
        crowd.add(f"{port}: much of a hello", connect(address), HELLO, b"x")
    silent = [connect(address) for _, address in ports]
    for made in silent:
        made.sendall(HELLO[:1])
    crowd.run()
    lasted = {name: client.lasted for name, client in crowd.clients.items()}
    assert {name: t for name, t in lasted.items() if t is None or not LIMIT - 0.2 < t < LIMIT + SLACK} == {}
    wait_until(lambda: all(map(ended, silent)), SLACK, "the end of those that sent one byte")
    for made in silent:
        made.close()


GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
CLIENT_HELLO = b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03"
"""How a handshake of 16 KiB begins."""


def test_a_byte_a_second_on_the_web_ports(start_server: StartServer, tmp_path: Path) -> None:
    """A handshake, a head and a body that is answered here end at the time limit."""
    web = start_web(start_server, tmp_path, "--first-frame-timeout", str(LIMIT))
    crowd = Crowd(LIMIT * 2 + SLACK)
    for name, port, begin, drops in (
        ("https: nothing", web.https, b"", CLIENT_HELLO),
        ("https: handshake", web.https, CLIENT_HELLO, b"x"),
        ("http: request", web.http, b"", GET),
        ("http: header", web.http, GET + b"X: ", b"y"),
        ("http: body", web.http, GET + b"Content-Length: 5000\r\n\r\n", b"y"),
        ("http: empty lines", web.http, b"", b"\r\n"),
    ):
        crowd.add(name, connect((web.view.host, port)), begin, drops)
    crowd.run()
    lasted = {name: client.lasted for name, client in crowd.clients.items()}
    assert {name: t for name, t in lasted.items() if t is None or t > LIMIT + SLACK} == {}
