"""The crowd's punches: both sides of each, over TCP."""

from __future__ import annotations

import contextlib
import time

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.wire import Address, demangle, frame
from tests.load.connections import FramedConnection, Loop
from tests.load.waiting import Waiting

PAUSES = (3.0, 6.0)
"""Seconds after which a client sends its request again on the same connection."""
PATIENCE = 18.0
"""Seconds after which it gives up."""


class Asking(FramedConnection):
    """A: asks for a peer, and waits for the address that this peer has answered from."""

    def __init__(self, punches: Punches, source: str, message: pb.RendezvousMessage) -> None:
        self.expected: set[Address] = set()
        self._punches = punches
        self._request = frame(message.SerializeToString())
        super().__init__(punches.loop, source, punches.server, self._request)

    def frame(self, payload: bytes) -> None:
        """The answer, or what comes before it: an offer to seal the connection, a heartbeat."""
        message = pb.RendezvousMessage.FromString(payload)
        if not payload or message.HasField("key_exchange"):
            return
        address = demangle(message.punch_hole_response.socket_addr)
        self.close()
        self._punches.ended(self, address in self.expected)

    def repeat(self) -> None:
        """Ask again, when the connection is made."""
        if not self._first:
            with contextlib.suppress(OSError):  # its end is about to be read
                self.send(self._request)

    def ended(self) -> None:
        """Closed without an answer."""
        self._punches.ended(self, False)


class Punches:
    """All punches under way."""

    def __init__(self, loop: Loop, server: Address, key: str) -> None:
        self.loop = loop
        self.server = server
        self.waiting = Waiting(PATIENCE, PAUSES)
        self._key = key
        self._asking: dict[Address, Asking] = {}

    def ask(self, source: str, peer: str) -> None:
        """A client at `source` asks for the peer with this id. Its time begins before it connects."""
        request = pb.PunchHoleRequest(id=peer, nat_type=pb.ASYMMETRIC, licence_key=self._key, version="1.4.2")
        now = time.monotonic()
        asking = Asking(self, source, pb.RendezvousMessage(punch_hole_request=request))
        self._asking[asking.local] = asking
        self.waiting.ask(asking.local, now)

    def pushed(self, source: str, peer: str, push: pb.PunchHole) -> None:
        """B: the peer at `source` has been told to punch, and answers on a connection of its own."""
        sent = pb.PunchHoleSent(
            socket_addr=push.socket_addr,
            id=peer,
            relay_server=push.relay_server,
            nat_type=pb.ASYMMETRIC,
            version="1.4.2",
        )
        payload = pb.RendezvousMessage(punch_hole_sent=sent).SerializeToString()
        answering = FramedConnection(self.loop, source, self.server, frame(payload))
        asking = self._asking.get(demangle(push.socket_addr))
        if asking is not None:
            asking.expected.add(answering.local)

    def ended(self, asking: Asking, right: bool) -> None:
        """An answer has come, or the connection is gone."""
        self._asking.pop(asking.local, None)
        if right:
            self.waiting.answer(asking.local, time.monotonic())
        else:
            self.waiting.wrong(asking.local)

    def repeat(self, now: float) -> None:
        """Those who were not answered ask again."""
        for key in self.waiting.due(now):
            asking = self._asking.get(key)  # type: ignore[call-overload]
            if asking is not None:
                asking.repeat()

    def expire(self, now: float) -> None:
        """Give up what has waited for too long."""
        for key in self.waiting.expire(now):
            asking = self._asking.pop(key, None)  # type: ignore[call-overload]
            if asking is not None:
                asking.close()
