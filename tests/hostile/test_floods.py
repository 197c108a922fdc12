"""Floods of connections, from one address and from thousands: what they get, and what others get meanwhile.

RENDEZVOUS_FLOOD_ADDRESSES sets from how many addresses a flood comes: 2,000 to 5,000, as the default limits are.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rendezvous.descriptors import raise_descriptor_limit
from rendezvous.wire.address import Address
from tests.client.controlling import Controlling
from tests.client.links import PlainLink
from tests.client.threads import wait_until
from tests.client.udp import UdpLink
from tests.evidence import Evidence
from tests.faults.conftest import NewLife
from tests.hbbs.conftest import MakeServer
from tests.hostile.strangers import (
    NAT_TEST,
    PORTS,
    address_of,
    closed_at_the_end,
    connect,
    descriptors,
    memory,
    refused_in_all,
    stranger,
)
from tests.integration.server import ServerProcess, free_port
from tests.integration.support import NewControlled, StartServer
from tests.required import missing

ADDRESSES = int(os.environ.get("RENDEZVOUS_FLOOD_ADDRESSES", "2000"))
EACH = 60
"""Connections to each port from one address."""
DESCRIPTORS = 10_000
"""With fewer, the server lowers its limits too far."""
ROOM = 20
"""Connections that one address may have, to each of the servers."""
TOTAL = 300
"""Connections that all of them may have, to each of the servers."""
MOST_OF_ONE = 16384
"""Bytes of memory for a connection that says nothing."""
LEAK = 64
"""Bytes of memory; what is left of anything that there is for a connection is more."""
FEW = 10
"""Descriptors of the clients that are served meanwhile."""
SERVERS = {
    "hbbs": ("tcp", "nat_port", "websocket"),
    "relay": ("relay",),
    "web": ("web",),
}
"""What shares its limits, and where its refusals are counted."""
PROMISE = "A flood of connections gets the room that is set, and those who are registered are served meanwhile"


def limits(in_all: int, of_one: int) -> list[str]:
    """The options for how many connections there may be, to each of the servers."""
    kinds = ("connections", "relay-connections", "web-connections")
    return [word for kind in kinds for word in (f"--max-{kind}={in_all}", f"--max-{kind}-per-address={of_one}")]


def start(start_server: StartServer, *flags: str) -> tuple[ServerProcess, list[tuple[str, int]]]:
    """A server, and all of its TCP ports; nobody's first message is waited for longer than the test takes."""
    port = free_port()
    server = start_server("--consoles", "no", "--http", str(port + 5), *flags, port=port)
    view = server.view()
    return server, [*(address_of(view, name) for name in PORTS), (view.host, port + 5)]


@contextmanager
def flood(targets: Iterable[tuple[tuple[str, int], str]]) -> Iterator[list[socket.socket]]:
    """Connections to addresses from addresses, which say nothing."""
    if raise_descriptor_limit() < DESCRIPTORS:
        missing("there are too few descriptors for a flood")
    with closed_at_the_end([]) as sockets:
        for target, source in targets:
            sockets.append(connect(target, source))
        yield sockets


def alive(sockets: Iterable[socket.socket]) -> int:
    """How many are open still, as far as is known now."""
    poller = select.poll()
    for made in sockets:
        poller.register(made, select.POLLIN | select.POLLRDHUP)
    ended = select.POLLRDHUP | select.POLLHUP | select.POLLERR
    return len(list(sockets)) - sum(bool(event & ended) for _, event in poller.poll(0))


def refused(counts: Counter[str], reason: str) -> dict[str, int]:
    """How many connections each of the servers has refused for a reason."""
    return {name: sum(counts[f"{place}: {reason}"] for place in places) for name, places in SERVERS.items()}


def test_from_one_address(start_server: StartServer, new_life: NewLife, evidence: Evidence) -> None:
    """An address gets its room at each server, whatever the port; the rest is closed at once, and nobody else's."""
    server, targets = start(start_server, *limits(1000, ROOM))
    life, source = new_life(server.view()), stranger()
    before = descriptors(server)
    with flood((target, source) for target in targets * EACH) as sockets:
        wait_until(lambda: alive(sockets) == len(SERVERS) * ROOM, 20, "room for one address")
        life.goes_on()
        assert alive(sockets) == len(SERVERS) * ROOM
    wait_until(lambda: descriptors(server) < before + FEW, 20, "descriptors as before")
    life.goes_on()
    with PlainLink(connect(targets[0], source)) as link:
        assert link.ask(NAT_TEST).HasField("test_nat_response")
    ports = {"hbbs": 3, "relay": 2, "web": 1}
    expected = {name: count * EACH - ROOM for name, count in ports.items()}
    counts = refused_in_all(server)
    assert refused(counts, "too_many_connections_from_address") == expected
    evidence(PROMISE, connections=len(sockets), refused=sum(expected.values()))


def test_from_one_network(make_server: MakeServer) -> None:
    """On IPv6, too, an address is one address: who has a whole network has the room of each."""
    server = make_server(max_connections_per_address="2")
    sources = [Address(f"2001:db8::{number:x}", 5000) for number in range(1, 101)]
    clients = [server.tcp(source._replace(port=port)) for source in sources for port in (1, 2)]
    assert not any(client.refused for client in clients)
    assert all(server.tcp(source).refused for source in sources)


def test_from_thousands_of_addresses(start_server: StartServer, new_life: NewLife, evidence: Evidence) -> None:
    """Below the limits nobody notices: each costs a descriptor and a little memory for as long as it is there."""
    server, targets = start(start_server)
    life = new_life(server.view())
    before, size = descriptors(server), memory(server)
    with flood((targets[number % len(targets)], stranger()) for number in range(ADDRESSES)) as sockets:
        wait_until(lambda: descriptors(server) > before + ADDRESSES - FEW, 20, "all of them accepted")
        begin = time.monotonic()
        life.goes_on()
        took = time.monotonic() - begin
        assert alive(sockets) == ADDRESSES
        assert memory(server) - size < MOST_OF_ONE * ADDRESSES
    wait_until(lambda: descriptors(server) < before + FEW, 20, "descriptors as before")
    assert not [word for word in refused_in_all(server) if "too_many" in word]
    evidence(PROMISE, f"a punch beside {ADDRESSES:,} strangers in {took * 1000:.0f} ms", connections=ADDRESSES)


def test_more_than_there_is_room_for(
    start_server: StartServer, new_life: NewLife, new_controlled: NewControlled, evidence: Evidence
) -> None:
    """Thousands of addresses together can use up all room for connections, and no more than that: who is
    registered over UDP stays, asks on a connection from before, and is reached over UDP."""
    server, targets = start(start_server, *limits(TOTAL, TOTAL))
    view = server.view()
    life, target, source = new_life(view), new_controlled(view), stranger()
    asker = Controlling(view, source=source)
    with asker.dial() as link, UdpLink(view.main, (source, 0)) as udp:
        life.stays()  # the server has accepted the asker by then
        before = descriptors(server)
        with flood((targets[number % len(targets)], stranger()) for number in range(ADDRESSES)) as sockets:
            left = len(SERVERS) * TOTAL - 3  # one is the asker's, two are a session's
            wait_until(lambda: alive(sockets) == left, 20, "no more than there is room for")
            begin = time.monotonic()
            life.stays()
            answer = link.ask(asker.punch_request(target.id, udp_port=udp.local[1])).punch_hole_response
            assert answer.is_udp
            assert time.monotonic() - begin < 6
            assert alive(sockets) == left
            assert descriptors(server) < before + left + FEW
        wait_until(lambda: descriptors(server) < before + FEW, 20, "descriptors as before")
        life.goes_on()
    counts = refused_in_all(server)
    assert sum(refused(counts, "too_many_connections").values()) == ADDRESSES - left
    evidence(PROMISE, connections=ADDRESSES, refused=ADDRESSES - left)


def test_room_is_taken_for_a_while_only(start_server: StartServer, new_life: NewLife) -> None:
    """Strangers who have all the room, and stay, lose it at the time limit: others get in then."""
    server, targets = start(start_server, *limits(TOTAL, TOTAL), "--first-frame-timeout", "2")
    life = new_life(server.view())
    begin = time.monotonic()
    with flood((targets[number % len(targets)], stranger()) for number in range(3 * TOTAL)) as sockets:
        life.recovers()
        assert time.monotonic() - begin < 2 + 10
        wait_until(lambda: alive(sockets) == 0, 20, "all of them ended")


def test_connections_that_come_and_go(start_server: StartServer, new_life: NewLife, evidence: Evidence) -> None:
    """Connections that end as soon as they are made leave nothing: no descriptor, and soon no more memory."""
    server, targets = start(start_server)
    life = new_life(server.view())
    before, sizes = descriptors(server), [0]

    def no_more_memory() -> bool:
        for number in range(ADDRESSES):
            connect(targets[number % len(targets)], stranger()).close()
        wait_until(lambda: descriptors(server) < before + FEW, 20, "descriptors as before")
        sizes.append(memory(server))
        return sizes[-1] - sizes[-2] < LEAK * ADDRESSES

    wait_until(no_more_memory, 20, "no more memory")
    life.goes_on()
    evidence(PROMISE, connections=(len(sizes) - 1) * ADDRESSES)
