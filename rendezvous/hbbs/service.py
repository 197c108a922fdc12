"""The ID server as a service: its parts wired, its ports open."""

from pathlib import Path
from typing import Any

from nacl.signing import SigningKey
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred

from rendezvous.accepting import AcceptingFactory, AcceptPolicy
from rendezvous.address_lists import ListFile
from rendezvous.admission import Admission
from rendezvous.datagram_port import DatagramPort
from rendezvous.hbbs.connection import Conversations
from rendezvous.hbbs.geo import Geography
from rendezvous.hbbs.relays import RelayServers
from rendezvous.hbbs.request import Transport
from rendezvous.hbbs.short_requests import ShortRequestPort
from rendezvous.hbbs.tcp import TCPFactory
from rendezvous.hbbs.udp import DatagramSender, RendezvousDatagrams
from rendezvous.hbbs.websocket import websocket_factory
from rendezvous.hbbs.wiring import Spoken
from rendezvous.identity import Identity
from rendezvous.logs import logger
from rendezvous.metrics import Drops
from rendezvous.patience import Patience
from rendezvous.peers.directory import Directory
from rendezvous.peers.store import IPeerStore, Stored
from rendezvous.settings import Settings
from rendezvous.sockets import PortService, listen_tcp, listen_udp
from rendezvous.stream_port import StreamPort
from rendezvous.tls import Certificates
from rendezvous.websocket import WebSocketFactory

_LONGEST_WRITE = 30.0
"""Seconds that the store has for what it was asked for."""


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
        self.denylist = ListFile(Path(settings.data, "denylist.txt"), reactor, self.cut_denied, ids=True)
        denied = self.denylist.entries
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
        self.spoken = Spoken(settings, identity, store, stored, self.directory, self.relays, denied, drops, reactor)
        self.exchanges = self.spoken.exchanges
        self.admission = Admission(settings.max_connections, settings.max_connections_per_address)
        self.datagram_ports = self._listen_udp(settings, drops, reactor)
        self._conversations = Conversations(
            self.spoken.dispatcher,
            self.directory,
            drops,
            reactor,
            settings.keep_alive,
            settings.first_frame_timeout,
            settings.max_health_checks,
        )
        policy = AcceptPolicy.from_settings(settings, self.admission, denied, drops, reactor)
        self.accepting: dict[str, AcceptingFactory] = {}
        """What accepts connections, by the name of its port."""
        self._listen_tcp(settings, policy, identity.signing_key, reactor)
        self.websocket = self._listen_websocket(settings, policy, certificates, reactor)
        """Accepts WebSocket connections, for the web ports as well."""
        self.addService(self.denylist)

    def _listen_udp(self, settings: Settings, drops: Drops, reactor: Any) -> list[DatagramPort]:
        ports, protocols = [], {}
        spoken, denied = self.spoken, self.denylist.entries
        for sock in listen_udp(settings.bind, settings.port, "port", settings.rmem):
            protocol = RendezvousDatagrams(spoken.dispatcher, spoken.heartbeats, denied, drops, reactor)
            protocols[sock.family] = protocol
            ports.append(DatagramPort(reactor, sock, protocol, drops, Transport.UDP.value))
        self.directory.send_datagram = DatagramSender(protocols).send
        self.addService(PortService(ports))
        return ports

    def _listen_tcp(
        self, settings: Settings, policy: AcceptPolicy, signing_key: SigningKey | None, reactor: Any
    ) -> None:
        main = TCPFactory(
            policy,
            self._conversations,
            Transport.TCP,
            settings.max_frame,
            max_sealed_frame=settings.max_api_message if settings.api_server else 0,
            signing_key=signing_key,
        )
        second = TCPFactory(
            policy,
            self._conversations,
            Transport.NAT_PORT,
            settings.max_frame,
            console=self.spoken.console if settings.trusts_loopback else None,
        )
        for transport, port, factory in (
            (Transport.TCP, settings.port, main),
            (Transport.NAT_PORT, settings.nat_port, second),
        ):
            sockets = listen_tcp(settings.bind, port, "port")
            self.addService(PortService([ShortRequestPort(reactor, sock, factory) for sock in sockets]))
            self.accepting[transport.value] = factory

    def _listen_websocket(
        self, settings: Settings, policy: AcceptPolicy, certificates: Certificates | None, reactor: Any
    ) -> WebSocketFactory:
        factory = websocket_factory(policy, self._conversations, settings.max_frame, certificates)
        sockets = listen_tcp(settings.bind, settings.websocket_port, "port")
        self.addService(PortService([StreamPort(reactor, sock, factory) for sock in sockets]))
        self.accepting[Transport.WEBSOCKET.value] = factory
        return factory

    def cut_denied(self) -> None:
        """Takes denied ids, and peers at denied addresses, offline."""
        denied = self.denylist.entries
        for peer in self.directory:
            if peer.id in denied or (peer.address is not None and peer.address.host in denied):
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
