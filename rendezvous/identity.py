"""The server's Ed25519 key pair and the key that clients must send (docs/protocol.md, "Keys")."""

import base64
import binascii
import contextlib
import hashlib
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from nacl.signing import SigningKey

from rendezvous.config_values import ConfigError

SECRET_FILE = "id_ed25519"
PUBLIC_FILE = "id_ed25519.pub"
_AWAIT_KEY_FILE = 0.3
"""Seconds that a relay waits for the key file of an ID server that has just started."""


@dataclass(frozen=True)
class Identity:
    """What a server signs with, and what it asks clients for."""

    signing_key: SigningKey | None
    licence_key: str
    """What clients must send; empty: anything is accepted."""

    @property
    def public_key(self) -> str:
        """What a person types into a client as the key: base64 of the public key, or `licence_key`."""
        return self.licence_key if self.signing_key is None else encode_public(self.signing_key)

    @property
    def fingerprint(self) -> str:
        """A short, comparable form of `public_key`: the beginning of its SHA-256, in hex."""
        digest = hashlib.sha256(self.public_key.encode()).hexdigest()[:16]
        return ":".join(digest[i : i + 4] for i in range(0, 16, 4))


def load_identity(key: str, folder: Path, *, signs: bool) -> Identity:
    """The identity that the setting ``key`` means, with the key files in `folder`.

    A server that `signs` needs a pair also when it asks clients for no key. A relay does not sign, and
    gives an ID server that is just starting a moment to make the files. Raises ConfigError.
    """
    if key in ("-", "_"):
        pair = load_or_generate(folder, wait=not signs)
        return Identity(pair, encode_public(pair))
    if not key:
        return Identity(load_or_generate(folder) if signs else None, "")
    secret = _decode(key, 64)
    if secret is not None:
        pair = _pair_from(secret, "key: the secret key given")
        return Identity(pair, encode_public(pair))
    return Identity(None, key)


def load_or_generate(folder: Path, *, wait: bool = False) -> SigningKey:
    """The pair in `folder`; one is made when neither file exists. Raises ConfigError."""
    secret = folder / SECRET_FILE
    if wait and not os.path.exists(secret):
        time.sleep(_AWAIT_KEY_FILE)
    return load(folder) if os.path.exists(secret) else generate(folder)


def load(folder: Path) -> SigningKey:
    """The pair in `folder`; a missing public file is written again. Raises ConfigError."""
    path, public_path = folder / SECRET_FILE, folder / PUBLIC_FILE
    try:
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"key: {str(path)!r} can't be read ({_reason(error)}); it takes a readable key file."
        ) from None
    secret = _decode(text, 64)
    if secret is None:
        raise ConfigError(
            f"key: {str(path)!r} holds no key pair; it takes the base64 of 64 bytes. "
            "Restore it from a backup; without it clients need a new key."
        )
    pair = _pair_from(secret, f"key: {str(path)!r}")
    _write_new(public_path, encode_public(pair), 0o644)
    try:
        public = public_path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"key: {str(public_path)!r} can't be read ({_reason(error)}).") from None
    if public != encode_public(pair):
        raise ConfigError(
            f"key: {str(public_path)!r} does not belong to {str(path)!r}; "
            "restore the pair from a backup, or delete the public file to have it written again."
        )
    return pair


def generate(folder: Path) -> SigningKey:
    """A new pair, written to `folder` (the secret with mode 0600). Raises ConfigError.

    Replaces nothing: when another process is faster, the pair is that one's.
    """
    path, public_path = folder / SECRET_FILE, folder / PUBLIC_FILE
    if os.path.exists(public_path) and not os.path.exists(path):
        raise ConfigError(
            f"key: {str(public_path)!r} is there, but its secret {str(path)!r} is not; "
            "restore the secret from a backup, or delete the public file to get a new pair."
        )
    pair = SigningKey.generate()
    while not file_name_safe(encode_public(pair)):
        pair = SigningKey.generate()
    secret = bytes(pair) + bytes(pair.verify_key)
    _write_new(path, base64.b64encode(secret).decode(), 0o600)
    return load(folder)


def replace_pair(folder: Path, stamp: str) -> SigningKey:
    """A new pair in the place of the one in `folder`, whose files are kept as ``NAME.before-STAMP``.

    Whenever the process ends there is one of the pairs. Raises ConfigError.
    """
    secret, public = folder / SECRET_FILE, folder / PUBLIC_FILE
    try:
        owner = secret.stat()
        with tempfile.TemporaryDirectory(dir=folder, prefix=f".{SECRET_FILE}.") as name:
            pair = generate(Path(name))
            for new in (Path(name, SECRET_FILE), Path(name, PUBLIC_FILE)):
                os.chown(new, owner.st_uid, owner.st_gid)  # the server's user, also where root does this
            for old in (secret, public):
                if old.exists():
                    os.link(old, f"{old}.before-{stamp}")
            public.unlink(missing_ok=True)  # first: a secret alone is whole
            os.replace(Path(name, SECRET_FILE), secret)
            os.replace(Path(name, PUBLIC_FILE), public)
    except OSError as error:
        raise ConfigError(f"key: the files in {str(folder)!r} can't be replaced ({_reason(error)}).") from None
    return pair


def encode_public(pair: SigningKey) -> str:
    """Base64 of the pair's public key, as clients take it."""
    return base64.b64encode(bytes(pair.verify_key)).decode()


def file_name_safe(public: str) -> bool:
    """Whether a public key can stand in an installer's file name."""
    return "/" not in public and ":" not in public


def _pair_from(secret: bytes, what: str) -> SigningKey:
    pair = SigningKey(secret[:32])
    if bytes(pair.verify_key) != secret[32:]:
        raise ConfigError(f"{what} is damaged: its two halves do not belong together; restore it from a backup.")
    return pair


def _decode(text: str, length: int) -> bytes | None:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == length else None


def _write_new(path: Path, text: str, mode: int) -> None:
    """Writes a whole file where there is none; leaves one that is there alone."""
    if os.path.exists(path):
        return
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w") as file:
                os.fchmod(file.fileno(), mode)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
        finally:
            os.unlink(temporary)
    except OSError as error:
        raise ConfigError(
            f"key: {str(path)!r} can't be written ({_reason(error)}); it takes a writable folder."
        ) from None


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "not text"
