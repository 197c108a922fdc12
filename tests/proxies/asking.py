"""What tests with web ports do by hand: ask for a client, see who it was told of, and answer for it."""

from __future__ import annotations

import hashlib

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import VERSION, Controlled
from tests.client.controlling import Controlling
from tests.client.links import Link, Server, WebSocketLink, connected_socket, dial
from tests.client.threads import wait_until
from tests.client.wire import Address, demangle

CHUNK = bytes(range(256)) * 256
FORGED = {"X-Forwarded-For": "203.0.113.9", "X-Real-IP": "203.0.113.9", "Forwarded": "for=203.0.113.9"}
"""What a client may say of itself."""


def ask(view: Server, peer: Controlled, source: str, headers: dict[str, str] | None = None) -> Link:
    """A controlling client that has asked for a peer over a web port, and waits."""
    assert view.web is not None
    made = connected_socket((view.host, view.web.port), (source, 0))
    link = WebSocketLink(made, "/ws/id", headers, view.web)
    link.send(Controlling(view).punch_request(peer.id))
    return link


def asked_from(peer: Controlled, number: int = 0) -> Address:
    """Who asks, as the peer was told in one of the pushes that come."""
    wait_until(lambda: len(peer.pushes.all()) > number, 20, "a push")
    return demangle(peer.pushes.all()[number].punch_hole.socket_addr)


def answer(view: Server, peer: Controlled, number: int = 0, version: str = VERSION) -> None:
    """Says for the peer that it has punched, on a connection of its own as clients do."""
    punch = peer.pushes.all()[number].punch_hole
    sent = pb.PunchHoleSent(socket_addr=punch.socket_addr, id=peer.id, version=version, nat_type=pb.SYMMETRIC)
    with dial("websocket", view, peer.source) as link:
        link.send(pb.RendezvousMessage(punch_hole_sent=sent))
        link.wait_closed()


def digested(link: Link, count: int) -> bytes:
    """The digest of so many messages, which come."""
    digest = hashlib.sha256()
    for _ in range(count):
        digest.update(link.receive_payload(30))
    return digest.digest()
