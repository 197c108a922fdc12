"""Halves of relayed streams at addresses of their own."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator

from websockets.exceptions import WebSocketException

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.links import Link, Server, Transport, dial_relay
from tests.integration.consoles import ask_console

UNANSWERED = 0.1


def opening(view: Server, relay_uuid: str) -> pb.RendezvousMessage:
    """The first frame of a half."""
    return pb.RendezvousMessage(request_relay=pb.RequestRelay(uuid=relay_uuid, licence_key=view.key))


def half(view: Server, kind: Transport, source: str, relay_uuid: str) -> Link:
    """One side of a relayed stream."""
    link = dial_relay(kind, view.relay, (source, 0))
    link.send(opening(view, relay_uuid))
    return link


@contextlib.contextmanager
def pair(view: Server, *sources: str, kinds: tuple[Transport, Transport] = ("tcp", "tcp")) -> Iterator[list[Link]]:
    """A running session between two addresses."""
    relay_uuid = str(uuid.uuid4())
    with half(view, kinds[0], sources[0], relay_uuid) as one, half(view, kinds[1], sources[1], relay_uuid) as other:
        one.send_payload(b"hello")
        assert other.receive_payload() == b"hello"
        yield [one, other]


def refused(view: Server, kind: Transport, source: str) -> bool:
    """Whether the relay closes a half from this address; False when it answers somebody else meanwhile."""
    try:
        with half(view, kind, source, str(uuid.uuid4())) as link:
            ask_console(view.relay, "usage")
            link.receive_payload(UNANSWERED)
    except TimeoutError:
        return False
    except (ConnectionError, EOFError, WebSocketException):
        return True
    raise AssertionError("something came from a half that waits")
