"""Clients that send a byte a second, on every port and in every state of a connection: the time limit ends them."""

from __future__ import annotations

import time

from tests.client.links import SecuredLink, Server
from tests.client.udp import UdpLink
from tests.client.wire import frame, frame_header
from tests.evidence import Evidence
from tests.hbbr.relay_fixture import request
from tests.hbbr.ws_wire import BINARY, CONT, PING, client_frame
from tests.hostile.strangers import NAT_TEST, PORTS, UPGRADE, Crowd, address_of, connect, stranger
from tests.integration.support import StartServer

PROMISE = "A client that sends a byte a second is closed at the time limit, on every port"
LIMIT = 2
"""Seconds of every time limit of the server."""
SLACK = 2.0
"""Seconds that a busy machine may take longer."""
SPEAKING = "127.199.0.0/16"
"""Who must begin with a PROXY protocol header."""

LONG_FRAME = frame_header(60_000) + b"x" * 50
MASKED = client_frame(b"x" * 60_000)[:60]
FRAGMENTS = client_frame(b"xx", BINARY, fin=False) + client_frame(b"", CONT, fin=False) * 9

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
