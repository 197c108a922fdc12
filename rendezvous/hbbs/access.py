"""Who may register and who may reach others: known ids, a full store, a deny list, tokens."""

from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface import Interface

from rendezvous.address_lists import AddressList
from rendezvous.peers.directory import Directory


class ITokenChecker(Interface):
    """Tells whether a client is logged in."""

    def check(token: str) -> "Deferred[bool]":
        """Fires whether `token`, as a client sends it, is good now."""


class Access:
    """The rules beyond those of the protocol itself; without `tokens` nobody has to log in."""

    def __init__(
        self,
        denied: AddressList,
        tokens: ITokenChecker | None,
        directory: Directory,
        max_peers: int,
        *,
        known_only: bool,
    ) -> None:
        self.denied = denied
        self._tokens = tokens
        self._directory = directory
        self._max_peers = max_peers
        self._known_only = known_only

    def may_register(self, id: str, *, known: bool) -> bool:
        """Whether `id`, `known` or new, may register."""
        if id in self.denied:
            return False
        return known or (not self._known_only and self._directory.stored < self._max_peers)

    def may_be_reached(self, id: str) -> bool:
        """Whether others may reach `id`."""
        return id not in self.denied

    def is_logged_in(self, token: str) -> "bool | Deferred[bool]":
        """Whether a request with `token` may go on, or a Deferred of it."""
        return True if self._tokens is None else maybeDeferred(self._tokens.check, token)
