"""What does what is spoken: the parts behind the messages, each given the others that it needs."""

from pathlib import Path
from typing import Any

from rendezvous.address_lists import AddressList
from rendezvous.hbbs.access import Access
from rendezvous.hbbs.client_settings import ClientSettings, SoftwareUpdates
from rendezvous.hbbs.console import HbbsCommands
from rendezvous.hbbs.dispatch import Dispatcher, tables
from rendezvous.hbbs.exchanges import ExchangeLimits, Exchanges
from rendezvous.hbbs.heartbeat import Heartbeats
from rendezvous.hbbs.history import AddressChanges, PunchRequests
from rendezvous.hbbs.http_proxy import HttpProxy
from rendezvous.hbbs.nat import NatTest
from rendezvous.hbbs.presence import Presence
from rendezvous.hbbs.punching import PeerKeys, Punching
from rendezvous.hbbs.registration import Registration
from rendezvous.hbbs.relaying import Relaying
from rendezvous.hbbs.relays import RelayServers
from rendezvous.hbbs.routes import RelayNames, Routes
from rendezvous.hbbs.tokens import JWTChecker
from rendezvous.identity import Identity
from rendezvous.metrics import Drops
from rendezvous.peers.directory import Directory
from rendezvous.peers.limits import RegistrationLimits
from rendezvous.peers.store import IPeerStore, Stored
from rendezvous.settings import Settings


class Spoken:
    """Does what clients and administrators say: `dispatcher` what messages do, and `console` what commands do."""

    def __init__(
        self,
        settings: Settings,
        identity: Identity,
        store: IPeerStore,
        stored: Stored,
        directory: Directory,
        relays: RelayServers,
        denied: AddressList,
        drops: Drops,
        reactor: Any,
    ) -> None:
        limits = _registration_limits(settings)
        changes, punch_requests = AddressChanges(settings.max_tracked), PunchRequests()
        tokens = JWTChecker.from_file(Path(settings.data, settings.token_secret)) if settings.must_login else None
        access = Access(denied, tokens, directory, settings.max_peers, known_only=settings.known_only)
        routes, peer_keys = _routes(settings, relays), PeerKeys(identity.signing_key)
        self.client_settings = _client_settings(settings, store, stored)
        self.exchanges = Exchanges(reactor, _exchange_limits(settings))
        self.registration = Registration(
            directory,
            limits,
            changes,
            self.client_settings,
            access,
            drops,
            settings.keep_alive,
            from_loopback=settings.trusts_loopback,
        )
        self.punching = Punching(directory, self.exchanges, routes, identity, peer_keys, punch_requests, access)
        self.relaying = Relaying(directory, self.exchanges, routes, peer_keys, access)
        self.dispatcher = Dispatcher(
            tables(
                self.registration,
                self.punching,
                self.relaying,
                NatTest(self.client_settings),
                Presence(directory),
                self.client_settings,
                SoftwareUpdates(settings.software_url, settings.max_tracked),
                _http_proxy(settings, reactor),
            ),
            drops,
        )
        self.heartbeats = Heartbeats(directory, self.client_settings, denied, reactor, settings.max_lookups)
        commands = HbbsCommands(relays, routes, limits, changes, punch_requests, reactor.seconds)
        self.console = commands.console()


def _registration_limits(settings: Settings) -> RegistrationLimits:
    return RegistrationLimits(
        settings.registrations_per_address,
        settings.ids_per_address,
        settings.registrations_per_id,
        settings.max_tracked,
    )


def _exchange_limits(settings: Settings) -> ExchangeLimits:
    return ExchangeLimits(
        settings.max_exchanges,
        settings.max_exchanges_per_address,
        settings.max_exchanges_per_target,
        settings.max_exchanges_per_pair,
        settings.exchange_timeout,
    )


def _routes(settings: Settings, relays: RelayServers) -> Routes:
    names = RelayNames(settings.relay_for, next(iter(settings.told_relays), ""))
    return Routes(relays, names, settings.mask, settings.local_ip, always_use_relay=settings.always_use_relay)


def _client_settings(settings: Settings, store: IPeerStore, stored: Stored) -> ClientSettings:
    """Those of the settings, unless clients have been told newer ones."""
    told = (settings.serial, settings.rendezvous_servers)
    if stored.serial > settings.serial:
        told = (stored.serial, stored.rendezvous_servers)
    return ClientSettings(*told, store, settings.max_tracked, from_loopback=settings.trusts_loopback)


def _http_proxy(settings: Settings, reactor: Any) -> HttpProxy:
    return HttpProxy(
        settings.api_server,
        reactor,
        settings.api_timeout,
        settings.max_api_message,
        settings.max_api_calls,
        settings.max_api_calls_per_address,
    )
