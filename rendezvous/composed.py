"""The servers of one process as one service."""

from twisted.application.service import MultiService

from rendezvous.hbbr.service import HbbrService
from rendezvous.hbbs.service import HbbsService


class Composed(MultiService):
    """What `tap.compose` has put together."""

    hbbs: HbbsService | None = None
    hbbr: HbbrService | None = None

    def hasten(self) -> None:
        """A stop waits for nothing any more."""
        for server in (self.hbbs, self.hbbr):
            if server is not None:
                server.patience.lose()
