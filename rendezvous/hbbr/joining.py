"""A side until it is joined: its first frame, its wait for the other side, and the time it has for both."""

from collections.abc import Callable

from rendezvous.admission import Refused
from rendezvous.hbbr.relay import Relay
from rendezvous.hbbr.session import Side

EARLY_BYTES = 65536
"""Bytes kept of what a side sends before the other one comes; more stays in the kernel."""
LONGEST_REQUEST = 65536
"""Bytes of a first frame; longer ones are allowed once a side is joined."""


class Joining:
    """What TCP and WebSocket sides share until they are joined. `close` ends a side that is refused or late."""

    def __init__(self, relay: Relay, side: Side, close: Callable[[], None]) -> None:
        self._relay = relay
        self._side = side
        self._close = close
        self._uuid = ""
        self._timer = relay.clock.callLater(relay.times.first_frame, self._late, "no_first_frame")
        self.asked = False

    def first_frame(self, payload: bytes) -> None:
        """The side's first frame: joins it, makes it wait, or closes it."""
        self.asked = True
        self._timer.cancel()
        self._timer = self._relay.clock.callLater(self._relay.times.pairing, self._late, "not_joined")
        try:
            self._uuid = self._relay.requested(self._side, payload)
        except Refused as refused:
            self.refuse(str(refused))

    def joined(self) -> None:
        """The other side is there."""
        if self._timer.active():
            self._timer.cancel()

    def refuse(self, reason: str) -> None:
        """Counts what is wrong with this side and closes it."""
        self.lost()
        self._relay.drop(reason)
        self._close()

    def lost(self) -> None:
        """The side is gone, or given up."""
        self.joined()
        self._relay.left(self._side, self._uuid)

    def _late(self, reason: str) -> None:
        self.refuse(reason)
