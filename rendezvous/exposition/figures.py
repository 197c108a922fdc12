"""Every figure that Prometheus gets. All of them are kept as they change: nothing here walks the peers."""

import platform
from collections.abc import Iterator, Mapping
from typing import Protocol as Interface

from prometheus_client.metrics_core import InfoMetricFamily, Metric
from prometheus_client.registry import Collector

import twisted
from rendezvous import __version__
from rendezvous.accepting import AcceptingFactory
from rendezvous.admission import Admission
from rendezvous.exposition.families import by, counter, gauge, histogram
from rendezvous.hbbr.bandwidth import MEGABIT
from rendezvous.hbbr.relay import Relay
from rendezvous.hbbs.service import HbbsService
from rendezvous.metrics import Drops, LoopLag, Outcomes


class Accepting(Interface):
    """A server, as far as its connections are concerned."""

    admission: Admission
    accepting: dict[str, AcceptingFactory]


class Figures(Collector):
    """Reads the ID server `hbbs` and the `relay`, as far as there are these, and what all `servers` share."""

    def __init__(
        self,
        hbbs: HbbsService | None,
        relay: Relay | None,
        servers: Mapping[str, Accepting],
        drops: Drops,
        lag: LoopLag,
    ) -> None:
        self._hbbs = hbbs
        self._relay = relay
        self._servers = servers
        self._drops = drops
        self._lag = lag

    def collect(self) -> Iterator[Metric]:
        """See Collector."""
        yield from self._shared()
        if self._hbbs is not None:
            yield from _peers(self._hbbs)
            yield from _requests(self._hbbs)
            yield from _store(self._hbbs)
        if self._relay is not None:
            yield from _relayed(self._relay)

    def _shared(self) -> Iterator[Metric]:
        versions = {"version": __version__, "twisted": twisted.__version__, "python": platform.python_version()}
        yield InfoMetricFamily("rendezvous_build", "What is running.", value=versions)
        yield histogram(
            "rendezvous_event_loop_lag_seconds", "How late the reactor runs what is due.", self._lag.seconds
        )
        yield counter(
            "rendezvous_drops_total", "Input dropped or refused.", ("place", "reason"), self._drops.counts
        )
        admissions = {name: server.admission for name, server in self._servers.items()}
        yield gauge(
            "rendezvous_connections",
            "Open connections.",
            ("server",),
            by({name: admission.connections for name, admission in admissions.items()}),
        )
        yield gauge(
            "rendezvous_connections_limit",
            "Connections that there may be.",
            ("server",),
            by({name: admission.max_connections for name, admission in admissions.items()}),
        )
        ports = [port for server in self._servers.values() for port in server.accepting.items()]
        yield counter(
            "rendezvous_connections_opened_total",
            "Connections admitted.",
            ("port",),
            by({name: factory.opened for name, factory in ports}),
        )


def _peers(hbbs: HbbsService) -> Iterator[Metric]:
    directory = hbbs.directory
    online = {"udp": directory.online_by_datagrams, "tcp": 0, "websocket": 0, **directory.online_by_connection}
    yield gauge("rendezvous_peers", "Peers stored.", (), directory.stored)
    yield gauge("rendezvous_peers_limit", "Peers that may be stored.", (), hbbs.max_peers)
    yield gauge("rendezvous_peers_in_memory", "Peers in memory.", (), len(directory))
    yield gauge("rendezvous_peers_online", "Peers online.", ("transport",), by(online))
    yield counter(
        "rendezvous_registrations_total",
        "RegisterPk answered.",
        ("transport", "result"),
        hbbs.spoken.registration.results,
    )
    received = sum(port.received for port in hbbs.datagram_ports)
    yield counter("rendezvous_datagrams_received_total", "UDP datagrams received.", (), {(): received})


def _requests(hbbs: HbbsService) -> Iterator[Metric]:
    spoken = hbbs.spoken
    yield from _outcomes("punch", "Requests to reach a peer", spoken.punching.outcomes)
    yield from _outcomes("relay_request", "Requests to meet a peer at a relay", spoken.relaying.outcomes)
    yield gauge(
        "rendezvous_pending_exchanges", "Requests that wait for the other peer's answer.", (), len(spoken.exchanges)
    )
    relays = hbbs.relays
    yield gauge(
        "rendezvous_relay_server_up",
        "Whether a relay that clients are told of takes connections.",
        ("relay",),
        by({name: relays.answers(name) for name in relays.configured}),
    )


def _outcomes(name: str, text: str, outcomes: Outcomes) -> Iterator[Metric]:
    plural = f"{name}es" if name.endswith("ch") else f"{name}s"
    yield counter(f"rendezvous_{plural}_total", f"{text}, by outcome.", ("outcome",), by(outcomes.counts))
    yield histogram(f"rendezvous_{name}_answer_seconds", f"{text}: time to the answer.", outcomes.seconds)


def _store(hbbs: HbbsService) -> Iterator[Metric]:
    directory = hbbs.directory
    waiting = {"read": len(directory.lookups) + len(hbbs.spoken.heartbeats), "write": len(directory.commits)}
    failures = {
        "read": directory.lookups.trouble.total,
        "write": directory.commits.trouble.total,
        "rename": directory.renaming.total,
    }
    yield gauge("rendezvous_store_waiting", "Records that wait for the database.", ("operation",), by(waiting))
    yield counter("rendezvous_store_failures_total", "Database calls that failed.", ("operation",), by(failures))
    yield histogram("rendezvous_store_commit_seconds", "Time that commits took.", directory.commits.seconds)
    yield histogram("rendezvous_store_commit_rows", "Records in a commit.", directory.commits.rows)


def _relayed(relay: Relay) -> Iterator[Metric]:
    yield gauge("rendezvous_relay_sessions", "Relayed sessions running.", (), len(relay.sessions))
    yield counter(
        "rendezvous_relay_sessions_ended_total", "Relayed sessions that ended.", ("reason",), by(relay.ended)
    )
    yield counter(
        "rendezvous_relay_bytes_total",
        "Bytes relayed, by their sender's transport.",
        ("transport",),
        by(relay.relayed()),
    )
    yield gauge(
        "rendezvous_relay_limit_bytes_per_second",
        "Most that all sessions together may relay.",
        (),
        relay.limits.total * MEGABIT,
    )
    yield gauge("rendezvous_relay_waiting", "Sides that wait for their other side.", (), relay.waiting)
