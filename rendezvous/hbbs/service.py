"""The ID server as a service: its parts wired, its ports open."""

from pathlib import Path
from typing import Any, NamedTuple

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred

from rendezvous.accepting import AcceptingFactory, AcceptPolicy, Proxies
from rendezvous.address_lists import AddressList, ListFile
from rendezvous.admission import Admission
from rendezvous.datagram_port import DatagramPort
from rendezvous.hbbs.access import Access, ITokenChecker
from rendezvous.hbbs.client_settings import ClientSettings, SoftwareUpdates
from rendezvous.hbbs.connection import Conversations
from rendezvous.hbbs.console import HbbsCommands
from rendezvous.hbbs.dispatch import Dispatcher, tables
from rendezvous.hbbs.exchanges import ExchangeLimits, Exchanges
from rendezvous.hbbs.geo import Geography
from rendezvous.hbbs.heartbeat import Heartbeats
from rendezvous.hbbs.history import AddressChanges, PunchRequests
from rendezvous.hbbs.http_proxy import HttpProxy
from rendezvous.hbbs.nat import NatTest
from rendezvous.hbbs.presence import Presence
from rendezvous.hbbs.punching import PeerKeys, Punching
from rendezvous.hbbs.registration import Registration
from rendezvous.hbbs.relaying import Relaying
from rendezvous.hbbs.relays import RelayServers
from rendezvous.hbbs.request import Transport
from rendezvous.hbbs.routes import RelayNames, Routes
from rendezvous.hbbs.short_requests import ShortRequestPort
from rendezvous.hbbs.tcp import TCPFactory
from rendezvous.hbbs.tokens import JWTChecker
from rendezvous.hbbs.udp import DatagramSender, RendezvousDatagrams
from rendezvous.hbbs.websocket import websocket_factory
from rendezvous.identity import Identity
from rendezvous.logs import logger
from rendezvous.metrics import Drops
from rendezvous.patience import Patience
from rendezvous.peers.directory import Directory
from rendezvous.peers.limits import RegistrationLimits
from rendezvous.peers.store import IPeerStore, Stored
from rendezvous.settings import Settings
from rendezvous.sockets import PortService, listen_tcp, listen_udp
from rendezvous.stream_port import StreamPort
from rendezvous.text_console import Console
from rendezvous.tls import Certificates

_LONGEST_WRITE = 30.0
"""Seconds that the store has for what it was asked for."""


class Spoken(NamedTuple):
    """What is done with what clients and administrators say."""

    registration: Registration
    punching: Punching
    relaying: Relaying
    exchanges: Exchanges
    heartbeats: Heartbeats
    client_settings: ClientSettings
    dispatcher: Dispatcher
    console: Console


class HbbsService(MultiService):
    """Listens on UDP P and TCP P-1, P and P+2.

    The sockets are bound at once, so that a port in use is told before anything starts: raises ConfigError.
    `reactor` provides what Twisted's own reactors do.
    """

    log = logger("hbbs")

    def __init__(
        self,
        settings: Settings,
        identity: Identity,
        store: IPeerStore,
        stored: Stored,
        drops: Drops,
        reactor: Any,
        certificates: Certificates | None = None,
    ) -> None:
        super().__init__()
        self.patience = Patience(reactor)
        """How long a stop waits for pending requests."""
        self._stop_timeout = settings.stop_timeout
        denied = ListFile(Path(settings.data, "denylist.txt"), reactor, lambda: self.cut_denied(), ids=True)
        self.denylist = denied
        self._denied = denied.entries
        self.directory = Directory(
            store,
            reactor,
            stored=stored.peers,
            ids=stored.ids,
            max_lookups=settings.max_lookups,
            max_writes=settings.max_writes,
        )
        geography = Geography(Path(settings.data, settings.geoip) if settings.geoip else None)
        self.relays = RelayServers(settings.told_relays, geography, dict(settings.relay_places), reactor)
        self.max_peers = settings.max_peers
        self.spoken = spoken = self._spoken(settings, identity, store, stored, denied.entries, drops, reactor)
        self._conversations = shared = Conversations(
            spoken.dispatcher,
            self.directory,
            drops,
            reactor,
            settings.keep_alive,
            settings.first_frame_timeout,
            settings.max_health_checks,
        )
        self.admission = Admission(settings.max_connections, settings.max_connections_per_address)
        policy = AcceptPolicy(
            self.admission,
            denied.entries,
            Proxies(settings.trusted_proxies, settings.proxy_protocol),
            drops,
            reactor,
            settings.first_frame_timeout,
            settings.websocket_origins,
        )
        self.datagram_ports = self._listen_udp(settings, spoken, denied.entries, drops, reactor)
        main = TCPFactory(
            policy,
            shared,
            Transport.TCP,
            settings.max_frame,
            max_sealed_frame=settings.max_api_message if settings.api_server else 0,
            signing_key=identity.signing_key,
        )
        second = TCPFactory(
            policy,
            shared,
            Transport.NAT_PORT,
            settings.max_frame,
            console=spoken.console if settings.trusts_loopback else None,
        )
        for port, factory in ((settings.port, main), (settings.nat_port, second)):
            sockets = listen_tcp(settings.bind, port, "port")
            self.addService(PortService([ShortRequestPort(reactor, sock, factory) for sock in sockets]))
        self.websocket = websocket_factory(policy, shared, settings.max_frame, certificates)
        """Accepts WebSocket connections, for the web ports as well."""
        self.accepting: dict[str, AcceptingFactory] = {
            transport.value: factory
            for transport, factory in (
                (Transport.TCP, main),
                (Transport.NAT_PORT, second),
                (Transport.WEBSOCKET, self.websocket),
            )
        }
        """What accepts connections, by the name of its port."""
        sockets = listen_tcp(settings.bind, settings.websocket_port, "port")
        self.addService(PortService([StreamPort(reactor, sock, self.websocket) for sock in sockets]))
        self.addService(denied)

    def _spoken(
        self,
        settings: Settings,
        identity: Identity,
        store: IPeerStore,
        stored: Stored,
        denied: AddressList,
        drops: Drops,
        reactor: Any,
    ) -> Spoken:
        names = RelayNames(settings.relay_for, next(iter(settings.told_relays), ""))
        routes = Routes(
            self.relays, names, settings.mask, settings.local_ip, always_use_relay=settings.always_use_relay
        )
        exchange_limits = ExchangeLimits(
            settings.max_exchanges,
            settings.max_exchanges_per_address,
            settings.max_exchanges_per_target,
            settings.max_exchanges_per_pair,
            settings.exchange_timeout,
        )
        self.exchanges = exchanges = Exchanges(reactor, exchange_limits)
        limits = RegistrationLimits(
            settings.registrations_per_address,
            settings.ids_per_address,
            settings.registrations_per_id,
            settings.max_tracked,
        )
        changes, punch_requests = AddressChanges(settings.max_tracked), PunchRequests()
        told = (settings.serial, settings.rendezvous_servers)
        if stored.serial > settings.serial:
            told = (stored.serial, stored.rendezvous_servers)
        client_settings = ClientSettings(*told, store, settings.max_tracked, from_loopback=settings.trusts_loopback)
        tokens: ITokenChecker | None = None
        if settings.must_login:
            tokens = JWTChecker.from_file(Path(settings.data, settings.token_secret))
        access = Access(denied, tokens, self.directory, settings.max_peers, known_only=settings.known_only)
        peer_keys = PeerKeys(identity.signing_key)
        registration = Registration(
            self.directory,
            limits,
            changes,
            client_settings,
            access,
            drops,
            settings.keep_alive,
            from_loopback=settings.trusts_loopback,
        )
        punching = Punching(self.directory, exchanges, routes, identity, peer_keys, punch_requests, access)
        relaying = Relaying(self.directory, exchanges, routes, peer_keys, access)
        dispatcher = Dispatcher(
            tables(
                registration,
                punching,
                relaying,
                NatTest(client_settings),
                Presence(self.directory),
                client_settings,
                SoftwareUpdates(settings.software_url, settings.max_tracked),
                HttpProxy(
                    settings.api_server,
                    reactor,
                    settings.api_timeout,
                    settings.max_api_message,
                    settings.max_api_calls,
                    settings.max_api_calls_per_address,
                ),
            ),
            drops,
        )
        commands = HbbsCommands(self.relays, routes, limits, changes, punch_requests, reactor.seconds)
        heartbeats = Heartbeats(self.directory, client_settings, denied, reactor, settings.max_lookups)
        return Spoken(
            registration,
            punching,
            relaying,
            exchanges,
            heartbeats,
            client_settings,
            dispatcher,
            commands.console(),
        )

    def _listen_udp(
        self, settings: Settings, spoken: Spoken, denied: AddressList, drops: Drops, reactor: Any
    ) -> list[DatagramPort]:
        ports, protocols = [], {}
        for sock in listen_udp(settings.bind, settings.port, "port", settings.rmem):
            protocol = RendezvousDatagrams(spoken.dispatcher, spoken.heartbeats, denied, drops, reactor)
            protocols[sock.family] = protocol
            ports.append(DatagramPort(reactor, sock, protocol, drops, Transport.UDP.value))
        self.directory.send_datagram = DatagramSender(protocols).send
        self.addService(PortService(ports))
        return ports

    def cut_denied(self) -> None:
        """Takes denied ids, and peers at denied addresses, offline."""
        for peer in self.directory:
            if peer.id in self._denied or (peer.address is not None and peer.address.host in self._denied):
                self.directory.take_offline(peer)

    def startService(self) -> None:
        """Begins to serve."""
        self.directory.start()
        self.relays.start()
        super().startService()

    def freeze(self) -> "Deferred[None]":
        """Ends all conversations, and with them registrations; fires when nothing will be written any more.

        Nobody may listen meanwhile.
        """
        self._conversations.close()
        asked = self.patience.until(lambda: not self.directory.waiting, _LONGEST_WRITE)
        # The store does one thing after another, so that what was asked for before is done.
        return asked.addCallback(lambda _: self.directory.restore(())).addErrback(lambda _: None)

    def thaw(self) -> None:
        """There may be conversations again."""
        self._conversations.open()

    def refresh(self, stored: Stored) -> None:
        """Knows what is stored by now."""
        self.directory.restock(stored.peers, stored.ids)
        self.spoken.client_settings.restore(stored.serial, stored.rendezvous_servers)

    def stopService(self) -> "Deferred[None]":
        """Fires when no request is pending, or after the stop timeout, and everything is on disk and closed.

        Requests come no more. Connections do until then: they bring the answers to those that are pending.
        """
        exchanges = self.spoken.exchanges
        exchanges.close()
        if len(exchanges) and self._stop_timeout:
            self.log.info(
                "{count} requests may be answered for {seconds} s", count=len(exchanges), seconds=self._stop_timeout
            )
        drained = self.patience.until(lambda: not len(exchanges), self._stop_timeout)
        return drained.addCallback(lambda _: self._stop())

    def _stop(self) -> "Deferred[None]":
        self.relays.stop()
        stopped = maybeDeferred(super().stopService)
        return stopped.addCallback(lambda _: self.directory.stop())
