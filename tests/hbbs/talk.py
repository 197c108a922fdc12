"""What two clients say to each other through the server, in steps that tests put together."""

from __future__ import annotations

from typing import Any, TypeVar

from google.protobuf.message import Message

from rendezvous.wire import rendezvous_pb2 as pb
from rendezvous.wire.address import Address
from tests.client.wire import demangle, open_id_pk
from tests.hbbs.clients import StreamClient, UDPClient, only
from tests.hbbs.server import B_ID, SERVER_KEY, B, Server, pk_of

M = TypeVar("M", bound=Message)

B_PUNCHES = B._replace(port=50100)
"""Where B answers from: its own address, another port."""


def push_for(asker: StreamClient, target: UDPClient | StreamClient, request: Message, expected: type[M]) -> M:
    """What the target is sent when `asker` sends `request`; the asker must not have been answered yet."""
    assert asker.ask(request) == []
    assert asker.heartbeats == 0
    return only(target.take(), expected)


def hole(asker: StreamClient, target: UDPClient | StreamClient, **fields: Any) -> pb.PunchHole:
    """The PunchHole that the target gets when `asker` wants to reach it."""
    return push_for(asker, target, pb.PunchHoleRequest(**({"id": B_ID} | fields)), pb.PunchHole)


def sent(push: pb.PunchHole, **fields: Any) -> pb.PunchHoleSent:
    """The target's answer to a PunchHole."""
    values = {"id": B_ID, "socket_addr": push.socket_addr, "relay_server": push.relay_server, "version": "1.4.2"}
    return pb.PunchHoleSent(**(values | fields))


def answer(server: Server, message: Message, source: Address = B_PUNCHES, transport: str = "tcp") -> StreamClient:
    """Sends the target's answer on a connection of its own, which is returned."""
    client: StreamClient = getattr(server, transport)(source)
    client.send(message)
    return client


def seen_at(address: Address) -> tuple[str, int]:
    """An address as `demangle` gives it."""
    return address.host, address.port


def where(message: Message) -> tuple[str, int]:
    """The address in a message's socket_addr."""
    socket_addr: bytes = message.socket_addr  # type: ignore[attr-defined]
    return demangle(socket_addr)


def vouches_for(pk: bytes, id: str = B_ID) -> bool:
    """Whether `pk` is the server's word that the machine with `id` has its key."""
    signed = open_id_pk(pk, SERVER_KEY)
    return (signed.id, signed.pk) == (id, pk_of(id))
