"""What must go on whatever fails: heartbeats, punches and relayed sessions of clients that are known."""

from __future__ import annotations

import contextlib
from time import monotonic

from tests.client.controlled import Controlled, Identity
from tests.client.controlling import Controlling
from tests.client.links import Server
from tests.client.threads import wait_until
from tests.client.udp import UdpLink
from tests.faults.storm import OK
from tests.integration.support import NewControlled, unique_source

SOON = 4.0
"""Seconds within which a client that is known is served."""


class Life:
    """A client with heartbeats, one that is reached, and a session with it over the relay, from before a fault."""

    def __init__(self, view: Server, new_controlled: NewControlled) -> None:
        self._view = view
        self._source = unique_source()
        self._known = Identity.make()
        with UdpLink(view.main, (self._source, 0)) as udp:
            assert udp.ask(self._known.register_pk()).register_pk_response.result == OK
        self._target: Controlled = new_controlled(view)
        self._asker = Controlling(view, source=unique_source())
        self.session = self._asker.connect_by_relay(self._target.id)
        self.stays()

    def goes_on(self, soon: float = SOON) -> None:
        """All of them are served, and soon."""
        begin = monotonic()
        self.stays(soon)
        assert self._asker.punch(self._target.id).pk == self._target.identity.pk
        assert monotonic() - begin < soon

    def recovers(self) -> None:
        """All of them are served again soon; until then a new connection may be refused."""

        def served() -> bool:
            with contextlib.suppress(OSError):
                self.goes_on()
                return True
            return False

        wait_until(served, 15)

    def stays(self, soon: float = SOON) -> None:
        """What takes no new connection is served, and soon."""
        begin = monotonic()
        with UdpLink(self._view.main, (self._source, 0)) as udp:
            answer = udp.ask(self._known.register_peer(), tries=1, timeout=soon)
            assert answer.HasField("register_peer_response")
            assert not answer.register_peer_response.request_pk
        assert self.session.round_trip(b"hello") == b"hello"
        assert monotonic() - begin < soon
