"""Too long, never-ending and empty: frames, messages, headers and datagrams, as fast as the server takes them.

Each costs its connection, is counted once, and takes no more memory than the limits say.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.links import SecuredLink, Server, readable
from tests.client.threads import Workers, wait_until
from tests.client.udp import UdpLink
from tests.client.wire import frame, frame_header
from tests.evidence import Evidence
from tests.faults.conftest import NewLife
from tests.hbbr.relay_fixture import request
from tests.hbbr.ws_wire import BINARY, CONT, PING, client_frame
from tests.hostile.strangers import (
    PORTS,
    UPGRADE,
    address_of,
    closed_at_the_end,
    connect,
    descriptors,
    most_memory,
    refused_in_all,
    stranger,
)
from tests.integration.server import free_port
from tests.integration.support import StartServer

LIMIT = 2
"""Seconds of every time limit of the server."""
SLACK = 6.0
"""Seconds that a busy machine may take longer."""
SPEAKING = "127.199.0.0/16"
"""Who must begin with a PROXY protocol header."""
MEGABYTE = 1 << 20
PROMISE = "What is too long, never ends or is empty costs its connection, and little memory"

CHUNK = bytes(16384)
ZEROS = bytes(1024)
TEXT = b"x" * 16384
HEADER = b"X-Filler: " + b"y" * 1000 + b"\r\n"
HEAD = b"POST /api/login HTTP/1.1\r\nHost: x\r\n"
V2 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11"
V2_ADDRESSES = b"\xc0\0\2\1\xc0\0\2\2\x12\x34\x12\x34"
ZERO_FRAGMENTS = client_frame(b"", CONT, fin=False) * 100


@dataclass
class Case:
    """What a client sends on a port: `begin`, then `more` again and again; how that is counted."""

    name: str
    port: str
    begin: bytes
    more: bytes
    counted: str
    made: socket.socket | None = None
    lasted: float | None = None
    sent: int = 0


PLACES = {"second": "nat_port", "main": "tcp", "relay_websocket": "relay", "http": "web"}


def case(name: str, port: str, begin: bytes, more: bytes, reason: str) -> Case:
    """A client whose end is counted at the port's place."""
    return Case(f"{port}: {name}", port, begin, more, f"{PLACES.get(port, port)}: {reason}")


def framed(port: str) -> list[Case]:
    """TCP ports with frames."""
    silent, zero = ("no_first_frame", "malformed") if port == "relay" else ("silent", "silent")
    return [
        case("as long as can be told", port, frame_header(0x3FFFFFFF), CHUNK, "frame_too_long"),
        case("a byte too long", port, frame_header(65537), CHUNK, "frame_too_long"),
        case("as long as allowed", port, frame_header(65536), CHUNK, "malformed"),
        case("zero frames", port, b"", ZEROS, zero),
        case("a header and no more", port, b"\xff\xff", b"", silent),
    ]


def browsed(port: str) -> list[Case]:
    """Ports with WebSocket."""
    relay = port == "relay_websocket"
    silent = "no_first_frame" if relay else "silent"
    first = client_frame(b"x" * 1000, BINARY, fin=False)
    return [
        case("message as long as can be told", port, UPGRADE + b"\x82\xff\x7f" + b"\xff" * 7 + b"mask", CHUNK, BAD),
        case("message a byte too long", port, UPGRADE + client_frame(bytes(65537)), CHUNK, BAD),
        case("message in fragments", port, UPGRADE + first, client_frame(b"x" * 1000, CONT, fin=False), BAD),
        case("empty fragments", port, UPGRADE + first, ZERO_FRAGMENTS, silent),
        case("empty messages", port, UPGRADE, client_frame(b""), "malformed" if relay else silent),
        case("long ping", port, UPGRADE + b"\x89\xfe\x00\x7e" + b"mask", CHUNK, BAD),
        case("pings", port, UPGRADE, client_frame(b"x" * 125, PING), silent),
        case("text", port, UPGRADE, b"\x81\xfe\x40\x00mask" + CHUNK, BAD),
        case("target", port, b"GET /", TEXT, "bad_handshake"),
        case("headers", port, UPGRADE[:-2], HEADER, "bad_handshake"),
        case("a header", port, UPGRADE[:-2] + b"X: ", TEXT, "bad_handshake"),
        case("no HTTP", port, b"", CHUNK, "bad_handshake"),
    ]


BAD = "malformed_websocket"
"""How broken WebSocket rules, and messages that are too long, are counted."""


def web() -> list[Case]:
    """The web port."""
    chunked = b"Transfer-Encoding: chunked\r\n\r\n"
    return [
        case("target", "http", b"GET /", TEXT, "bad_request"),
        case("headers", "http", HEAD, HEADER, "bad_request"),
        case("a header", "http", HEAD + b"X: ", TEXT, "bad_request"),
        case("empty lines", "http", b"", b"\r\n" * 100, "bad_request"),
        case("body", "http", HEAD + b"Content-Length: 999999999\r\n\r\n", CHUNK, "body_too_long"),
        case("chunks", "http", HEAD + chunked, b"4000\r\n" + CHUNK + b"\r\n", "body_too_long"),
        case("chunk", "http", HEAD + chunked + b"7fffffff\r\n", CHUNK, "body_too_long"),
    ]


def proxied(port: str) -> list[Case]:
    """Any port, from where a PROXY protocol header is due."""
    return [
        case("PROXY line", port, b"PROXY ", TEXT, "no_proxy_header"),
        case("PROXY header", port, V2 + b"\xff\xff" + V2_ADDRESSES, CHUNK, "no_proxy_header"),
        case("PROXY header a byte too long", port, V2 + b"\x10\x01" + V2_ADDRESSES, CHUNK, "no_proxy_header"),
        case("no PROXY header", port, b"", CHUNK, "no_proxy_header"),
    ]


def relayed() -> list[Case]:
    """Sides of the relay that don't wait for the other one."""
    return [
        case("early bytes", "relay", frame(request("early-1")), CHUNK, "not_joined"),
        case("early zero frames", "relay", frame(request("early-2")), ZEROS, "not_joined"),
        case("early messages", "relay_websocket", UPGRADE + client_frame(request("early-3")), EARLY, "not_joined"),
    ]


EARLY = client_frame(bytes(16384))


class Torrent:
    """Clients that send as fast as they can, and for how long each was tolerated."""

    def __init__(self, cases: Iterable[Case]) -> None:
        self.cases = list(cases)
        self.enough = False

    def run(self, seconds: float) -> None:
        """Lets all of them send until each was closed, it is enough, or the time is over."""
        begin = time.monotonic()
        for one in self.cases:
            assert one.made is not None
            one.made.setblocking(False)
            self._send(one, one.begin, begin)
        while (left := self.left()) and not self.enough and time.monotonic() < begin + seconds:
            for one in left:
                self._send(one, one.more, begin)
            time.sleep(0.001)

    def left(self) -> list[Case]:
        """Those that the server has not ended."""
        return [one for one in self.cases if one.lasted is None]

    @staticmethod
    def _send(one: Case, data: bytes, begin: float) -> None:
        assert one.made is not None
        try:
            with contextlib.suppress(BlockingIOError):
                one.sent += one.made.send(data)
            with contextlib.suppress(BlockingIOError):
                if not one.made.recv(65536):
                    raise ConnectionResetError
        except ConnectionError:
            one.lasted = time.monotonic() - begin


def cases() -> tuple[list[Case], list[Case]]:
    """All of them: those of anybody, and those from where a PROXY protocol header is due."""
    plain = [one for name in ("second", "main", "relay") for one in framed(name)]
    plain += [one for name in ("websocket", "relay_websocket") for one in browsed(name)]
    return [*plain, *web(), *relayed()], [one for name in (*PORTS, "http") for one in proxied(name)]


def target_of(view: Server, port: str) -> tuple[str, int]:
    """The address of one of the PORTS, or of the web port."""
    return (view.host, view.port + 5) if port == "http" else address_of(view, port)


def test_everything_at_once(start_server: StartServer, new_life: NewLife, evidence: Evidence) -> None:
    """On every port and in every state: a client that goes too far is ended and counted, others are served."""
    port = free_port()
    flags = ("--consoles", "no", "--http", str(port + 5), "--proxy-protocol", SPEAKING, "--key", "")
    server = start_server(*flags, *(f"--{name}-timeout={LIMIT}" for name in ("first-frame", "pairing")), port=port)
    view = server.view()
    life = new_life(view)
    plain, spoken = cases()
    sealed = case("sealed and too long", "main", frame_header(65537), CHUNK, "frame_too_long")
    before, size = descriptors(server), most_memory(server)
    with closed_at_the_end([]) as sockets:
        for one in plain:
            one.made = connect(target_of(view, one.port))
        for number, one in enumerate(spoken, 1):
            one.made = connect(target_of(view, one.port), f"127.199.1.{number}")
        sealed.made = SecuredLink(connect(view.main), view.public_key).socket
        torrent = Torrent([*plain, *spoken, sealed])
        sockets += [one.made for one in torrent.cases if one.made is not None]
        workers = Workers()
        workers.start(lambda: torrent.run(LIMIT * 4), "torrent")
        life.goes_on()
        workers.join(LIMIT * 8)
    life.goes_on()
    assert [one.name for one in torrent.left()] == []
    wait_until(lambda: descriptors(server) < before + 5, 20, "descriptors as before")
    grown = most_memory(server) - size
    assert grown < 16 * MEGABYTE
    assert {one.name: one.lasted for one in torrent.cases if (one.lasted or 0) > LIMIT + SLACK} == {}
    assert refused_in_all(server) == Counter(one.counted for one in torrent.cases)
    sent = sum(one.sent for one in torrent.cases)
    evidence(PROMISE, f"{sent / MEGABYTE:.0f} MB sent, {grown / MEGABYTE:.0f} MB taken", ways=len(torrent.cases))


def test_lines_without_an_end_on_the_console_s_ports(start_server: StartServer) -> None:
    """On loopback, where commands are awaited, too: a line is read up to 1 KiB, and is no command then."""
    server = start_server()
    size = most_memory(server)
    ports = ("second", "relay")
    torrent = Torrent([Case(name, name, b"help", TEXT, "") for name in ports])
    for one in torrent.cases:
        one.made = connect(target_of(server.view(), one.port))
    with closed_at_the_end([one.made for one in torrent.cases if one.made is not None]):
        torrent.run(SLACK)
    assert torrent.left() == []
    assert most_memory(server) - size < MEGABYTE


def test_datagrams(start_server: StartServer) -> None:
    """Empty ones and the longest there are: what is no message is counted, and the longest question answered."""
    server = start_server()
    ids = pb.OnlineRequest(peers=["1"] * 21_000)
    longest = pb.RendezvousMessage(online_request=ids).SerializeToString()
    with UdpLink(server.view().main, (stranger(), 0)) as udp:
        for data in (b"", bytes(65507), b"\xff" * 65507, b"\x32" + bytes(65506), longest[:-1]):
            udp.send_to(data, udp.server)
        udp.send_to(longest, udp.server)
        assert udp.receive().online_response.states == bytes(21_000 // 8)
        assert not readable(udp.socket, 0.05)
    assert refused_in_all(server) == {"udp: malformed": 5}


def test_as_fast_as_they_can(start_server: StartServer, new_life: NewLife, evidence: Evidence) -> None:
    """Nobody's messages are rationed: who sends empty frames without a pause makes others wait, not for ever."""
    server = start_server("--consoles", "no")
    view = server.view()
    life = new_life(view)
    senders = [case("zero frames", name, b"", bytes(65536), "") for name in ("main", "second")]
    for one in senders:
        one.made = connect(target_of(view, one.port))
    torrent, workers = Torrent(senders), Workers()
    with closed_at_the_end([one.made for one in senders if one.made is not None]):
        workers.start(lambda: torrent.run(60), "torrent")
        wait_until(lambda: min(one.sent for one in senders) > MEGABYTE, 20, "full speed")
        begin = time.monotonic()
        life.goes_on(20)
        took = time.monotonic() - begin
        torrent.enough = True
        workers.join()
    assert len(torrent.left()) == len(senders)
    evidence(PROMISE, f"a punch beside {len(senders)} endless senders of empty frames in {took * 1000:.0f} ms")
