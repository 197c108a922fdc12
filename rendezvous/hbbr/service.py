"""The relay as a service: its parts wired, its ports open."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred

from rendezvous.accepting import AcceptingFactory, AcceptPolicy
from rendezvous.address_lists import ListFile
from rendezvous.admission import Admission
from rendezvous.hbbr.bandwidth import BandwidthLimits
from rendezvous.hbbr.console import console
from rendezvous.hbbr.pairing import Pairing
from rendezvous.hbbr.relay import Relay, RelayTimes
from rendezvous.hbbr.splice import splicer
from rendezvous.hbbr.tcp import RelayFactory
from rendezvous.hbbr.unfinished import Unfinished
from rendezvous.hbbr.usage import IUsageRecorder, UsageLog, UsageTable
from rendezvous.hbbr.websocket import relay_websocket_factory
from rendezvous.logs import logger
from rendezvous.metrics import Drops
from rendezvous.patience import Patience
from rendezvous.settings import Settings
from rendezvous.sockets import PortService, listen_tcp
from rendezvous.stream_port import StreamPort
from rendezvous.tls import Certificates


class HbbrService(MultiService):
    """Listens on TCP Q and Q+2; asks clients for `licence_key` unless it is empty.

    The sockets are bound at once, so that a port in use is told before anything starts: raises ConfigError.
    `reactor` provides what Twisted's own reactors do. `recorders` are told of ended sessions, beside the log and
    the table of `usage_db`.
    """

    log = logger("hbbr")

    def __init__(
        self,
        settings: Settings,
        licence_key: str,
        drops: Drops,
        reactor: Any,
        certificates: Certificates | None = None,
        recorders: Sequence[IUsageRecorder] = (),
    ) -> None:
        super().__init__()
        self.patience = Patience(reactor)
        """How long a stop waits for sessions."""
        self._stop_timeout = settings.stop_timeout
        self._ports: list[PortService] = []
        folder = Path(settings.data)
        told: list[IUsageRecorder] = [UsageLog(), *recorders]
        if settings.usage_db:
            table = UsageTable(folder / settings.usage_db, settings.usage_days, reactor)
            self.addService(table)
            told.append(table)
        self.blocklist = ListFile(folder / "blocklist.txt", reactor, lambda: self.relay.cut_blocked())
        self.blacklist = ListFile(folder / "blacklist.txt", reactor, lambda: self.relay.look_up_listed())
        self.relay = Relay(
            licence_key,
            _bandwidths(settings),
            Pairing(settings.max_waiting, settings.max_waiting_per_address),
            _unfinished(settings),
            RelayTimes(settings.first_frame_timeout, settings.pairing_timeout, settings.idle_timeout),
            self.blocklist.entries,
            self.blacklist.entries,
            drops,
            reactor,
            splicer(reactor),
            told,
        )
        self.admission = Admission(settings.max_relay_connections, settings.max_relay_connections_per_address)
        policy = AcceptPolicy.from_settings(settings, self.admission, self.blocklist.entries, drops, reactor)
        self.websocket = relay_websocket_factory(policy, self.relay, settings.max_relay_message, certificates)
        """Accepts WebSocket connections, for the web ports as well."""
        self.accepting = self._listen(settings, policy, reactor)
        """What accepts connections, by the name of its port."""
        self.addService(self.blocklist)
        self.addService(self.blacklist)

    def _listen(self, settings: Settings, policy: AcceptPolicy, reactor: Any) -> dict[str, AcceptingFactory]:
        text = console(self.relay) if settings.trusts_loopback else None
        streams = RelayFactory(policy, self.relay, settings.max_relay_message, text)
        what = "port" if settings.server == "hbbr" else "relay-port"
        for port, factory in ((settings.relay_port, streams), (settings.relay_websocket_port, self.websocket)):
            sockets = listen_tcp(settings.bind, port, what)
            self._ports.append(PortService([StreamPort(reactor, sock, factory) for sock in sockets]))
            self.addService(self._ports[-1])
        return {"relay": streams, "relay_websocket": self.websocket}

    def stopService(self) -> "Deferred[None]":
        """Stops accepting; fires when the sessions have ended, or were ended after the stop timeout."""
        self.relay.close()
        for port in self._ports:
            self.removeService(port)
        if self.relay.sessions and self._stop_timeout:
            self.log.info(
                "{count} relay sessions may go on for {seconds} s",
                count=len(self.relay.sessions),
                seconds=self._stop_timeout,
            )
        ended = self.patience.until(lambda: not self.relay.sessions, self._stop_timeout)
        return ended.addCallback(lambda _: self._stop())

    def _stop(self) -> "Deferred[None]":
        self.relay.end_all()  # before the usage table stops, which is to have these sessions too
        return maybeDeferred(super().stopService)


def _unfinished(settings: Settings) -> Unfinished:
    """The limits, which let at least the longest message come."""
    return Unfinished(
        max(settings.max_unfinished, settings.max_relay_message),
        max(settings.max_unfinished_per_address, settings.max_relay_message),
    )


def _bandwidths(settings: Settings) -> BandwidthLimits:
    return BandwidthLimits(
        settings.single_bandwidth,
        settings.total_bandwidth,
        settings.limit_speed,
        settings.downgrade_threshold,
        settings.downgrade_start_check,
    )
