"""What a client asked, as the functions behind the dispatch tables get it, and what they return."""

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from google.protobuf.message import Message
from twisted.internet.defer import Deferred

from rendezvous.wire.address import Address

if TYPE_CHECKING:
    from rendezvous.hbbs.connection import Connection

M = TypeVar("M", bound=Message)

Replies: TypeAlias = tuple[Message, ...]
Answer: TypeAlias = "Replies | Deferred[Replies]"

NOTHING: Replies = ()


class Transport(Enum):
    """Where a request came in."""

    UDP = "udp"
    TCP = "tcp"
    """Port P."""
    NAT_PORT = "nat_port"
    """Port P-1."""
    WEBSOCKET = "websocket"
    """Port P+2."""


@dataclass(slots=True, eq=False)
class Request(Generic[M]):
    """One message: what, from where, over which transport, when (monotonic seconds)."""

    message: M
    source: Address
    transport: Transport
    arrival: float
    connection: "Connection | None" = None
    """What it came over; None with UDP."""
