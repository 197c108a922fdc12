"""What a client asked, as the functions behind the dispatch tables get it, and what they return."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeAlias, TypeVar
from typing import Protocol as Interface

from google.protobuf.message import Message
from twisted.internet.defer import Deferred

from rendezvous.peers.directory import Peer
from rendezvous.wire.address import Address

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


class Conversation(Interface):
    """The TCP or WebSocket connection that a request came over, as far as requests concern it."""

    @property
    def lost(self) -> bool:
        """Whether the client is gone, or is being sent away."""

    @property
    def sealed(self) -> bool:
        """Whether what comes and goes is sealed."""

    def register(self, peer: Peer) -> None:
        """`peer` is present on this connection from now on."""

    def hold_for_session(self) -> None:
        """Keeps the connection, with heartbeats, until the client falls silent. Raises Refused."""

    def secure(self, keys: Sequence[bytes]) -> None:
        """Seals every frame from now on. Raises Refused."""


@dataclass(slots=True, eq=False)
class Request(Generic[M]):
    """One message: what, from where, over which transport, when (monotonic seconds)."""

    message: M
    source: Address
    transport: Transport
    arrival: float
    connection: Conversation | None = None
    """What it came over; None with UDP and for short requests."""
