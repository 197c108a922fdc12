"""What is said at start: what is served, and what a person types into a client."""

import platform
from collections.abc import Iterator

from twisted.application.service import Service

import twisted
from rendezvous import __version__
from rendezvous.client_config import client_config
from rendezvous.identity import Identity
from rendezvous.logs import logger
from rendezvous.own_address import own_address
from rendezvous.peers.store import Stored
from rendezvous.settings import NO_EFFECT, Settings
from rendezvous.wire.address import Address


class StartReport(Service):
    """Logs the statement when everything else has started; its last line ends in "ready"."""

    log = logger()

    def __init__(self, settings: Settings, identity: Identity, stored: Stored | None) -> None:
        self._settings = settings
        self._identity = identity
        self._stored = stored

    def startService(self) -> None:
        """Logs the statement."""
        super().startService()
        for warning in self.warnings():
            self.log.warn("{warning}", warning=warning)
        for line in self.lines():
            self.log.info("{line}", line=line)
        self.log.info("ready")

    def warnings(self) -> Iterator[str]:
        """What the administrator may not have meant."""
        settings, identity = self._settings, self._identity
        yield from settings.warnings
        for name in NO_EFFECT:
            if name in settings.sources:
                yield f"{name.upper()} is accepted for the Rust server's sake and has no effect."
        if settings.has_hbbs and identity.signing_key is None:
            yield "The key is a plain text, so nothing is signed and sessions are not encrypted; see --key."
        if settings.has_hbbr and not identity.licence_key:
            yield "Anybody who finds this relay may use it; --key - asks clients for the key."

        if settings.server == "both" and settings.relay_port != settings.port + 1 and not settings.told_relays:
            yield (
                f"Clients look for the relay on port {settings.port + 1}, but it is on {settings.relay_port}; "
                "--host or --relay-servers tells them."
            )
        if self._stored is not None and self._stored.serial > settings.serial > 0:
            yield (
                f"serial: {settings.serial} is lower than {self._stored.serial}, which clients were told at "
                "run time and are told still; it takes a higher one."
            )
        if settings.relay_places and not settings.geoip:
            yield "relay-places has no effect without geoip, which tells where clients are."

    def _web(self, where: str) -> Iterator[str]:
        settings = self._settings
        paths = " and ".join(["/ws/id"] * settings.has_hbbs + ["/ws/relay"] * settings.has_hbbr)
        for scheme, port in (("https", settings.https), ("http", settings.http)):
            if port:
                yield f"{where}: {scheme} {port} with {paths}"

    def lines(self) -> Iterator[str]:
        """What is served."""
        settings, identity = self._settings, self._identity
        where = settings.bind or "all addresses"
        yield f"rendezvous {__version__}, Twisted {twisted.__version__}, Python {platform.python_version()}"
        if settings.has_hbbs:
            yield (
                f"ID server on {where}: UDP and TCP {settings.port}, TCP {settings.nat_port}, "
                f"WebSocket {settings.websocket_port}; limits: {settings.max_connections} connections, "
                f"{settings.max_exchanges} pending requests"
            )
            relays = ", ".join(settings.told_relays) or f"this host, port {settings.port + 1}"
            yield f"Relays told to clients: {relays}"
            yield f"Database {settings.database}: {self._stored.peers if self._stored else 0} peers"
        if settings.has_hbbr:
            yield (
                f"Relay on {where}: TCP {settings.relay_port}, WebSocket {settings.relay_websocket_port}; "
                f"limits: {settings.max_relay_connections} connections, {settings.single_bandwidth:g} Mbit/s each, "
                f"{settings.total_bandwidth:g} Mbit/s in all"
            )
        if settings.has_web:
            yield "Web on " + ", ".join(self._web(where))
        if settings.metrics == "https":
            yield f"Metrics on https, port {settings.https}, at /metrics"
        elif settings.metrics is not None:
            yield f"Metrics on http://{Address(*settings.metrics)}/metrics"
        if settings.status == "https":
            yield f"Status page on https, port {settings.https}"
        elif settings.status is not None:
            yield f"Status page on http://{Address(*settings.status)}/"
        key = f"key fingerprint {identity.fingerprint}" if identity.public_key else "no key"
        yield f"Data folder {settings.data}, {key}"
        if settings.has_hbbs:
            config = client_config(settings, identity, settings.host or own_address())
            yield "Type or paste into a client (Settings, Network):"
            yield f"    ID server      {config.host}"
            if config.relay:
                yield f"    Relay server   {config.relay}"
            yield f"    Key            {config.key}"
            yield f"    Import string  {config.import_string()}"
