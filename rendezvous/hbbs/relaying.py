"""Relay requests: A and B agree on a uuid and a relay to meet at (docs/protocol.md, "Connecting")."""

from twisted.internet.defer import Deferred

from rendezvous.admission import Refused
from rendezvous.hbbs.access import Access
from rendezvous.hbbs.exchanges import Exchanges
from rendezvous.hbbs.punching import NOT_LOGGED_IN, PeerKeys
from rendezvous.hbbs.request import NOTHING, Answer, Request
from rendezvous.hbbs.routes import Routes
from rendezvous.metrics import Outcomes
from rendezvous.peers.directory import Directory, Peer
from rendezvous.wire.rendezvous_pb2 import PunchHoleRequest, RelayResponse, RequestRelay

_LONGEST_REQUEST = 8192
"""Bytes of a RequestRelay that is passed on: what becomes a datagram must fit into one."""
_OFFLINE = "Remote desktop is offline"
"""A refuse_reason that clients know and translate."""


class Relaying:
    """RequestRelay and RelayResponse."""

    def __init__(
        self,
        directory: Directory,
        exchanges: Exchanges,
        routes: Routes,
        peer_keys: PeerKeys,
        access: Access,
    ) -> None:
        self._directory = directory
        self._exchanges = exchanges
        self._routes = routes
        self._peer_keys = peer_keys
        self._access = access
        self.outcomes = Outcomes(("relayed", "refused", "timed_out", "abandoned", "not_logged_in", "offline"))

    def request_relay(self, request: Request[RequestRelay]) -> Answer:
        """Passes A's request on to B; fires with B's RelayResponse. The relay asks for the key, not this."""
        if request.message.ByteSize() > _LONGEST_REQUEST:
            raise Refused("request_too_long")
        logged_in = self._access.is_logged_in(request.message.token)
        if isinstance(logged_in, Deferred):
            return logged_in.addCallback(self._look_up, request)
        return self._look_up(logged_in, request)

    def _look_up(self, logged_in: bool, request: Request[RequestRelay]) -> Answer:
        if not logged_in:
            self.outcomes.ended("not_logged_in")
            return (RelayResponse(uuid=request.message.uuid, refuse_reason=NOT_LOGGED_IN),)
        peer = self._directory.get(request.message.id)
        if peer is not None:
            return self._request(peer, request)
        return self._directory.find(request.message.id).addCallback(self._request, request)

    def _request(self, peer: Peer | None, request: Request[RequestRelay]) -> Answer:
        online = peer is not None and peer.address is not None and self._directory.is_online(peer)
        if peer is None or peer.address is None or not online or not self._access.may_be_reached(peer.id):
            self.outcomes.ended("offline")
            return (RelayResponse(uuid=request.message.uuid, refuse_reason=_OFFLINE),)
        if request.connection is None or request.connection.lost:
            raise Refused("connection_lost")
        repeated = self._exchanges.repeated(request)
        exchange = repeated or self._exchanges.begin(request, peer, self.outcomes)
        push = RequestRelay()
        push.CopyFrom(request.message)
        push.socket_addr = exchange.token
        push.relay_server = self._routes.relay_for(peer.address.host, push.relay_server)
        self._directory.push(peer, push)
        return NOTHING if repeated else exchange.result

    def relay_response(self, request: Request[RelayResponse]) -> Answer:
        """B has answered: A gets the same, with B's signed key in the place of its id."""
        message = request.message
        answered = self._exchanges.answered(message.socket_addr, message.id or None, request.source)
        asker = answered.exchange.asker
        response = RelayResponse()
        response.CopyFrom(message)
        for field in ("socket_addr", "id", "pk"):
            response.ClearField(field)
        if message.id or isinstance(asker.message, PunchHoleRequest):
            response.pk = self._peer_keys.signed(answered, message.version)
        response.relay_server = self._routes.relay_for_asker(asker.source.host, message.relay_server)
        self._exchanges.finish(answered, "refused" if message.refuse_reason else "relayed", (response,))
        return NOTHING
