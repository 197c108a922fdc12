"""Hole punching: A asks for B, B is told of A, and B's answer goes to A (docs/protocol.md, "Connecting")."""

import hmac
import time

from nacl.signing import SigningKey
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from rendezvous.admission import Refused
from rendezvous.hbbs.access import Access
from rendezvous.hbbs.exchanges import Exchange, Exchanges
from rendezvous.hbbs.history import PunchRequests
from rendezvous.hbbs.request import NOTHING, Answer, Request, Transport
from rendezvous.hbbs.routes import Routes
from rendezvous.identity import Identity
from rendezvous.peers.directory import Directory, Peer
from rendezvous.wire.address import mangle
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

NOT_LOGGED_IN = "Please log in"
"""What an asker without a good token is told, where tokens are asked for."""


class PeerKeys:
    """Signs the keys of peers, so that the controlling client knows whom it talks to."""

    log = Logger(namespace="rendezvous.punching")

    def __init__(self, signing_key: SigningKey | None) -> None:
        self._signing_key = signing_key

    def signed(self, peer: Peer, version: str) -> bytes:
        """The signed IdPk of `peer`, whose client has said its `version`.

        Empty without a version or a secret key: the two clients then talk unencrypted.
        """
        if self._signing_key is None:
            return b""
        if not version:
            self.log.warn("{id} is reached unencrypted: its client told no version", id=peer.id)
            return b""
        return sign_id_pk(self._signing_key, peer.id, peer.pk)


class Punching:
    """PunchHoleRequest, and what the controlled client answers: PunchHoleSent or LocalAddr."""

    log = Logger(namespace="rendezvous.punching")

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

    def punch_hole_request(self, request: Request[PunchHoleRequest]) -> Answer:
        """Tells B of A; fires with the PunchHoleResponse, or the RelayResponse, that B's answer makes."""
        message = request.message
        if self._licence_key and not hmac.compare_digest(message.licence_key.encode(), self._licence_key):
            self.log.info("{address} asked for {id} with a wrong key", address=request.source, id=message.id)
            return (PunchHoleResponse(failure=PunchHoleResponse.LICENSE_MISMATCH),)
        logged_in = self._access.is_logged_in(message.token)
        if isinstance(logged_in, Deferred):
            return logged_in.addCallback(self._look_up, request)
        return self._look_up(logged_in, request)

    def _look_up(self, logged_in: bool, request: Request[PunchHoleRequest]) -> Answer:
        if not logged_in:
            return (PunchHoleResponse(other_failure=NOT_LOGGED_IN),)
        peer = self._directory.get(request.message.id)
        if peer is not None:
            return self._punch(peer, request)
        return self._directory.find(request.message.id).addCallback(self._punch, request)

    def _punch(self, peer: Peer | None, request: Request[PunchHoleRequest]) -> Answer:
        if peer is None or not self._access.may_be_reached(peer.id):
            return (PunchHoleResponse(failure=PunchHoleResponse.ID_NOT_EXIST),)
        if not self._directory.is_online(peer) or peer.address is None:
            return (PunchHoleResponse(failure=PunchHoleResponse.OFFLINE),)
        if request.connection is None or request.connection.lost:
            raise Refused("connection_lost")
        repeated = self._exchanges.repeated(request)
        exchange = repeated or self._exchanges.begin(request, peer)
        self._punch_requests.asked(request.source.host, peer.id, peer.address.host, time.time())
        self._tell_target(exchange, request)
        return NOTHING if repeated else exchange.result

    def _tell_target(self, exchange: Exchange, request: Request[PunchHoleRequest]) -> None:
        message, peer = request.message, exchange.target
        assert peer.address is not None
        over_websocket = request.transport is Transport.WEBSOCKET
        route = self._routes.choose(
            request.source.host,
            peer.address.host,
            over_websocket=over_websocket,
            second=bool(message.udp_port),
        )
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
        exchange = self._exchanges.answered(message.socket_addr, message.id, request.source)
        asked = exchange.asker.message
        if not isinstance(asked, PunchHoleRequest):
            raise Refused("not_asked_for")
        is_udp = request.transport is Transport.UDP
        if is_udp and not asked.udp_port:
            raise Refused("no_udp_asked_for")
        response = PunchHoleResponse(
            socket_addr=mangle(request.source, time.time_ns() // 1000),
            pk=self._peer_keys.signed(exchange.target, message.version),
            relay_server=self._routes.relay_for(exchange.asker.source.host, message.relay_server),
            nat_type=message.nat_type,
            is_udp=is_udp,
            upnp_port=message.upnp_port,
            socket_addr_v6=message.socket_addr_v6,
        )
        self._exchanges.finish(exchange, (response,))
        return NOTHING

    def local_addr(self, request: Request[LocalAddr]) -> Answer:
        """B is on the same network: A learns B's address there, and B's signed key."""
        message = request.message
        exchange = self._exchanges.answered(message.socket_addr, message.id, request.source, encoded_anew=True)
        if not isinstance(exchange.asker.message, PunchHoleRequest):
            raise Refused("not_asked_for")
        response = PunchHoleResponse(
            socket_addr=message.local_addr,
            is_local=True,
            pk=self._peer_keys.signed(exchange.target, message.version),
            relay_server=self._routes.relay_for(exchange.asker.source.host, message.relay_server),
            socket_addr_v6=message.socket_addr_v6,
        )
        self._exchanges.finish(exchange, (response,))
        return NOTHING
