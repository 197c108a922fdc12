"""Half-open connections: clients whose machine is gone, and clients that end only their own direction.

A client that has vanished acknowledges nothing and answers nothing; no FIN and no reset ever comes. The server
gives each of its connections up in time, which shows by the room that it has for the next one.
"""

from __future__ import annotations

import contextlib
import socket
import time

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import Identity
from tests.client.controlling import Controlling
from tests.client.links import Link, LinkClosedError, PlainLink, SecuredLink, Server, WebSocketLink
from tests.client.threads import wait_until
from tests.client.udp import UdpLink
from tests.evidence import Evidence
from tests.hbbs.server import A
from tests.hbbs.server import Server as MemoryServer
from tests.hostile.strangers import (
    NAT_TEST,
    PORTS,
    address_of,
    closed_at_the_end,
    connect,
    ends_within,
    stranger,
    vanish,
)
from tests.integration.support import StartServer

PROMISE = "A connection whose client is gone without a word is given up in time"
LIMIT = 4
"""Seconds of every time limit of the server; a registration is given up after one and a half."""
SLACK = 8.0
FLAGS = (
    *("--consoles", "no", "--max-connections-per-address", "1", "--max-relay-connections-per-address", "2"),
    *("--first-frame-timeout", str(LIMIT), "--keep-alive", str(LIMIT), "--exchange-timeout", str(LIMIT)),
    *("--pairing-timeout", str(LIMIT), "--idle-timeout", str(LIMIT)),
)


class Vanished:
    """Clients in every state of a connection, each at an address of its own, that vanish together."""

    def __init__(self, view: Server, target: Identity) -> None:
        self.view = view
        self.target = target
        self.links: dict[str, Link] = {}
        self.peers: list[Identity] = []

    def add_all(self) -> None:
        """One client for each state."""
        for port in ("main", "second"):
            self.links[f"{port}: silent"] = PlainLink(connect(address_of(self.view, port)))
        for way in ("secured", "websocket"):
            link = self.links[f"{way}: registered"] = self.dial(way)
            self.peers.append(identity := Identity.make())
            assert link.ask(identity.register_pk()).register_pk_response.result == pb.RegisterPkResponse.OK
            self.links[f"{way}: health check"] = held = self.dial(way)
            held.send(pb.RendezvousMessage(hc=pb.HealthCheck(token="t")))
        asker = self.links["secured: asking"] = self.dial("secured")
        asker.send(Controlling(self.view).punch_request(self.target.id))

    def dial(self, way: str) -> Link:
        """A sealed connection, or one over WebSocket."""
        if way == "secured":
            return SecuredLink(connect(self.view.main), self.view.public_key)
        return WebSocketLink(connect(self.view.websocket))

    def has_room(self, link: Link) -> bool:
        """Whether the address of a connection, which may have one, gets another one."""
        with contextlib.suppress(ConnectionError, TimeoutError, OSError):
            made = connect(self.view.second, link.local[0])
            with PlainLink(made) as probe:
                return probe.ask(NAT_TEST, 1).HasField("test_nat_response")
        return False


def test_vanished_clients(start_server: StartServer, evidence: Evidence) -> None:
    """Whatever it was doing, a client that is gone without a word is offline and makes room soon after its time."""
    view, target = start_server(*FLAGS).view(), Identity.make()
    vanished = Vanished(view, target)
    with contextlib.ExitStack() as stack:
        registered = stack.enter_context(SecuredLink(connect(view.main), view.public_key))
        registered.ask(target.register_pk())
        vanished.add_all()
        for link in vanished.links.values():
            stack.callback(link.socket.close)
            vanish(link.socket)
        begin = time.monotonic()
        assert not any(vanished.has_room(link) for link in vanished.links.values())
        left = dict(vanished.links)
        while left and time.monotonic() - begin < 2 * LIMIT + SLACK:
            left = {name: link for name, link in left.items() if not vanished.has_room(link)}
            with contextlib.suppress(TimeoutError, LinkClosedError):
                registered.receive_payload(0.1)
                registered.send_payload(b"")
        assert list(left) == []
        with_peers = Controlling(view, source=stranger())
        assert with_peers.online([target.id, *(peer.id for peer in vanished.peers)]) == [True, False, False]
    evidence(PROMISE, connections=len(vanished.links))


def test_vanished_sides_of_a_relay(start_server: StartServer, evidence: Evidence) -> None:
    """A side that waits and two that are joined make room when they are gone; a joined one that lives is told."""
    view = start_server(*FLAGS).view()
    sources = [stranger() for _ in range(2)]
    with closed_at_the_end([]) as sockets:
        for uuid, source in (("waits", sources[0]), ("joined", sources[0]), ("joined", sources[1])):
            link = Controlling(view, source=source).dial_relay("", uuid)
            sockets.append(link.socket)
        sockets[1].sendall(b"through")
        assert sockets[2].recv(100) == b"through"
        for made in sockets[:2]:
            vanish(made)
        assert not relay_has_room(view, sources[0])
        assert ends_within(sockets[2], LIMIT + SLACK)
        wait_until(lambda: relay_has_room(view, sources[0]), LIMIT + SLACK)
    evidence(PROMISE, connections=2)


def relay_has_room(view: Server, source: str) -> bool:
    """Whether an address gets another connection to the relay, where it waits and is not closed."""
    with (
        contextlib.closing(connect(view.relay, source)) as made,
        UdpLink(view.main, (stranger(), 0)) as udp,
        contextlib.suppress(OSError),
    ):
        for _ in range(2):  # by then the connection is accepted, or closed
            udp.ask(NAT_TEST)
        made.settimeout(0.2)
        return made.recv(1) != b""
    return True


def test_own_direction_ended(start_server: StartServer, evidence: Evidence) -> None:
    """A client that ends its direction without a word is closed at once, or at the time limit, on each port."""
    view = start_server(*FLAGS).view()
    with closed_at_the_end([connect(address_of(view, port)) for port in PORTS]) as sockets:
        for made in sockets:
            made.shutdown(socket.SHUT_WR)
        assert [ends_within(made, LIMIT + SLACK) for made in sockets] == [True] * len(PORTS)
    evidence(PROMISE, connections=len(PORTS))


def test_a_vanished_websocket_has_ten_seconds_more() -> None:
    """A WebSocket that is closed has some time for its last bytes; then it is cut off, and counted no more."""
    with MemoryServer(max_connections_per_address="1", first_frame_timeout="2") as server:
        client = server.websocket(A)
        client.transport.stuck = True
        for seconds, refused in ((3, True), (8, True), (2, False)):
            server.advance(seconds)
            assert server.nat_port(A).refused == refused
