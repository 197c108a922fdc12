"""The fast path of short TCP requests equals the slow one: same bytes in, same bytes out, same state afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from unittest.mock import patch

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from rendezvous.hbbs.exchanges import GRACE
from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from rendezvous.wire.address import mangle as mangled
from tests.client.wire import FrameReader, frame, mangle
from tests.hbbs.both_ways import by_short_path, by_slow_path, populated
from tests.hbbs.clients import TCPClient, only, unwrap, wrap
from tests.hbbs.server import A_V6, B_ID, B_V6, A, B, Server, register_pk

IDS = [B_ID, "on-ipv6-1", "stored-1", "connected", "unknown-1", ""]
DENIED = Address("198.51.100.66", 50066)
SOURCES = [B, A, A_V6, B_V6, DENIED, Address("127.0.0.1", 7), Address("::1", 7)]
TOKENS = [mangled(A, 7), mangled(A_V6, 7)]
"""What answers to the two that wait for B carry; `pending` makes the nonce a known one."""
ELSEWHERE = mangle(("203.0.113.7", 40007), 1)

ADDRESSES = st.sampled_from([*TOKENS, *TOKENS, *TOKENS, ELSEWHERE, b"", b"x" * 17])
ANSWERS = st.builds(
    lambda kind, id, where: kind(id=id, socket_addr=where),
    st.sampled_from([pb.PunchHoleSent, pb.PunchHoleSent, pb.LocalAddr, pb.RelayResponse]),
    st.sampled_from([B_ID, B_ID, B_ID, "on-ipv6-1", ""]),
    ADDRESSES,
)
SHORT: st.SearchStrategy[Message] = st.one_of(
    st.builds(pb.TestNatRequest, serial=st.sampled_from([0, 3, 5, 6])),
    st.builds(pb.OnlineRequest, peers=st.lists(st.sampled_from(IDS), max_size=9)),
    ANSWERS,
)
LONG: st.SearchStrategy[Message] = st.sampled_from(
    [
        pb.PunchHoleRequest(id=B_ID),
        pb.RegisterPeer(id=B_ID),
        register_pk("target-1"),
        pb.HealthCheck(token="t"),
        pb.SoftwareUpdate(url="1.0"),
    ]
)
FRAMES = (SHORT | SHORT | LONG).map(wrap).map(frame)
DATA = st.one_of(
    SHORT.map(wrap).map(frame),
    SHORT.map(wrap).map(frame),
    FRAMES,
    st.binary(min_size=1, max_size=60).map(frame),
    st.binary(min_size=1, max_size=60),
    st.lists(FRAMES, min_size=2, max_size=3).map(b"".join),
    FRAMES.map(lambda data: b"\0" + data),
    FRAMES.map(lambda data: data[:-1]),
    st.sampled_from([b"", b"h\n", b"ib 1\n", b"pr", frame(b""), frame(bytes(70_000))]),
)


class Scene(NamedTuple):
    """What is told to clients, which port is asked from where, and who has used up the connections."""

    serial: int
    nat_port: bool
    source: Address
    full: str


SCENES = st.builds(
    Scene,
    st.sampled_from([0, 5]),
    st.booleans(),
    st.sampled_from(SOURCES),
    st.sampled_from(["", "", "", "in all", "from there"]),
)


class Outcome(NamedTuple):
    """Everything that can be seen of a conversation, less the offers of keys."""

    sent: bytes | list[bytes]
    closed: bool
    drops: Counter[tuple[str, str]]
    pushed: list[tuple[bytes, Address]]
    askers: list[list[Message]]
    opened: dict[str, int]
    connections: int


@contextmanager
def pending(scene: Scene) -> Iterator[tuple[Server, list[TCPClient]]]:
    """A server with two clients that wait for B, and connections up to its limits where the scene says so."""
    limits = {"max_connections": "4", "max_connections_per_address": "2"} if scene.full else {}
    same_nonce = lambda address, nonce: mangled(address, 7)  # noqa: E731
    with (
        patch("rendezvous.hbbs.exchanges.mangle", same_nonce),
        patch("rendezvous.hbbs.punching.mangle", same_nonce),
        populated(scene.serial, **limits) as server,
    ):
        askers = [server.tcp(A), server.tcp(A_V6)]
        for asker in askers:
            asker.send(pb.PunchHoleRequest(id=B_ID))
            asker.take()
        server.reactor.datagrams.clear()
        server.service.denylist.entries.add(DENIED.host)
        if scene.full == "in all":
            server.tcp(Address("192.0.2.1", 1))
        elif scene.full:
            for port in (1, 2):
                server.tcp(scene.source._replace(port=port))
        yield server, askers


def without_offers(received: bytes) -> list[bytes]:
    """The payloads that came on port P, where who has not said a whole message yet may be offered keys."""
    reader = FrameReader()
    reader.feed(received)
    return [payload for payload in iter(reader.next, None) if not isinstance(unwrap(payload), pb.KeyExchange)]


def seen(server: Server, scene: Scene, askers: list[TCPClient], received: bytes, closed: bool) -> Outcome:
    """What has come of it, a second later."""
    server.advance(1.0)
    return Outcome(
        received if scene.nat_port else without_offers(received),
        closed,
        server.drops.counts,
        server.reactor.datagrams,
        [asker.take() for asker in askers],
        {name: factory.opened for name, factory in server.service.accepting.items()},
        server.service.admission.connections,
    )


def port_of(server: Server, scene: Scene) -> int:
    """The port that is asked."""
    return server.settings.nat_port if scene.nat_port else server.settings.port


@given(SCENES, DATA)
@settings(max_examples=300, deadline=None)
def test_short_requests(scene: Scene, data: bytes) -> None:
    """What the short path answers, refuses and pushes is what the slow path does; the rest it hands over whole."""
    with pending(scene) as (server, askers):
        received, closed, handed_over = by_short_path(server, data, scene.source, port_of(server, scene))
        assert handed_over in (None, data[:65536])
        fast = seen(server, scene, askers, received, closed)
    with pending(scene) as (server, askers):
        slow = by_slow_path(server, data, scene.source, port_of(server, scene))
        assert fast == seen(server, scene, askers, *slow)


@pytest.mark.parametrize("nat_port", [False, True])
@pytest.mark.parametrize("source", [B, B_V6, Address("127.0.0.1", 7)])
def test_short_requests_are_short(nat_port: bool, source: Address) -> None:
    """The comparison above is about something: the usual short requests take the short path, others do not."""
    scene = Scene(0, nat_port, source, "")
    answers = [kind(id=B_ID, socket_addr=TOKENS[0]) for kind in (pb.LocalAddr, pb.PunchHoleSent, pb.RelayResponse)]
    for message in (pb.TestNatRequest(serial=3), pb.OnlineRequest(peers=IDS), *answers):
        with pending(scene) as (server, _):
            _, closed, handed_over = by_short_path(server, frame(wrap(message)), source, port_of(server, scene))
            assert (closed, handed_over) == (True, None)
    with pending(scene) as (server, _):
        question = frame(wrap(pb.PunchHoleRequest(id=B_ID)))
        assert by_short_path(server, question, source, port_of(server, scene))[2] == question


@pytest.mark.parametrize(("number", "source"), [(0, B), (0, A), (1, B), (1, A)])
def test_a_short_answer_reaches_its_asker(number: int, source: Address) -> None:
    """An answer of the target that comes on the short path goes to the asker that it names, and to no other."""
    with pending(Scene(0, False, source, "")) as (server, askers):
        answer = pb.PunchHoleSent(id=B_ID, socket_addr=TOKENS[number], version="1", relay_server="r")
        received, closed, _ = by_short_path(server, frame(wrap(answer)), source, server.settings.port)
        assert (received, closed) == (b"", True)
        server.advance(GRACE)
        response = only(askers[number].take(), pb.PunchHoleResponse)
        assert response.relay_server == "r"
        assert askers[1 - number].take() == []
