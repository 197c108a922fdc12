"""Clients of all kinds through HAProxy, which passes TCP on and tells by PROXY protocol whose it is."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import Registration
from tests.client.controlling import Controlling, Punched
from tests.client.links import Link, PlainLink, Server, Transport, connected_socket
from tests.client.wire import demangle
from tests.integration.server import ServerProcess, free_port
from tests.integration.support import NewControlled, unique_source
from tests.proxies import configurations, processes
from tests.proxies.asking import CHUNK, digested
from tests.proxies.configurations import TIMEOUT

COUNT = 96


@pytest.fixture(scope="module", params=["v2", "v1"])
def view(
    request: pytest.FixtureRequest, spoken_to: ServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The server behind HAProxy, which sends either version; UDP goes to the server itself."""
    at = free_port()
    text = configurations.haproxy(at, spoken_to.port, request.param)
    with processes.haproxy(tmp_path_factory.mktemp("haproxy"), text, *range(at - 1, at + 4)):
        yield replace(spoken_to.view(), port=at, udp_port=spoken_to.port)


def test_nat_test(view: Server) -> None:
    """A client is told its own port on P and P-1, and not HAProxy's."""
    request = pb.RendezvousMessage(test_nat_request=pb.TestNatRequest(serial=3))
    for address in (view.main, view.second):
        with PlainLink(connected_socket(address, (unique_source(), 0))) as link:
            assert link.ask(request).test_nat_response.port == link.local[1]


@pytest.mark.parametrize("transport", ["tcp", "secured"])
@pytest.mark.parametrize("registration", ["udp", "secured"])
@pytest.mark.parametrize("reset", [False, True])
def test_punching(
    view: Server, new_controlled: NewControlled, registration: Registration, transport: Transport, reset: bool
) -> None:
    """Each side learns the other's own address and port, and they connect; also when the answer ends in a reset."""
    peer = new_controlled(view, registration, reset_answers=reset)
    asking = Controlling(view, transport=transport, source=unique_source())
    punched = asking.punch(peer.id)
    push = peer.wait_push("punch_hole").punch_hole
    assert demangle(push.socket_addr) == punched.local
    assert peer.source is not None
    assert punched.socket_addr[0] == peer.source[0]
    assert punched.pk == peer.identity.pk
    with asking.connect(peer.id) as session:
        assert session.way == "direct"
        assert session.round_trip(b"hello") == b"hello"
    assert asking.online([peer.id, "nobody"]) == [True, False]


def test_same_network(view: Server, new_controlled: NewControlled) -> None:
    """Two clients that have one public address, and only such, are told to use their local ones."""
    source = unique_source()
    peer = new_controlled(view, "udp", source=source)
    with Controlling(view, source=source).connect(peer.id) as session:
        assert session.way == "local"


@pytest.mark.parametrize("transport", ["tcp", "websocket"])
def test_relayed_session(view: Server, new_controlled: NewControlled, transport: Transport) -> None:
    """Megabytes go through the relay unchanged in both directions, over Q and over Q+2."""
    messages = [CHUNK[number:] + CHUNK[:number] for number in range(COUNT)]

    def serve(link: Link) -> None:
        link.send_payload(digested(link, COUNT))
        for message in messages:
            link.send_payload(message)

    peer = new_controlled(view, "websocket" if transport == "websocket" else "secured", serve=serve)
    expected = hashlib.sha256(b"".join(messages)).digest()
    with Controlling(view, transport=transport, source=unique_source()).connect_by_relay(peer.id) as session:
        for message in messages:
            session.link.send_payload(message)
        assert session.link.receive_payload(30) == expected
        assert digested(session.link, COUNT) == expected


def test_two_clients_of_one_address(view: Server, new_controlled: NewControlled) -> None:
    """Two that ask for the same client at once, from one address, get their own answers."""
    peer = new_controlled(view, "secured")
    asking = Controlling(view, source=unique_source())

    def ask(_: int) -> Punched:
        return asking.punch(peer.id)

    with ThreadPoolExecutor(8) as pool:
        punched = list(pool.map(ask, range(8)))
    told = {demangle(push.punch_hole.socket_addr) for push in peer.pushes.all()}
    assert told >= {each.local for each in punched}
    assert len({each.socket_addr for each in punched}) == len(punched)


@pytest.mark.parametrize("view", ["v2"], indirect=True)
def test_longer_than_the_timeouts(view: Server, new_controlled: NewControlled) -> None:
    """What lasts longer than HAProxy bears silence goes on: a stream one way, and an idle registration."""
    count = 10 * (TIMEOUT + 1)
    messages = [CHUNK[number:] for number in range(count)]
    idle = new_controlled(view, "secured", follow_pushes=False)
    peer = new_controlled(view, "secured", serve=lambda link: link.send_payload(digested(link, count)))
    asking = Controlling(view, source=unique_source())
    with (
        asking.dial_relay("", "waits for nobody") as silent,
        asking.connect_by_relay(peer.id) as session,
    ):
        for message in messages:
            session.link.send_payload(message)
            time.sleep(0.1)
        assert session.link.receive_payload() == hashlib.sha256(b"".join(messages)).digest()
        silent.wait_closed()
    assert idle.link is not None
    assert idle.link.heartbeats
    assert not idle.lost.is_set()
    with asking.dial() as link:
        link.send(asking.punch_request(idle.id))
        assert demangle(idle.wait_push("punch_hole").punch_hole.socket_addr) == link.local


def test_health_checks(spoken_to: ServerProcess, tmp_path: Path) -> None:
    """With `check` HAProxy connects again and again, finds the server up, and goes on serving."""
    at = free_port()
    text = configurations.haproxy(at, spoken_to.port)
    text = text.replace(" send-proxy-v2", " send-proxy-v2 check inter 50ms rise 1 fall 1")
    with processes.haproxy(tmp_path, text, *range(at - 1, at + 4)):
        asking = Controlling(replace(spoken_to.view(), port=at), source=unique_source())
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            asking.nat_test()
        assert all(answer.port for answer in asking.nat_test())
