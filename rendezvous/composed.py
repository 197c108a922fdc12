"""The servers of one process as one service, which another process can take over."""

import socket
from collections.abc import Iterator
from pathlib import Path

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed

from rendezvous.hbbr.service import HbbrService
from rendezvous.hbbs.service import HbbsService
from rendezvous.patience import Patience
from rendezvous.peers.store import stored_in
from rendezvous.sockets import PortService
from rendezvous.web.service import WebService


class Composed(MultiService):
    """What `tap.compose` has put together, for the database at `database`."""

    def __init__(self, database: Path, patience: Patience) -> None:
        super().__init__()
        self._database = database
        self._patience = patience
        self.hbbs: HbbsService | None = None
        self.hbbr: HbbrService | None = None
        self.web: WebService | None = None
        self.control: Service | None = None
        """Has a name in the data folder that only one process can have."""

    def hasten(self) -> None:
        """A stop waits for nothing any more."""
        self._patience.lose()
        for server in (self.hbbs, self.hbbr, self.web):
            if server is not None:
                server.patience.lose()

    @property
    def sessions(self) -> int:
        """How many relay sessions there are."""
        return len(self.hbbr.relay.sessions) if self.hbbr is not None else 0

    @property
    def calls(self) -> int:
        """How many calls of the API the web ports forward."""
        return self.web.calls if self.web is not None else 0

    def listening(self) -> list[socket.socket]:
        """All listening sockets."""
        return [port.socket for service in _port_services(self) for port in service.ports]

    def settled(self, seconds: float) -> "Deferred[None]":
        """Fires when no client waits for another one, or after `seconds`."""
        return self._patience.until(lambda: not self._pending, seconds)

    @property
    def _pending(self) -> int:
        asked = len(self.hbbs.spoken.exchanges) if self.hbbs is not None else 0
        return asked + (self.hbbr.relay.waiting if self.hbbr is not None else 0)

    def freeze(self) -> "Deferred[None]":
        """Serves nobody but relay sessions and API calls: what comes waits in the sockets.

        Registrations are closed. Fires when everything acknowledged is on disk, and nothing more will be written.
        """
        for service in _port_services(self):
            service.pause()
        if self.control is not None:
            self.control.stopService()
        if self.hbbr is not None:
            self.hbbr.relay.close()
        return self.hbbs.freeze() if self.hbbs is not None else succeed(None)

    def thaw(self) -> None:
        """Goes on as before `freeze`."""
        for service in _port_services(self):
            service.resume()
        if self.control is not None:
            self.control.startService()
        if self.hbbr is not None:
            self.hbbr.relay.open()
        if self.hbbs is not None:
            self.hbbs.thaw()

    def refresh(self) -> None:
        """Knows what another process has written since this one was composed. Blocks. Raises StoreError."""
        if self.hbbs is not None:
            self.hbbs.refresh(stored_in(self._database))

    def retire(self, seconds: float) -> "Deferred[None]":
        """Ends everything but relay sessions and API calls; fires when they have ended, or after `seconds`."""
        for service in _port_services(self):
            service.stopService()
        stopped: Deferred[object] = succeed(None)
        if self.hbbs is not None:
            self.hbbs.patience.lose()
            stopped = maybeDeferred(self.removeService, self.hbbs)
            self.hbbs = None
        return stopped.addCallback(
            lambda _: self._patience.until(lambda: not self.sessions and not self.calls, seconds)
        )


def _port_services(services: MultiService) -> Iterator[PortService]:
    for service in services:
        if isinstance(service, PortService):
            yield service
        elif isinstance(service, MultiService):
            yield from _port_services(service)
