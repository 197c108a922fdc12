"""The wall clock jumps by hours, both ways, while the server runs: nothing but dates follows."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from time import monotonic
from uuid import uuid4

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.links import Link, PlainLink, Server, connected_socket
from tests.client.udp import UdpLink
from tests.evidence import Evidence
from tests.faults.conftest import NewLife, Serve
from tests.faults.databases import NAME
from tests.faults.others import listening
from tests.faults.shim import Shim
from tests.faults.storm import OK, new_peer
from tests.integration.server import ServerProcess
from tests.integration.support import NewControlled, unique_source

TIMEOUT = 3
"""Seconds that everything here may wait."""
LATEST = 12.0
"""Seconds after which it must have ended on a busy machine."""
HOURS = (5, -7)


class Waiting:
    """Connections of which each waits for something that never comes."""

    def __init__(self, view: Server, target: str, stack: ExitStack) -> None:
        self.begin = monotonic()
        self._view = view
        self._stack = stack
        punch = pb.PunchHoleRequest(id=target, licence_key=view.key, version="1.4.2")
        relay = pb.RequestRelay(uuid=str(uuid4()), licence_key=view.key)
        self.links = {
            "an exchange": self._dial(view.main, pb.RendezvousMessage(punch_hole_request=punch)),
            "a relay's side": self._dial(view.relay, pb.RendezvousMessage(request_relay=relay)),
            "a silent registration": self._dial(view.main, new_peer().register_pk()),
        }

    def _dial(self, address: tuple[str, int], message: pb.RendezvousMessage) -> Link:
        link = PlainLink(connected_socket(address, (unique_source(), 0)))
        self._stack.enter_context(link)
        link.send(message)
        return link

    def assert_waiting(self) -> None:
        """None has ended."""
        assert [what for what, link in self.links.items() if _is_over(link)] == []

    def end(self) -> dict[str, float]:
        """After how many seconds each ended."""

        def ended(link: Link) -> float:
            link.wait_closed(LATEST)
            return monotonic() - self.begin

        with ThreadPoolExecutor(len(self.links)) as pool:
            return dict(zip(self.links, pool.map(ended, self.links.values()), strict=True))


def _is_over(link: Link) -> bool:
    try:
        link.wait_closed(0)
    except TimeoutError:
        return False
    return True


def created_at(server: ServerProcess) -> datetime:
    """The date that a peer has which registers now."""
    peer = new_peer()
    with UdpLink(server.view().main, (unique_source(), 0)) as udp:
        assert udp.ask(peer.register_pk()).register_pk_response.result == OK
    with closing(sqlite3.connect(server.data / NAME)) as connection:
        (date,) = connection.execute("select created_at from peer where id = ?", (peer.id,)).fetchone()
    return datetime.fromisoformat(date).replace(tzinfo=UTC)


@pytest.mark.parametrize("reactor", ["epoll", "poll", "select", "asyncio"])
def test_clock_jumps(
    serve: Serve,
    shim: Shim,
    new_life: NewLife,
    new_controlled: NewControlled,
    evidence: Evidence,
    reactor: str,
) -> None:
    """Clients stay online, what waits ends at its own time, and checks go on; stored dates follow the clock."""
    times = [f"--{name}={TIMEOUT}" for name in ("exchange-timeout", "pairing-timeout", "keep-alive")]
    server = serve(*times, ready=False)
    late = server.port + 4
    server.flags = [*server.flags, f"--relay-servers=127.0.0.1:{server.port + 1},127.0.0.1:{late}"]
    line = server.arguments()
    line.insert(line.index("rendezvous"), f"--reactor={reactor}")
    server.command = line
    view = server.start().view()
    server.wait_line(f"127.0.0.1:{late} does not answer")
    life = new_life(view)
    registered = new_controlled(view, "secured")
    deaf = new_controlled(view, follow_pushes=False)
    with ExitStack() as stack:
        waiting = Waiting(view, deaf.id, stack)
        for hours in HOURS:
            shim.set_clock(hours * 3600)
            wrong_by = created_at(server) - datetime.now(UTC)
            assert abs(wrong_by - timedelta(hours=hours)) < timedelta(minutes=1)
            life.goes_on()
            waiting.assert_waiting()
        stack.enter_context(listening(late))
        ended = waiting.end()
        assert all(TIMEOUT * 0.9 < seconds < LATEST for seconds in ended.values()), ended
        life.goes_on()
        assert not registered.lost.is_set()
        server.wait_line(f"127.0.0.1:{late} answers again")
    evidence("A wall clock that jumps by hours, both ways, moves stored dates and nothing else", jumps=len(HOURS))
