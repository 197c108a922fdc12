"""Who is logged in, and how often one may try."""

import hashlib
import hmac
import secrets
from collections import OrderedDict, deque
from importlib import import_module
from ipaddress import ip_address, ip_network
from typing import Any

from twisted.internet.defer import DeferredSemaphore

from rendezvous.admin.threads import in_thread
from rendezvous.config_values import LONGEST_PASSWORD
from rendezvous.peers.limits import Recent

MOST_LOGINS = 100
"""Logged in at a time; the oldest one ends when there is one more."""
LONGEST_LOGIN = 12 * 3600.0
"""Seconds after which one has to log in again."""
IDLE_LOGIN = 3600.0
"""The same when nothing was asked for that long."""
TRIES = 5
"""Wrong passwords from a network in `TRIES_WINDOW` seconds: an IPv4 address, or a /64 of IPv6."""
TRIES_WINDOW = 300.0
MOST_WAITING = 8
"""Passwords that are compared, or wait for it, at a time; each takes time and memory."""
TOO_MANY_REQUESTS = 429
"""RFC 6585, section 4: how TooOften is told."""
_NETWORKS = 10_000


class TooOften(Exception):
    """There were too many tries; one has to wait."""


class Logins:
    """The logins of browsers. With an empty `password_hash` nobody has to log in."""

    def __init__(self, password_hash: str, reactor: Any) -> None:
        if password_hash:
            import_module("argon2")  # now: after --uid the files of Python may be unreadable
        self._hash = password_hash
        self._reactor = reactor
        self._secret = secrets.token_bytes(32)
        self._logins: OrderedDict[bytes, tuple[float, float]] = OrderedDict()
        self._tries: Recent[str, deque[float]] = Recent(_NETWORKS, lambda: deque(maxlen=TRIES))
        self._one_at_a_time = DeferredSemaphore(1)
        self._waiting = 0

    @property
    def needed(self) -> bool:
        """Whether there is a password."""
        return bool(self._hash)

    def may(self, cookie: bytes) -> bool:
        """Whether a browser with this cookie may see and do everything."""
        if not self._hash:
            return True
        key, now = _key(cookie), self._reactor.seconds()
        since, used = self._logins.get(key, (0.0, float("-inf")))
        if now - used > IDLE_LOGIN or now - since > LONGEST_LOGIN:
            self._logins.pop(key, None)
            return False
        return True

    def used(self, cookie: bytes) -> None:
        """A browser that `may` has asked for something."""
        key = _key(cookie)
        if key in self._logins:
            self._logins[key] = (self._logins[key][0], self._reactor.seconds())

    async def log_in(self, password: bytes, host: str) -> bytes | None:
        """The cookie of a new login, None when the password is wrong. Raises TooOften."""
        if not await self.is_right(password, host):
            return None
        cookie = secrets.token_urlsafe(32).encode()
        now = self._reactor.seconds()
        self._logins[_key(cookie)] = (now, now)
        if len(self._logins) > MOST_LOGINS:
            self._logins.popitem(last=False)
        return cookie

    async def is_right(self, password: bytes, host: str) -> bool:
        """Whether this is the password. Raises TooOften.

        A try counts before it is compared, so that many at once are no way round.
        """
        now = self._reactor.seconds()
        tries = self._tries.use(_network(host))
        if (len(tries) == TRIES and now - tries[0] < TRIES_WINDOW) or self._waiting >= MOST_WAITING:
            raise TooOften
        tries.append(now)
        self._waiting += 1
        try:
            if not await self._one_at_a_time.run(in_thread, self._reactor, _is_right, self._hash, password):
                return False
        finally:
            self._waiting -= 1
        self._tries.pop(_network(host))
        return True

    def log_out(self, cookie: bytes) -> None:
        """Ends a login."""
        self._logins.pop(_key(cookie), None)

    def token(self, cookie: bytes) -> str:
        """What a change has to carry, so that no other site's page makes it."""
        return hmac.new(self._secret, cookie, hashlib.sha256).hexdigest()

    def is_token(self, token: bytes, cookie: bytes) -> bool:
        """Whether a change came from a page of this server, as the same browser got it."""
        return hmac.compare_digest(token, self.token(cookie).encode())


def _key(cookie: bytes) -> bytes:
    return hashlib.sha256(cookie).digest()


def _network(host: str) -> str:
    address = ip_address(host)
    return str(ip_network((host, 64), strict=False)) if address.version == 6 else host


def _is_right(password_hash: str, password: bytes) -> bool:
    from argon2 import PasswordHasher
    from argon2.exceptions import Argon2Error, InvalidHashError

    try:
        return PasswordHasher().verify(password_hash, password[:LONGEST_PASSWORD])
    except (Argon2Error, InvalidHashError):
        return False
