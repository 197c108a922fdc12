"""Streams through the relay: pairing, both kinds of transport, checksums and endings."""

from __future__ import annotations

import contextlib
import hashlib
import random
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from time import monotonic

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlling import Controlling
from tests.client.links import (
    Link,
    PlainLink,
    Server,
    Transport,
    dial_relay,
)
from tests.client.wire import frame
from tests.integration.support import NewControlled, StartServer, unique_source

MEGABYTE = 1_000_000
TOTAL = 100 * MEGABYTE
BLOCK = random.Random(7).randbytes(MEGABYTE)
KINDS: list[Transport] = ["tcp", "websocket"]


@pytest.fixture(scope="module")
def fast(start_module_server: StartServer) -> Server:
    """A server whose relay has no limit that a test could reach."""
    limits = {"SINGLE_BANDWIDTH": "20000", "TOTAL_BANDWIDTH": "20000"}
    return start_module_server(env=limits).view()


def opening(relay_uuid: str, key: str) -> pb.RendezvousMessage:
    """The first frame of a half."""
    return pb.RendezvousMessage(request_relay=pb.RequestRelay(uuid=relay_uuid, licence_key=key))


def half(view: Server, kind: Transport, relay_uuid: str) -> Link:
    """One side of a relayed stream."""
    link = dial_relay(kind, view.relay, (unique_source(), 0))
    link.send(opening(relay_uuid, view.key))
    return link


@contextlib.contextmanager
def pair(view: Server, first: Transport, second: Transport) -> Iterator[tuple[Link, Link]]:
    """Two halves with one uuid; the first has come before the second."""
    relay_uuid = str(uuid.uuid4())
    with half(view, first, relay_uuid) as one, half(view, second, relay_uuid) as other:
        yield one, other


def pieces(seed: int) -> Iterator[bytes]:
    """TOTAL bytes in pieces of all sizes up to 64 KiB, none of them empty."""
    sizes = random.Random(seed)
    left = TOTAL
    while left:
        size = min(left, sizes.choice((1, 63, 64, 1400, 16383, 16384, 65000, 65536, 65536)))
        start = sizes.randrange(MEGABYTE - size)
        yield BLOCK[start : start + size]
        left -= size


def send_all(link: Link, messages: list[bytes]) -> None:
    """Send one payload after the other."""
    for message in messages:
        link.send_payload(message)


def digest_sent(link: Link, seed: int) -> str:
    """Send it all; the checksum of it."""
    total = hashlib.sha256()
    for piece in pieces(seed):
        total.update(piece)
        link.send_payload(piece)
    return total.hexdigest()


def digest_received(link: Link) -> str:
    """The checksum of the next TOTAL bytes."""
    total, left = hashlib.sha256(), TOTAL
    while left:
        payload = link.receive_payload(30)
        total.update(payload)
        left -= len(payload)
    return total.hexdigest()


@pytest.mark.parametrize("second", KINDS)
@pytest.mark.parametrize("first", KINDS)
def test_hundred_megabytes(fast: Server, first: Transport, second: Transport) -> None:
    """100 MB arrive as they were sent, piece by piece, between any two kinds of transport."""
    with pair(fast, first, second) as (one, other), ThreadPoolExecutor(1) as pool:
        sent = pool.submit(digest_sent, one, 1)
        assert digest_received(other) == sent.result(60)


@pytest.mark.parametrize("second", KINDS)
@pytest.mark.parametrize("first", KINDS)
def test_both_directions_at_once(view: Server, first: Transport, second: Transport) -> None:
    """Payload boundaries are kept where a WebSocket takes part; both ways flow together."""
    messages = [bytes([i]) * (i * 37 + 1) for i in range(200)]
    with pair(view, first, second) as (one, other), ThreadPoolExecutor(2) as pool:
        results = []
        for sender, receiver in ((one, other), (other, one)):
            pool.submit(send_all, sender, messages)
            results.append([receiver.receive_payload() for _ in messages])
        assert results == [messages, messages]


def test_hundred_megabytes_to_a_controlled_client(fast: Server, new_controlled: NewControlled) -> None:
    """The whole way: register, ask, fall back to the relay, and send with a checksum."""
    received: list[str] = []

    def take(link: Link) -> None:
        received.append(digest_received(link))
        link.send_payload(b"done")

    peer = new_controlled(fast, serve=take)
    with Controlling(fast, source=unique_source()).connect_by_relay(peer.id) as session:
        sent = digest_sent(session.link, 2)
        assert session.link.receive_payload(30) == b"done"
    assert received == [sent]


def test_tcp_halves_are_opaque(view: Server) -> None:
    """Between two TCP halves anything flows, framed or not."""
    with pair(view, "tcp", "tcp") as (one, other):
        assert isinstance(one, PlainLink)
        assert isinstance(other, PlainLink)
        for data in (b"\xff" * 7, b"GET / HTTP/1.1\r\n\r\n", b"\0"):
            one.send_raw(data)
            taken = b""
            while len(taken) < len(data):
                taken += other.receive_raw()
            assert taken == data


@pytest.mark.parametrize("second", KINDS)
@pytest.mark.parametrize("first", KINDS)
def test_bytes_before_the_other_side_came(view: Server, first: Transport, second: Transport) -> None:
    """What is sent right behind the first frame waits for the other side."""
    relay_uuid = str(uuid.uuid4())
    early = [b"early %d" % number for number in range(50)]
    with dial_relay(first, view.relay) as one:
        request = opening(relay_uuid, view.key).SerializeToString()
        if isinstance(one, PlainLink):
            one.send_raw(frame(request) + b"".join(map(frame, early)))
        else:
            for payload in (request, *early):
                one.send_payload(payload)
        with half(view, second, relay_uuid) as other:
            assert [other.receive_payload() for _ in early] == early
            other.send_payload(b"back")
            assert one.receive_payload() == b"back"


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_key_is_closed(view: Server, kind: Transport) -> None:
    """A half with another key than the server's is closed and doesn't pair."""
    relay_uuid = str(uuid.uuid4())
    wrong = half(replace(view, key="wrong"), kind, relay_uuid)
    with wrong:
        wrong.wait_closed(15)


@pytest.mark.parametrize("kind", KINDS)
def test_no_uuid_is_closed(view: Server, kind: Transport) -> None:
    """A half without a uuid is closed at once."""
    with half(view, kind, "") as link:
        link.wait_closed(15)


@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("second", KINDS)
def test_end_of_one_side_ends_the_other(view: Server, first: Transport, second: Transport) -> None:
    """What was sent before the end still arrives; then the other side is closed too."""
    with pair(view, first, second) as (one, other):
        other.send_payload(b"hello")
        assert one.receive_payload() == b"hello"
        one.send_payload(b"last words")
        one.close()
        assert other.receive_payload() == b"last words"
        other.wait_closed(10)


def test_reset_of_one_side_ends_the_other(view: Server) -> None:
    """A reset isn't a way to keep the other side waiting."""
    with pair(view, "tcp", "tcp") as (one, other):
        one.send_payload(b"x")
        assert other.receive_payload() == b"x"
        one.reset()
        other.wait_closed(10)


def test_third_connection_starts_a_new_wait(view: Server) -> None:
    """A uuid in use may be waited for again: third and fourth are a pair of their own."""
    relay_uuid = str(uuid.uuid4())
    links = [half(view, "tcp", relay_uuid) for _ in range(4)]
    with contextlib.ExitStack() as stack:
        for link in links:
            stack.enter_context(link)
        links[0].send_payload(b"first pair")
        links[2].send_payload(b"second pair")
        received = sorted(links[number].receive_payload() for number in (1, 3))
        assert received == [b"first pair", b"second pair"]


def test_half_that_leaves_is_not_paired(view: Server) -> None:
    """Who comes after a waiting half has gone waits for somebody else."""
    relay_uuid = str(uuid.uuid4())
    half(view, "tcp", relay_uuid).reset()
    with half(view, "tcp", "") as later:
        later.wait_closed(15)
    with half(view, "tcp", relay_uuid) as one, half(view, "tcp", relay_uuid) as other:
        one.send_payload(b"hello")
        assert other.receive_payload(5) == b"hello"


def test_many_streams_at_once(view: Server) -> None:
    """Fifty streams of mixed kinds keep apart."""
    with contextlib.ExitStack() as stack:
        pairs = [stack.enter_context(pair(view, KINDS[number % 2], KINDS[number // 2 % 2])) for number in range(50)]
        for number, (one, _) in enumerate(pairs):
            one.send_payload(b"stream %d" % number)
        for number, (_, other) in enumerate(pairs):
            assert other.receive_payload() == b"stream %d" % number


def test_relay_alone_needs_no_key(start_server: StartServer) -> None:
    """`hbbr` by itself asks for no key, and says at start that anybody may use it."""
    server = start_server(part="hbbr")
    view = replace(server.view(), key="whatever")
    with pair(view, "tcp", "websocket") as (one, other):
        one.send_payload(b"hello")
        assert other.receive_payload() == b"hello"
    assert "anybody" in server.output.lower()


def test_relay_alone_with_a_key(start_server: StartServer) -> None:
    """With `-k TEXT` the relay asks for exactly this text."""
    server = start_server("-k", "a secret", part="hbbr")
    view = replace(server.view(), key="a secret")
    with pair(view, "tcp", "tcp") as (one, other):
        one.send_payload(b"hello")
        assert other.receive_payload() == b"hello"
    with half(replace(view, key="A secret"), "tcp", str(uuid.uuid4())) as refused:
        refused.wait_closed(15)


def test_single_bandwidth_is_kept(start_server: StartServer) -> None:
    """At 16 Mbit/s (of 1024 squared bits) four megabytes take about two seconds."""
    view = start_server(env={"SINGLE_BANDWIDTH": "16"}).view()
    with pair(view, "tcp", "tcp") as (one, other), ThreadPoolExecutor(1) as pool:
        size, count = 65536, 64
        begin = monotonic()
        pool.submit(send_all, one, [bytes(size)] * count)
        for _ in range(count):
            other.receive_payload(30)
        taken = monotonic() - begin
    assert 0.7 < taken < 12
