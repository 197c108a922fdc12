"""A stream on one side, messages on the other, or messages on both: bulk both ways, pings and close frames."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.client.links import (
    Link,
    Server,
    Transport,
    WebSocketLink,
)
from tests.integration.duplex import BareWebSocket, dial
from tests.integration.support import StartServer
from tests.integration.test_relay import KINDS, TOTAL, pair, pieces, send_all

PING_EVERY = 500
"""Messages between two pings."""


@pytest.fixture(scope="module")
def fast(start_module_server: StartServer) -> Server:
    """A server whose relay has no limit that a test could reach."""
    return start_module_server(env={"SINGLE_BANDWIDTH": "20000", "TOTAL_BANDWIDTH": "20000"}).view()


@contextmanager
def duplex_pair(view: Server, first: Transport, second: Transport) -> Iterator[tuple[Link, Link]]:
    """Two joined sides that can send and receive at once."""
    relay_uuid = str(uuid.uuid4())
    with (
        dial(first, view.relay, relay_uuid, view.key) as one,
        dial(second, view.relay, relay_uuid, view.key) as other,
    ):
        yield one, other


def digest_sent(link: Link, seed: int) -> str:
    """Sends it all, with pings in between where there are some; the checksum of it."""
    total = hashlib.sha256()
    for number, piece in enumerate(pieces(seed)):
        total.update(piece)
        link.send_payload(piece)
        if isinstance(link, BareWebSocket) and number % PING_EVERY == 0:
            link.ping()
    return total.hexdigest()


def digest_received(link: Link, seed: int) -> str:
    """The checksum of all that comes, each message as large as it was sent."""
    total = hashlib.sha256()
    for piece in pieces(seed):
        payload = link.receive_payload(30)
        assert len(payload) == len(piece)
        total.update(payload)
    return total.hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second"), [("tcp", "tcp"), ("tcp", "websocket"), ("websocket", "tcp"), ("websocket", "websocket")]
)
def test_hundred_megabytes_both_ways(fast: Server, first: Transport, second: Transport) -> None:
    """100 MB pass each way at once, message by message, and every ping in between is answered in its turn."""
    assert sum(map(len, pieces(3))) == TOTAL
    with duplex_pair(fast, first, second) as (one, other), ThreadPoolExecutor(4) as pool:
        sent = [pool.submit(digest_sent, one, 3), pool.submit(digest_sent, other, 4)]
        received = [pool.submit(digest_received, other, 3), pool.submit(digest_received, one, 4)]
        assert [result.result(120) for result in received] == [result.result(10) for result in sent]
        for link in (one, other):
            if isinstance(link, BareWebSocket):
                link.receive_pongs()
                assert len(link.pings) > 2
                assert link.pongs == link.pings


@pytest.mark.parametrize("second", KINDS)
@pytest.mark.parametrize("code", [1000, 1001, 4321])
def test_close_frames(view: Server, second: Transport, code: int) -> None:
    """A close frame is answered with its own code; the other side gets a normal one, after all messages."""
    with pair(view, "websocket", second) as (one, other):
        assert isinstance(one, WebSocketLink)
        messages = [bytes([number]) * 60_000 for number in range(40)]
        with ThreadPoolExecutor(1) as pool:
            received = pool.submit(lambda: [other.receive_payload() for _ in messages])
            send_all(one, messages)
            one.connection.close(code)
            assert received.result(30) == messages
        other.wait_closed(10)
        assert one.connection.close_code == code
        assert not isinstance(other, WebSocketLink) or other.connection.close_code == 1000


@pytest.mark.parametrize("how", ["close", "reset"])
def test_close_frame_after_a_stream(view: Server, how: str) -> None:
    """A WebSocket side whose TCP side ends or is cut gets a close frame with a normal code."""
    with pair(view, "tcp", "websocket") as (one, other):
        assert isinstance(other, WebSocketLink)
        other.send_payload(b"x")
        assert one.receive_payload() == b"x"
        getattr(one, how)()
        other.wait_closed(10)
        assert other.connection.close_code == 1000
