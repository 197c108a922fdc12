"""TLS for the web ports: certificates chosen by the name asked for, read again when their files change."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL
from twisted.application.service import Service
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime
from twisted.internet.ssl import AcceptableCiphers, CertificateOptions, TLSVersion
from twisted.internet.task import LoopingCall
from zope.interface import implementer

from rendezvous.config_values import ConfigError
from rendezvous.logs import logger

FIRST_BYTE = b"\x16"
"""With which every TLS connection begins, and no HTTP request."""
_HTTP = b"http/1.1"
_CIPHERS = AcceptableCiphers.fromOpenSSLCipherString("ECDHE+AESGCM:ECDHE+CHACHA20")
"""For TLS 1.2; all of TLS 1.3 are good."""


class Pair(NamedTuple):
    """The files of a certificate with its chain, and of its private key, both in PEM."""

    certificate: Path
    private_key: Path


_Shown = tuple[SSL.Context, list[str]]
"""A context that shows a certificate, and the names that it holds."""
_Stamp = tuple[int, ...]
"""Of a pair of files: another one when they may hold something else."""


class _Loaded(NamedTuple):
    """What the files held: a context for each name, and the one for clients that ask for another name or none."""

    default: SSL.Context
    by_name: dict[str, SSL.Context]


@implementer(IOpenSSLServerConnectionCreator)
class Certificates(Service):
    """The certificates to show: `pair` by default, and those in `folder` by the names that they hold.

    In `folder` are NAME.crt or NAME.pem beside NAME.key, or folders with fullchain.pem and privkey.pem as
    certbot keeps them; without a `pair` the first is the default. Files that change are read again within
    a few seconds; a certificate whose files are broken, or can't be reached, stays as it was. Raises ConfigError.
    """

    log = logger("tls")
    interval = 2.0
    """Seconds between two looks at the files."""

    def __init__(self, pair: Pair | None, folder: Path | None, clock: IReactorTime) -> None:
        self._pair = pair
        self._folder = folder
        pairs, closed = self._pairs()
        for path, why in closed.items():
            raise ConfigError(_closed(path, why))
        self._told: set[str] = set()
        self._stamps = {pair: _stamp(pair) for pair in pairs}
        self._contexts = {pair: self._shown(pair) for pair in pairs}
        self._loaded = self._load()
        self._watch = LoopingCall(self.look)
        self._watch.clock = clock

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        """See IOpenSSLServerConnectionCreator."""
        return SSL.Connection(self._loaded.default, None)

    def startService(self) -> None:
        """Begins to look at the files."""
        super().startService()
        pairs, closed = self._pairs()
        for pair in pairs:
            unreadable = dict(_unreadable(pair))
            if unreadable:
                self._stamps[pair] = _stamp(pair)  # as far as this user sees; the warning is given here
            self._warn(unreadable)
        self._warn(closed)
        self._told = {_closed(path, why) for path, why in closed.items()}
        self._watch.start(self.interval, now=False)

    def stopService(self) -> None:
        """Ends looking."""
        super().stopService()
        if self._watch.running:
            self._watch.stop()

    def look(self) -> None:
        """Reads the files again that have changed. What can't be read, or is broken, stays as it was."""
        pairs, closed = self._pairs()
        troubles = {_closed(path, why) for path, why in closed.items()}
        stamps = {pair: _stamp(pair) for pair in pairs}
        contexts = dict(self._read_again(stamps))
        if closed:
            for pair, shown in self._contexts.items():
                if pair not in stamps and not closed.keys().isdisjoint(pair.certificate.parents):
                    contexts[pair] = shown
                    stamps[pair] = self._stamps[pair]
            contexts = dict(sorted(contexts.items(), key=lambda item: (item[0] != self._pair, item[0])))
        before, self._contexts, self._stamps = self._contexts, contexts, stamps
        try:
            self._loaded = self._load()
        except ConfigError as error:
            self._contexts = before
            troubles.add(str(error))
        for sentence in troubles - self._told:
            self.log.error("the certificates stay as they were: {reason}", reason=sentence)
        self._told = troubles
        if any(before.get(pair) is not shown for pair, shown in self._contexts.items()):
            self.log.info("certificates were read again: {n} names", n=len(self._loaded.by_name))

    def _read_again(self, stamps: Mapping[Pair, _Stamp]) -> Iterator[tuple[Pair, _Shown]]:
        """What each pair of files holds by now, or held when it was sound last."""
        for pair, stamp in stamps.items():
            shown = self._contexts.get(pair)
            if stamp != self._stamps.get(pair):
                try:
                    shown = self._shown(pair)
                except ConfigError as error:
                    self.log.error("a certificate stays as it was: {reason}", reason=str(error))
            if shown is not None:
                yield pair, shown

    def _load(self) -> _Loaded:
        if not self._contexts:
            raise ConfigError(
                f"certificates: there is no certificate in {str(self._folder)!r}; it takes a folder with NAME.crt "
                "and NAME.key, or with folders that hold fullchain.pem and privkey.pem."
            )
        by_name: dict[str, SSL.Context] = {}
        for context, names in self._contexts.values():
            for name in names:
                by_name.setdefault(name, context)
        return _Loaded(next(iter(self._contexts.values()))[0], by_name)

    def _shown(self, pair: Pair) -> _Shown:
        """What `pair` holds, as a default as well. Raises ConfigError."""
        context, names = _context(pair)
        context.set_tlsext_servername_callback(self._choose)
        return context, names

    def _choose(self, connection: SSL.Connection) -> None:
        """Shows the certificate for the name that the client asks for, if there is one."""
        name = (connection.get_servername() or b"").decode("ascii", "replace").lower()
        by_name = self._loaded.by_name
        context = by_name.get(name) or by_name.get("*." + name.partition(".")[2])
        if context is not None:
            connection.set_context(context)

    def _pairs(self) -> tuple[list[Pair], dict[Path, str]]:
        """The pairs of files that there are, and each folder that can't be looked into, with why."""
        pairs = [self._pair] if self._pair is not None else []
        closed: dict[Path, str] = {}
        if self._folder is not None:
            pairs += _pairs_in(self._folder, closed)
        return pairs, closed

    def _warn(self, unreadable: Mapping[Path, str]) -> None:
        for path, why in unreadable.items():
            self.log.warn(
                "{file} is in use, but can't be read again when it changes: {reason}; let the server's user "
                "read it (docs/operations.md, TLS)",
                file=str(path),
                reason=why,
            )


def _pairs_in(folder: Path, closed: dict[Path, str]) -> Iterator[Pair]:
    """The files of certificates in `folder`. What can't be looked into is added to `closed`, with why."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        closed[folder] = error.strerror or ""
        return
    for name in names:
        entry = folder / name
        try:
            (entry / "fullchain.pem").stat()
            yield Pair(entry / "fullchain.pem", entry / "privkey.pem")
        except (FileNotFoundError, NotADirectoryError):
            if entry.suffix in (".crt", ".pem"):
                yield Pair(entry, entry.with_suffix(".key"))
        except OSError as error:
            closed[entry] = error.strerror or ""


def _closed(path: Path, why: str) -> str:
    return f"certificates: {str(path)!r} can't be read: {why}."


def _stamp(pair: Pair) -> _Stamp:
    """What differs when a file, or the right to read it, has changed."""
    stamp: list[int] = []
    for file in pair:
        try:
            stat = file.stat()
            stamp += (stat.st_ctime_ns, stat.st_ino)
        except OSError as error:
            stamp.append(error.errno or 0)
    return tuple(stamp)


def _unreadable(pair: Pair) -> Iterator[tuple[Path, str]]:
    """Each file of `pair` that can't be read by now, and why."""
    for file in pair:
        try:
            file.open("rb").close()
        except OSError as error:
            yield file, error.strerror or ""


def _context(pair: Pair) -> _Shown:
    """A context that shows the certificate of `pair`, and the names that it holds. Raises ConfigError."""
    try:
        return _context_of(pair)
    except ConfigError:
        raise
    except OSError as error:
        raise ConfigError(f"certificate: {str(error.filename)!r} can't be read: {error.strerror}.") from None
    except Exception as error:  # whatever the libraries raise for odd files, such as UnsupportedGeneralNameType
        raise ConfigError(f"certificate: {str(pair.certificate)!r} can't be used: {error}.") from None


def _context_of(pair: Pair) -> _Shown:
    try:
        chain = x509.load_pem_x509_certificates(pair.certificate.read_bytes())
        key = serialization.load_pem_private_key(pair.private_key.read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"certificate: {str(pair.certificate)!r} and {str(pair.private_key)!r} are no certificate and key "
            f"in PEM without a password: {error}."
        ) from None
    if _public(key) != _public(chain[0]):
        raise ConfigError(
            f"certificate: {str(pair.certificate)!r} is not the certificate of {str(pair.private_key)!r}; "
            "it takes the two files that were made together."
        )
    options = CertificateOptions(
        privateKey=key,  # type: ignore[arg-type]
        certificate=chain[0],  # type: ignore[arg-type]
        extraCertChain=chain[1:],  # type: ignore[arg-type]
        insecurelyLowerMinimumTo=TLSVersion.TLSv1_2,
        acceptableCiphers=_CIPHERS,
    )
    context = options.getContext()
    context.set_alpn_select_callback(_choose_protocol)
    return context, list(_names(chain[0]))


def _public(holder: Any) -> bytes:
    encoded: bytes = holder.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


def _names(certificate: x509.Certificate) -> Iterator[str]:
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    yield from (name.lower() for name in alternatives.get_values_for_type(x509.DNSName))


def _choose_protocol(connection: SSL.Connection, offered: Sequence[bytes]) -> Any:
    """HTTP/1.1, or nothing: some clients offer others and speak HTTP/1.1 all the same."""
    return _HTTP if _HTTP in offered else SSL.NO_OVERLAPPING_PROTOCOLS
