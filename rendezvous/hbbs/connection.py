"""One client's TCP or WebSocket conversation: what both transports share.

A transport feeds payloads in and gets payloads to send. Most conversations are one question and one answer;
a connection that a peer registered on, or that a HealthCheck holds, stays and carries heartbeats.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol as Interface

from google.protobuf.message import Message
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from rendezvous.admission import Refused
from rendezvous.deadlines import Deadlines
from rendezvous.hbbs.dispatch import Dispatcher
from rendezvous.hbbs.request import Replies, Request, Transport
from rendezvous.metrics import Drops
from rendezvous.peers.directory import Directory, Peer
from rendezvous.wire.address import Address
from rendezvous.wire.messages import MalformedMessage, decode, encode

_USUAL_KEEP_ALIVE = 60.0
"""Seconds of silence that clients allow, if nobody told them otherwise, one and a half times over."""
MAX_OUTSTANDING = 8
"""Requests of one connection that may wait for their answers."""


class Link(Interface):
    """The transport under a conversation."""

    @property
    def clogged(self) -> bool:
        """Whether the client does not take what it is sent."""

    def send_payload(self, payload: bytes) -> None:
        """Sends one payload; an empty one is a heartbeat."""

    def close(self) -> None:
        """Closes after everything sent before."""

    def abort(self) -> None:
        """Closes at once."""

    @property
    def sealed(self) -> bool:
        """Whether frames are sealed."""

    def secure(self, keys: Sequence[bytes]) -> None:
        """Seals every frame from now on. Raises Refused."""


@dataclass(eq=False)
class Conversations:
    """What every conversation needs; times are seconds. None goes on while they are `closed`.

    At most `max_health_checks` are held by a HealthCheck.
    """

    dispatcher: Dispatcher
    directory: Directory
    drops: Drops
    clock: IReactorTime
    keep_alive: float
    first_frame_timeout: float
    max_health_checks: int
    health_checks: int = 0
    closed: bool = False
    under_way: "set[Connection]" = field(default_factory=set)

    def __post_init__(self) -> None:
        self.first_frames: Deadlines[Connection] = Deadlines(
            self.clock, self.first_frame_timeout, Connection.silent
        )
        """Of those that nothing was heard of yet."""

    def close(self) -> None:
        """Ends all of them, after what was sent."""
        self.closed = True
        for connection in list(self.under_way):
            connection.end()

    def open(self) -> None:
        """There may be conversations again."""
        self.closed = False


class Connection:
    """One conversation over `link` with the client at `source`."""

    def __init__(self, shared: Conversations, link: Link, source: Address, transport: Transport) -> None:
        self._shared = shared
        self._link = link
        self._transport = transport
        self._outstanding: set[Deferred[Replies]] = set()
        self._held = False
        self._checks_health = False
        self._closing = False
        self._lost = False
        self._heard = shared.clock.seconds()
        self._timer: IDelayedCall | None = None
        self.source = source
        self.peer: Peer | None = None
        shared.under_way.add(self)
        shared.first_frames.add(self)

    @property
    def lost(self) -> bool:
        """See Conversation."""
        return self._lost or self._closing

    @property
    def carrier(self) -> str:
        """What carries the connection."""
        return self._transport.value

    # In ------------------------------------------------------------------------------------------

    def received(self, payload: bytes) -> None:
        """A payload came; an empty one is a heartbeat, and tells only that the client lives."""
        if self._shared.closed:
            self._close()
        if self.lost:
            return
        if payload or self._held:
            self._heard = self._shared.clock.seconds()
        if not payload:
            return
        try:
            kind, message = decode(payload)
        except MalformedMessage:
            self.refuse("malformed")
            return
        if len(self._outstanding) >= MAX_OUTSTANDING:
            self.refuse("too_many_requests")
            return
        request = Request(message, self.source, self._transport, self._heard, self)
        closes = self._shared.dispatcher.closes(kind, self._transport)
        try:
            answer = self._shared.dispatcher.dispatch(kind, request)
        except Refused:
            self._refused()
            return
        if isinstance(answer, Deferred):
            self._outstanding.add(answer)
            answer.addCallbacks(self._answered, self._failed, callbackArgs=(answer, closes), errbackArgs=(answer,))
        else:
            self._answer(answer, closes)

    def refuse(self, reason: str) -> None:
        """Counts what is wrong with this client and closes."""
        self._shared.drops.count(self._transport.value, reason)
        self._close()

    def end(self) -> None:
        """Closes after what was sent."""
        self._close()

    def _close(self) -> None:
        if not self._closing:
            self._closing = True
            self._leave_peer()
            self._link.close()

    def connection_lost(self) -> None:
        """The transport is gone: so is presence on it, and whatever was waited for."""
        if self._lost:
            return
        self._lost = True
        if self._checks_health:
            self._shared.health_checks -= 1
        self._shared.under_way.discard(self)
        self._shared.first_frames.discard(self)
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._leave_peer()
        for answer in list(self._outstanding):
            answer.cancel()

    # Out -----------------------------------------------------------------------------------------

    def _answered(self, replies: Replies, answer: "Deferred[Replies]", closes: bool) -> None:
        self._outstanding.discard(answer)
        self._answer(replies, closes)

    def _failed(self, reason: Failure, answer: "Deferred[Replies]") -> None:
        reason.trap(Refused)
        self._outstanding.discard(answer)
        self._refused()

    def _answer(self, replies: Replies, closes: bool) -> None:
        if self._lost:
            return
        for reply in replies:
            self._link.send_payload(encode(reply))
        if closes and not self._held:
            self._close()

    def _refused(self) -> None:
        if not self._lost and not self._held:
            self._close()

    def push(self, message: Message) -> None:
        """Sends what another client's request makes; a client that takes nothing loses its connection."""
        if self._closing or self._link.clogged:
            self.refuse("too_slow")
        else:
            self._link.send_payload(encode(message))

    # Staying -------------------------------------------------------------------------------------

    def register(self, peer: Peer) -> None:
        """`peer` is present on this connection from now on."""
        if self.peer is not peer:
            self._leave_peer()
            self.peer = peer
        self._shared.directory.connected(peer, self, self.source)
        self._hold()

    def replaced(self) -> None:
        """The peer registered anew elsewhere."""
        self.peer = None
        self._close()

    def hold_for_session(self) -> None:
        """Keeps the connection while a session lasts. Raises Refused when too many are kept for that."""
        if not self._checks_health:
            if self._shared.health_checks >= self._shared.max_health_checks:
                raise Refused("too_many_health_checks")
            self._shared.health_checks += 1
            self._checks_health = True
        self._hold()

    def _hold(self) -> None:
        """Keeps the connection, with heartbeats, until the client falls silent."""
        if not self._held and not self._closing:
            self._held = True
            self._arm(self._beat)

    @property
    def _beat(self) -> float:
        """Seconds between heartbeats: who was told no keep-alive, as a HealthCheck, goes by the usual one."""
        keep_alive = self._shared.keep_alive
        return (keep_alive if self.peer is not None else min(keep_alive, _USUAL_KEEP_ALIVE)) / 2

    @property
    def sealed(self) -> bool:
        """Whether what comes and goes is sealed."""
        return self._link.sealed

    def secure(self, keys: Sequence[bytes]) -> None:
        """Seals every frame from now on; a wrong or repeated key exchange closes. Raises Refused."""
        try:
            self._link.secure(keys)
        except Refused:
            self._close()
            raise

    def _leave_peer(self) -> None:
        if self.peer is not None:
            peer, self.peer = self.peer, None
            self._shared.directory.disconnected(peer, self)

    def silent(self) -> None:
        """Closes a client that is silent, or does not take its last answer, for too long; asks a held one."""
        if self._closing:
            self._link.abort()
            return
        silence = self._shared.clock.seconds() - self._heard
        if self._held:
            if silence > self._shared.keep_alive:
                self.refuse("silent")
                self._link.abort()
                return
            self._link.send_payload(b"")
            wait = self._beat
        else:
            wait = self._shared.first_frame_timeout - silence
            if wait <= 0 and not self._outstanding:
                self.refuse("silent")
                wait = self._shared.first_frame_timeout  # for taking what it was sent
        if not self._lost:
            self._arm(max(wait, 0.1))

    def _arm(self, seconds: float) -> None:
        """Runs silent after `seconds`, and not before."""
        self._shared.first_frames.discard(self)
        if self._timer is not None and self._timer.active():
            self._timer.reset(seconds)
        else:
            self._timer = self._shared.clock.callLater(seconds, self.silent)
