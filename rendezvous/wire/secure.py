"""Secured TCP: KeyExchange, then sealed frames (docs/protocol.md, "Secured TCP")."""

from collections.abc import Sequence

from nacl.exceptions import CryptoError
from nacl.public import Box, PrivateKey, PublicKey
from nacl.secret import SecretBox
from nacl.signing import SigningKey

from rendezvous.wire.rendezvous_pb2 import KeyExchange

_NO_NONCE = bytes(Box.NONCE_SIZE)


class KeyExchangeFailed(ValueError):
    """The client's KeyExchange does not fit the server's."""


class UnsealFailed(ValueError):
    """A frame that was not sealed with the session key and the expected nonce."""


class SecretStream:
    """Seals and opens the frames of one connection; each direction counts its own, from 1."""

    __slots__ = ("_box", "_opened", "_sealed")

    def __init__(self, session_key: bytes) -> None:
        self._box = SecretBox(session_key)
        self._sealed = 0
        self._opened = 0

    def seal(self, payload: bytes) -> bytes:
        """`payload` sealed as the next frame out; a heartbeat stays empty and does not count."""
        if not payload:
            return payload
        self._sealed += 1
        return bytes(self._box.encrypt(payload, _nonce(self._sealed)).ciphertext)

    def open(self, payload: bytes) -> bytes:
        """The next frame in, opened; 0 or 1 byte is taken as it is. Raises UnsealFailed."""
        if len(payload) <= 1:
            return payload
        self._opened += 1
        try:
            return self._box.decrypt(payload, _nonce(self._opened))
        except (CryptoError, ValueError) as error:
            raise UnsealFailed(str(error)) from None


class KeyExchangeOffer:
    """The server's side of one exchange, with a Curve25519 pair of its own.

    `message` is what the client gets; `private_key` is given by tests only.
    """

    __slots__ = ("_private_key", "message")

    def __init__(self, signing_key: SigningKey, private_key: PrivateKey | None = None) -> None:
        self._private_key = private_key or PrivateKey.generate()
        self.message = KeyExchange(keys=[bytes(signing_key.sign(bytes(self._private_key.public_key)))])

    def accept(self, keys: Sequence[bytes]) -> SecretStream:
        """The session that the client's `keys` (public key, boxed session key) begin.

        Raises KeyExchangeFailed.
        """
        if len(keys) != 2:
            raise KeyExchangeFailed(f"{len(keys)} keys instead of 2")
        try:
            session_key = Box(self._private_key, PublicKey(keys[0])).decrypt(keys[1], _NO_NONCE)
            return SecretStream(session_key)
        except (CryptoError, ValueError, TypeError) as error:
            raise KeyExchangeFailed(str(error)) from None


def _nonce(count: int) -> bytes:
    return count.to_bytes(8, "little") + bytes(16)
