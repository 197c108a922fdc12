"""What is spoken: for each transport, the function behind every RendezvousMessage variant.

docs/protocol.md tells of each variant who sends it and what it is answered with.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from rendezvous.admission import Refused
from rendezvous.hbbs.client_settings import ClientSettings, SoftwareUpdates
from rendezvous.hbbs.http_proxy import HttpProxy
from rendezvous.hbbs.nat import NatTest
from rendezvous.hbbs.presence import Presence
from rendezvous.hbbs.punching import Punching
from rendezvous.hbbs.registration import Registration
from rendezvous.hbbs.relaying import Relaying
from rendezvous.hbbs.request import NOTHING, Answer, Replies, Request, Transport
from rendezvous.hbbs.secured import hold_connection, secure_connection
from rendezvous.logs import logger
from rendezvous.metrics import Drops
from rendezvous.peers.batches import QueueFull, StoreFailed

IGNORED = frozenset(
    {
        "register_peer_response",
        "punch_hole",
        "punch_hole_response",
        "fetch_local_addr",
        "register_pk_response",
        "test_nat_response",
        "peer_discovery",
        "online_response",
        "http_proxy_response",
    }
)
"""What only servers send, or clients send to each other: dropped on every transport."""


class Entry(NamedTuple):
    """What is done with a message: the function, and whether its answer is the connection's last one."""

    function: Callable[[Request[Any]], Answer]
    closes: bool = False


Table = Mapping[str, Entry]


def tables(
    registration: Registration,
    punching: Punching,
    relaying: Relaying,
    nat_test: NatTest,
    presence: Presence,
    client_settings: ClientSettings,
    software_updates: SoftwareUpdates,
    http_proxy: HttpProxy,
) -> Mapping[Transport, Table]:
    """Variant -> function, for each transport."""
    udp = {
        "register_peer": Entry(registration.register_peer),
        "register_pk": Entry(registration.register_pk),
        "punch_hole_sent": Entry(punching.punch_hole_sent),
        "test_nat_request": Entry(nat_test.test_nat_request),
        "online_request": Entry(presence.online_request),
        "configure_update": Entry(client_settings.configure_update),
        "software_update": Entry(software_updates.software_update),
    }
    nat_port = {
        "test_nat_request": Entry(nat_test.test_nat_request, closes=True),
        "online_request": Entry(presence.online_request, closes=True),
    }
    websocket = nat_port | {
        "register_pk": Entry(registration.register_connection),
        "punch_hole_request": Entry(punching.punch_hole_request),
        "punch_hole_sent": Entry(punching.punch_hole_sent, closes=True),
        "local_addr": Entry(punching.local_addr, closes=True),
        "request_relay": Entry(relaying.request_relay),
        "relay_response": Entry(relaying.relay_response, closes=True),
        "hc": Entry(hold_connection),
        "http_proxy_request": Entry(http_proxy.http_proxy_request),
    }
    tcp = websocket | {"key_exchange": Entry(secure_connection)}
    return {
        Transport.UDP: udp,
        Transport.TCP: tcp,
        Transport.NAT_PORT: nat_port,
        Transport.WEBSOCKET: websocket,
    }


class Dispatcher:
    """Runs the function of each message. What it refuses is counted, never answered, never a traceback."""

    log = logger("hbbs")

    def __init__(self, tables: Mapping[Transport, Table], drops: Drops) -> None:
        self._tables = tables
        self._drops = drops

    def closes(self, kind: str, transport: Transport) -> bool:
        """Whether the answer to `kind` is the last one of a connection over `transport`."""
        entry = self._tables[transport].get(kind)
        return entry is not None and entry.closes

    def dispatch(self, kind: str, request: Request[Any]) -> Answer:
        """The replies, or a Deferred of them. Raises Refused, or fails with it, once it is counted."""
        entry = self._tables[request.transport].get(kind)
        try:
            if entry is None:
                raise Refused("not_spoken_here")
            answer = entry.function(request)
        except Exception:
            return self._failed(Failure(), request)
        return answer.addErrback(self._failed, request) if isinstance(answer, Deferred) else answer

    def _failed(self, reason: Failure, request: Request[Any]) -> Replies:
        error = reason.value
        if isinstance(error, CancelledError):
            return NOTHING
        if isinstance(error, QueueFull):
            error = Refused("store_busy")
        elif isinstance(error, StoreFailed):
            error = Refused("store_failed")
        elif not isinstance(error, Refused):
            self.log.failure("a message could not be handled", reason)
            error = Refused("internal_error")
        self._drops.count(request.transport.value, str(error))
        raise error
