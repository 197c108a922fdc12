"""The ID server as a service: its parts wired, its ports open."""

from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred

from rendezvous.admission import Admission
from rendezvous.config import Settings
from rendezvous.hbbs.client_settings import ClientSettings, SoftwareUpdates
from rendezvous.hbbs.connection import Conversations
from rendezvous.hbbs.console import HbbsCommands
from rendezvous.hbbs.dispatch import Dispatcher, tables
from rendezvous.hbbs.exchanges import ExchangeLimits, Exchanges
from rendezvous.hbbs.history import AddressChanges, PunchRequests
from rendezvous.hbbs.nat import NatTest
from rendezvous.hbbs.presence import Presence
from rendezvous.hbbs.punching import PeerKeys, Punching
from rendezvous.hbbs.registration import Registration
from rendezvous.hbbs.relaying import Relaying
from rendezvous.hbbs.relays import RelayServers
from rendezvous.hbbs.request import Transport
from rendezvous.hbbs.routes import Routes
from rendezvous.hbbs.tcp import TCPFactory
from rendezvous.hbbs.udp import DatagramSender, RendezvousDatagrams
from rendezvous.hbbs.websocket import WebSocketFactory
from rendezvous.identity import Identity
from rendezvous.metrics import Drops
from rendezvous.peers.directory import Directory
from rendezvous.peers.limits import RegistrationLimits
from rendezvous.peers.store import IPeerStore
from rendezvous.sockets import TCPListener, UDPListener, listen_tcp, listen_udp


class HbbsService(MultiService):
    """Listens on UDP P and TCP P-1, P and P+2.

    The sockets are bound at once, so that a port in use is told before anything starts: raises ConfigError.
    `reactor` provides what Twisted's own reactors do.
    """

    def __init__(
        self, settings: Settings, identity: Identity, store: IPeerStore, drops: Drops, reactor: Any
    ) -> None:
        super().__init__()
        self.directory = Directory(store, reactor, max_lookups=settings.max_lookups, max_writes=settings.max_writes)
        self.relays = RelayServers(settings.relay_servers, reactor)
        routes = Routes(self.relays, settings.mask, settings.local_ip, always_use_relay=settings.always_use_relay)
        exchange_limits = ExchangeLimits(
            settings.max_exchanges,
            settings.max_exchanges_per_address,
            settings.max_exchanges_per_target,
            settings.exchange_timeout,
        )
        exchanges = Exchanges(reactor, exchange_limits)
        limits = RegistrationLimits(
            settings.registrations_per_address,
            settings.ids_per_address,
            settings.registrations_per_id,
            settings.max_tracked,
        )
        changes, punch_requests = AddressChanges(settings.max_tracked), PunchRequests()
        client_settings = ClientSettings(
            settings.serial, settings.rendezvous_servers, from_loopback=settings.consoles
        )
        peer_keys = PeerKeys(identity.signing_key)
        dispatcher = Dispatcher(
            tables(
                Registration(self.directory, limits, changes, client_settings, settings.keep_alive),
                Punching(self.directory, exchanges, routes, identity, peer_keys, punch_requests),
                Relaying(self.directory, exchanges, routes, peer_keys),
                NatTest(client_settings),
                Presence(self.directory),
                client_settings,
                SoftwareUpdates(settings.software_url, settings.max_tracked),
            ),
            drops,
        )
        shared = Conversations(
            dispatcher, self.directory, drops, reactor, settings.keep_alive, settings.first_frame_timeout
        )
        admission = Admission(settings.max_connections, settings.max_connections_per_address)
        commands = HbbsCommands(self.relays, routes, limits, changes, punch_requests, reactor.seconds)
        console = commands.console() if settings.consoles else None

        self._listen_udp(settings, dispatcher, drops, reactor)
        for port, factory in (
            (
                settings.port,
                TCPFactory(shared, admission, Transport.TCP, settings.max_frame, signing_key=identity.signing_key),
            ),
            (
                settings.nat_port,
                TCPFactory(shared, admission, Transport.NAT_PORT, settings.max_frame, console=console),
            ),
            (settings.websocket_port, WebSocketFactory(shared, admission, settings.max_frame)),
        ):
            sockets = listen_tcp(settings.bind, port, "port")
            self.addService(TCPListener(reactor, sockets, factory))

    def _listen_udp(self, settings: Settings, dispatcher: Dispatcher, drops: Drops, reactor: Any) -> None:
        sockets = listen_udp(settings.bind, settings.port, "port", settings.rmem)
        protocols = {sock.family: RendezvousDatagrams(dispatcher, drops, reactor) for sock in sockets}
        self.directory.send_datagram = DatagramSender(protocols).send
        self.addService(UDPListener(reactor, sockets, list(protocols.values())))

    def startService(self) -> None:
        """Begins to serve."""
        self.directory.start()
        self.relays.start()
        super().startService()

    def stopService(self) -> "Deferred[None]":
        """Stops accepting; fires when everything acknowledged is on disk, which it is anyway, and closed."""
        self.relays.stop()
        stopped = maybeDeferred(super().stopService)
        return stopped.addCallback(lambda _: self.directory.stop())
