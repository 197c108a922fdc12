"""Every variant of RendezvousMessage is either spoken somewhere, or ignored on purpose."""

from __future__ import annotations

import pytest

from rendezvous.hbbs.dispatch import IGNORED
from rendezvous.wire import rendezvous_pb2 as pb
from tests.hbbs.clients import StreamClient
from tests.hbbs.server import A, Server

KINDS = [field.name for field in pb.RendezvousMessage.DESCRIPTOR.oneofs_by_name["union"].fields]
TRANSPORTS = ["udp", "tcp", "secured", "nat_port", "websocket"]


def payload(kind: str) -> bytes:
    """An empty message of the kind."""
    message = pb.RendezvousMessage()
    getattr(message, kind).SetInParent()
    return message.SerializeToString()


def spoken(kind: str) -> set[str]:
    """Over which transports a message of the kind is not dropped as foreign."""
    found = set()
    for transport in TRANSPORTS:
        with Server() as server:
            client = getattr(server, transport)(A)
            if isinstance(client, StreamClient):
                client.send_payload(payload(kind))
            else:
                client.send_bytes(payload(kind))
                server.reactor.settle()
            if not server.dropped("not_spoken_here"):
                found.add(transport)
            else:
                assert client.take() == []
    return found


def test_there_are_kinds() -> None:
    """The schema has the nineteen messages of long ago and the four newer ones."""
    assert len(KINDS) == 23
    assert set(KINDS) >= IGNORED


@pytest.mark.parametrize("kind", KINDS)
def test_spoken_or_ignored(kind: str) -> None:
    """A kind is spoken over some transport, or in the list of ignored ones, and never both."""
    assert (kind in IGNORED) != bool(spoken(kind))


@pytest.mark.parametrize(
    ("kind", "transports"),
    [
        ("register_peer", {"udp"}),
        ("register_pk", {"udp", "tcp", "secured", "websocket"}),
        ("punch_hole_request", {"tcp", "secured", "websocket"}),
        ("punch_hole_sent", {"udp", "tcp", "secured", "websocket"}),
        ("local_addr", {"tcp", "secured", "websocket"}),
        ("request_relay", {"tcp", "secured", "websocket"}),
        ("relay_response", {"tcp", "secured", "websocket"}),
        ("key_exchange", {"tcp", "secured"}),
    ],
)
def test_where(kind: str, transports: set[str]) -> None:
    """A kind is spoken where clients speak it, and nowhere else."""
    assert spoken(kind) == transports


@pytest.mark.parametrize("kind", ["test_nat_request", "online_request"])
def test_everywhere(kind: str) -> None:
    """The NAT test and online states are answered on every connection."""
    assert spoken(kind) >= {"tcp", "secured", "nat_port", "websocket"}
