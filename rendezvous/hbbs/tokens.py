"""Tokens of an API server: JWT, signed with HS256."""

from pathlib import Path

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from rendezvous.config_values import ConfigError
from rendezvous.hbbs.access import ITokenChecker

_SHORTEST_SECRET = 32
"""Bytes; RFC 7518 asks for a key as long as the hash."""


@implementer(ITokenChecker)
class JWTChecker:
    """Good is a JSON Web Token with an HS256 signature by `secret`, and not expired."""

    def __init__(self, secret: bytes) -> None:
        try:
            import jwt
        except ImportError:
            raise ConfigError("must-login: 'yes' takes the extra: pip install 'rendezvous[login]'.") from None
        self._jwt = jwt
        self._secret = secret

    @classmethod
    def from_file(cls, path: Path) -> "JWTChecker":
        """With the secret that `path` holds, white space around it cut off. Raises ConfigError."""
        try:
            secret = path.read_bytes().strip()
        except OSError as error:
            raise ConfigError(f"token-secret: {str(path)!r} can't be read: {error.strerror}.") from None
        if len(secret) < _SHORTEST_SECRET:
            raise ConfigError(
                f"token-secret: {str(path)!r} holds {len(secret)} bytes; it takes {_SHORTEST_SECRET} or more."
            )
        return cls(secret)

    def check(self, token: str) -> "Deferred[bool]":
        """See ITokenChecker."""
        try:
            self._jwt.decode(token, self._secret, algorithms=["HS256"], options={"verify_aud": False})
        except (self._jwt.InvalidTokenError, ValueError, TypeError, OverflowError, RecursionError):
            # the latter four from older versions of the library, for claims and headers of odd types or depth
            return succeed(False)
        return succeed(True)
