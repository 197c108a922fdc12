"""Hole punching: A asks for B, B is told of A, and B's answer goes to A (docs/protocol.md, "Connecting")."""

import hmac
import time
from functools import lru_cache, partial

from nacl.signing import SigningKey
from twisted.internet.defer import Deferred

from rendezvous.admission import LOGGED, Pace, Refused
from rendezvous.hbbs.access import Access
from rendezvous.hbbs.exchanges import Answered, Exchange, Exchanges
from rendezvous.hbbs.history import PunchRequests
from rendezvous.hbbs.request import NOTHING, Answer, Replies, Request, Transport
from rendezvous.hbbs.routes import Routes
from rendezvous.identity import Identity
from rendezvous.logs import logger
from rendezvous.metrics import Outcomes
from rendezvous.peers.directory import Directory, Peer
from rendezvous.wire.address import is_ipv6, mangle
from rendezvous.wire.rendezvous_pb2 import (
    SYMMETRIC,
    FetchLocalAddr,
    LocalAddr,
    PunchHole,
    PunchHoleRequest,
    PunchHoleResponse,
    PunchHoleSent,
)
from rendezvous.wire.signing import sign_id_pk

_LONGEST_ADDRESS = 18
"""Bytes of a mangled address."""
_MOST_OF_AN_ID = 100
"""Characters of what a stranger calls an id that the log gets."""
NOT_LOGGED_IN = "Please log in"
"""What an asker without a good token is told, where tokens are asked for."""


_SIGNED = 4096
"""Signed keys remembered: each connection attempt is answered with the same one several times."""


class PeerKeys:
    """Signs the keys of peers, so that the controlling client knows whom it talks to."""

    log = logger("hbbs.punching")

    def __init__(self, signing_key: SigningKey | None) -> None:
        self._sign = lru_cache(_SIGNED)(partial(sign_id_pk, signing_key)) if signing_key is not None else None
        self._pace_of_log = Pace(*LOGGED)

    def signed(self, answered: Answered, version: str) -> bytes:
        """The signed IdPk of the target, whose client has said its `version` in the answer.

        Empty without a version or a secret key: the two clients then talk unencrypted. An answer that may be
        a stranger's can't bring them to that: it is Refused.
        """
        peer = answered.exchange.target
        if self._sign is not None and version:
            return self._sign(peer.id, peer.pk)
        if not answered.confirmed:
            raise Refused("answer_from_elsewhere")
        if self._sign is not None and self._pace_of_log.allows(answered.exchange.asker.arrival):
            self.log.warn("{id} is reached unencrypted: its client told no version", id=peer.id)
        return b""


class Punching:
    """PunchHoleRequest, and what the controlled client answers: PunchHoleSent or LocalAddr."""

    log = logger("hbbs.punching")

    def __init__(
        self,
        directory: Directory,
        exchanges: Exchanges,
        routes: Routes,
        identity: Identity,
        peer_keys: PeerKeys,
        punch_requests: PunchRequests,
        access: Access,
    ) -> None:
        self._directory = directory
        self._exchanges = exchanges
        self._routes = routes
        self._licence_key = identity.licence_key.encode()
        self._peer_keys = peer_keys
        self._punch_requests = punch_requests
        self._access = access
        self._pace_of_log = Pace(*LOGGED)
        self.outcomes = Outcomes(
            (
                *("punched", "punched_udp", "local", "relayed", "refused", "timed_out", "abandoned"),
                *("wrong_key", "not_logged_in", "unknown", "offline"),
            )
        )

    def punch_hole_request(self, request: Request[PunchHoleRequest]) -> Answer:
        """Tells B of A; fires with the PunchHoleResponse, or the RelayResponse, that B's answer makes."""
        message = request.message
        if len(message.socket_addr_v6) > _LONGEST_ADDRESS:
            raise Refused("malformed_address")
        if self._licence_key and not hmac.compare_digest(message.licence_key.encode(), self._licence_key):
            self.outcomes.ended("wrong_key")
            if self._pace_of_log.allows(request.arrival):
                id = message.id[:_MOST_OF_AN_ID]
                self.log.info("{address} asked for {id!r} with a wrong key", address=request.source, id=id)
            return (PunchHoleResponse(failure=PunchHoleResponse.LICENSE_MISMATCH),)
        logged_in = self._access.is_logged_in(message.token)
        if isinstance(logged_in, Deferred):
            return logged_in.addCallback(self._look_up, request)
        return self._look_up(logged_in, request)

    def _look_up(self, logged_in: bool, request: Request[PunchHoleRequest]) -> Answer:
        if not logged_in:
            return self._answer("not_logged_in", request, PunchHoleResponse(other_failure=NOT_LOGGED_IN))
        peer = self._directory.get(request.message.id)
        if peer is not None:
            return self._punch(peer, request)
        return self._directory.find(request.message.id).addCallback(self._punch, request)

    def _punch(self, peer: Peer | None, request: Request[PunchHoleRequest]) -> Answer:
        if peer is None or not self._access.may_be_reached(peer.id):
            return self._answer("unknown", request, PunchHoleResponse(failure=PunchHoleResponse.ID_NOT_EXIST))
        if not self._directory.is_online(peer) or peer.address is None:
            return self._answer("offline", request, PunchHoleResponse(failure=PunchHoleResponse.OFFLINE))
        if request.connection is None or request.connection.lost:
            raise Refused("connection_lost")
        repeated = self._exchanges.repeated(request)
        exchange = repeated or self._exchanges.begin(request, peer, self.outcomes)
        asker, target = request.source.host, peer.address.host
        self._punch_requests.asked(asker, peer.id, target, request.arrival, time.time())
        self._tell_target(exchange, request)
        return NOTHING if repeated else exchange.result

    def _answer(self, outcome: str, request: Request[PunchHoleRequest], response: PunchHoleResponse) -> Replies:
        """What is answered without asking B."""
        self.outcomes.ended(outcome)
        id = request.message.id[:_MOST_OF_AN_ID]
        self._exchanges.note(request, id, outcome)
        self.log.debug("{address} asked for {id!r}: {outcome}", address=request.source, id=id, outcome=outcome)
        return (response,)

    def _tell_target(self, exchange: Exchange, request: Request[PunchHoleRequest]) -> None:
        message, peer = request.message, exchange.target
        assert peer.address is not None
        over_websocket = request.transport is Transport.WEBSOCKET
        route = self._routes.choose(
            request.source.host,
            peer.address.host,
            over_websocket=over_websocket,
            over_udp=bool(message.udp_port),
        )
        exchange.local = route.local
        if route.local:
            push: FetchLocalAddr | PunchHole = FetchLocalAddr(
                socket_addr=exchange.token,
                relay_server=route.relay_server,
                socket_addr_v6=message.socket_addr_v6,
            )
        else:
            push = PunchHole(
                socket_addr=exchange.token,
                relay_server=route.relay_server,
                nat_type=SYMMETRIC if route.must_relay else message.nat_type,
                udp_port=message.udp_port,
                force_relay=message.force_relay,
                upnp_port=message.upnp_port,
                socket_addr_v6=message.socket_addr_v6,
            )
        self._directory.push(peer, push)

    def punch_hole_sent(self, request: Request[PunchHoleSent]) -> Answer:
        """B has punched: A learns where B is, as this server sees it, and B's signed key.

        Over UDP only for an exchange whose asker offered a UDP port, and once: B's repeats find none.
        """
        message = request.message
        answered = self._exchanges.answered(message.socket_addr, message.id, request.source)
        asker = answered.exchange.asker
        asked = asker.message
        if not isinstance(asked, PunchHoleRequest):
            raise Refused("not_asked_for")
        is_udp = request.transport is Transport.UDP
        if is_udp and not asked.udp_port:
            raise Refused("no_udp_asked_for")
        proven = not (is_udp and is_ipv6(asker.source.host))  # a forged source, and no nonce that it lacks
        response = PunchHoleResponse(
            socket_addr=mangle(request.source, time.time_ns() // 1000),
            pk=self._peer_keys.signed(answered if proven else answered._replace(confirmed=False), message.version),
            relay_server=self._routes.relay_for(asker.source.host, message.relay_server),
            nat_type=message.nat_type,
            is_udp=is_udp,
            upnp_port=message.upnp_port,
            socket_addr_v6=message.socket_addr_v6,
        )
        self._exchanges.finish(answered, "punched_udp" if is_udp else "punched", (response,))
        return NOTHING

    def local_addr(self, request: Request[LocalAddr]) -> Answer:
        """B is on the same network: A learns B's address there, and B's signed key."""
        message = request.message
        answered = self._exchanges.answered(message.socket_addr, message.id, request.source, encoded_anew=True)
        asker = answered.exchange.asker
        if not answered.exchange.local:
            raise Refused("not_asked_for")
        response = PunchHoleResponse(
            socket_addr=message.local_addr,
            is_local=True,
            pk=self._peer_keys.signed(answered, message.version),
            relay_server=self._routes.relay_for(asker.source.host, message.relay_server),
            socket_addr_v6=message.socket_addr_v6,
        )
        self._exchanges.finish(answered, "local", (response,))
        return NOTHING
