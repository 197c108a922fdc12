"""The relay servers that clients are sent to: healthy ones, by place or in turn (docs/protocol.md)."""

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from rendezvous.accepting import source_of
from rendezvous.config_values import Place, split_host_port
from rendezvous.hbbs.geo import Geography, distance
from rendezvous.logs import logger

DEFAULT_RELAY_PORT = 21117
CHECK_EVERY = 3.0
"""Seconds between two checks; also the time a relay has to take a connection."""
_PATIENCE = 10.0
"""Seconds that a check may take in all: its name may have to be asked for."""


class RelayServers:
    """The configured relays, which of them answer, and where they stand.

    With several, each is dialed every few seconds; when none answers, all count as healthy. `places` are
    the configured ones by relay name. `reactor` provides what Twisted's own reactors do.
    """

    log = logger("hbbs.relays")

    def __init__(
        self, names: Sequence[str], geography: Geography, places: Mapping[str, Place], reactor: Any
    ) -> None:
        self._reactor = reactor
        self._geography = geography
        self._configured_places = places
        self._hosts: dict[str, str] = {}
        self._found_places: dict[str, Place | None] = {}
        self._next = 0
        self._answering: set[str] = set()
        self._dialing: set[str] = set()
        self.configured: tuple[str, ...] = ()
        self.healthy: tuple[str, ...] = ()
        """The relays to choose from, in the configured order."""
        self._check = LoopingCall(self.check)
        self._check.clock = reactor
        self.configure(names)

    def configure(self, names: Sequence[str]) -> None:
        """Sets the relays; all of them count as healthy until checked."""
        self.configured = tuple(names)
        self._answering = set(names)
        self._choose_healthy()
        self._hosts.clear()
        self._found_places.clear()

    def answers(self, name: str) -> bool:
        """Whether the configured relay answered when last dialed; a single one is never dialed, and does."""
        return name in self._answering

    def _choose_healthy(self) -> None:
        self.healthy = tuple(name for name in self.configured if name in self._answering) or self.configured

    def pick(self, *hosts: str, again: bool = False) -> str:
        """The healthy relay nearest to all of `hosts`, or the next one in turn when places are unknown.

        As it was configured; empty when there is none at all. `again` takes the same turn once more.
        """
        healthy = self.healthy
        if not healthy:
            return ""
        nearest = self._nearest(healthy, hosts) if len(healthy) > 1 else None
        if nearest is not None:
            return nearest
        self._next += not again
        return healthy[self._next % len(healthy)]

    def _nearest(self, healthy: Sequence[str], hosts: Sequence[str]) -> str | None:
        ends = [place for host in hosts if (place := self._geography.place_of(host)) is not None]
        placed = [(name, place) for name in healthy if (place := self.place_of(name)) is not None]
        if not ends or not placed:
            return None
        return min(placed, key=lambda relay: sum(distance(relay[1], end) for end in ends))[0]

    def place_of(self, name: str) -> Place | None:
        """Where a relay stands, if that is known."""
        return self._configured_places.get(name) or self._found_places.get(name)

    def reload_places(self) -> None:
        """Reads the database of places again."""
        self._geography.reload()
        self._found_places = {name: self._geography.place_of(host) for name, host in self._hosts.items()}

    def start(self) -> None:
        """Begins to check."""
        self._check.start(CHECK_EVERY, now=True)

    def stop(self) -> None:
        """Ends checking."""
        self._check.stop()

    def check(self) -> None:
        """Dials every relay that is not being dialed: one whose name nobody answers for holds up no other."""
        if len(self.configured) < 2:
            return
        for name in self.configured:
            if name not in self._dialing:
                self._dial(name)

    def _dial(self, name: str) -> None:
        self._dialing.add(name)
        host, port = split_host_port(name, DEFAULT_RELAY_PORT)
        factory = Factory.forProtocol(Protocol)
        factory.noisy = False
        dialed = HostnameEndpoint(self._reactor, host, port, timeout=CHECK_EVERY).connect(factory)
        dialed.addTimeout(_PATIENCE, self._reactor)
        dialed.addCallbacks(self._answered, self._silent, callbackArgs=(name,), errbackArgs=(name,))
        dialed.addBoth(lambda _: self._dialing.discard(name))

    def _answered(self, protocol: Protocol, name: str) -> None:
        if protocol.transport is not None:
            host = source_of(protocol.transport.getPeer()).host
            if self._hosts.get(name) != host:
                self._hosts[name] = host
                self._found_places[name] = self._geography.place_of(host)
            protocol.transport.loseConnection()
        if name in self.configured and name not in self._answering:
            self._answering.add(name)
            self._choose_healthy()
            self.log.info("relay {name} answers again", name=name)

    def _silent(self, reason: Failure, name: str) -> None:
        if name in self._answering:
            self._answering.discard(name)
            self._choose_healthy()
            self.log.warn("relay {name} does not answer: {reason}", name=name, reason=reason.getErrorMessage())
