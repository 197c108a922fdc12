"""Registration: a client tells that it is there, and proves once who it is (docs/protocol.md, "Registration").

Over UDP a client sends RegisterPeer every 15 s. It is asked for its key when it is unknown or its IP
address has changed; only RegisterPk, which carries the uuid, changes where a peer is found then. Over TCP
and WebSocket a RegisterPk registers the connection itself, and presence is its life.
"""

import re

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from rendezvous.admission import Refused
from rendezvous.hbbs.access import Access
from rendezvous.hbbs.client_settings import ClientSettings
from rendezvous.hbbs.history import AddressChanges
from rendezvous.hbbs.request import Answer, Replies, Request
from rendezvous.metrics import Drops
from rendezvous.peers.batches import QueueFull, StoreFailed
from rendezvous.peers.directory import Directory, Peer
from rendezvous.peers.limits import RegistrationLimits
from rendezvous.wire.address import is_loopback
from rendezvous.wire.rendezvous_pb2 import RegisterPeer, RegisterPeerResponse, RegisterPk, RegisterPkResponse

_SHORTEST_ID = 6
_LONGEST_ID = 100
_LONGEST_BYTES = 256
"""Bytes of a uuid or a public key."""
_NEW_ID = re.compile(r"[A-Za-z][\w-]{5,15}")


class Registration:
    """RegisterPeer and RegisterPk."""

    log = Logger(namespace="rendezvous.registration")

    def __init__(
        self,
        directory: Directory,
        limits: RegistrationLimits,
        changes: AddressChanges,
        client_settings: ClientSettings,
        access: Access,
        drops: Drops,
        keep_alive: int,
    ) -> None:
        self._directory = directory
        self._limits = limits
        self._changes = changes
        self._client_settings = client_settings
        self._access = access
        self._drops = drops
        self._keep_alive = keep_alive

    # RegisterPeer --------------------------------------------------------------------------------

    def register_peer(self, request: Request[RegisterPeer]) -> Answer:
        """Presence over UDP: `request_pk` tells whether the client must send RegisterPk first."""
        id = request.message.id
        if not id or len(id) > _LONGEST_ID:
            raise Refused("bad_id")
        if id in self._access.denied:
            raise Refused("denied")
        peer = self._directory.get(id)
        if peer is not None:
            return self._present(peer, request)
        return self._directory.find(id).addCallback(self._present, request)

    def _present(self, peer: Peer | None, request: Request[RegisterPeer]) -> Replies:
        if peer is None or self._must_prove_itself(peer, request.source.host):
            return (RegisterPeerResponse(request_pk=True),)
        self._directory.seen(peer, request.source)
        return (RegisterPeerResponse(), *self._client_settings.newer_than(request.message.serial))

    def _must_prove_itself(self, peer: Peer, host: str) -> bool:
        if not peer.pk or peer.connection is not None:
            return True
        return peer.host != host and not is_loopback(host)

    # RegisterPk ----------------------------------------------------------------------------------

    def register_pk(self, request: Request[RegisterPk]) -> Answer:
        """Proof of identity over UDP; the rules are checked in the order of docs/protocol.md."""
        registered = maybeDeferred(self._register, request)
        return registered.addCallback(self._registered_by_datagram, request).addErrback(self._denied)

    def register_connection(self, request: Request[RegisterPk]) -> Answer:
        """The same over TCP or WebSocket, where it registers the connection; with old_id, an id change."""
        if request.message.old_id:
            return maybeDeferred(self._change_id, request).addErrback(self._denied)
        registered = maybeDeferred(self._register, request)
        return registered.addCallback(self._registered_by_connection, request).addErrback(self._denied)

    def _register(self, request: Request[RegisterPk]) -> "Deferred[Peer]":
        """Fires with the stored peer. Fails with Denied, or with Refused where there is no answer."""
        message = request.message
        if not message.uuid or not message.pk:
            raise Refused("no_uuid_or_pk")
        if max(len(message.uuid), len(message.pk)) > _LONGEST_BYTES or not _sane(message.id):
            raise Refused("bad_registration")
        if len(message.id) < _SHORTEST_ID:
            raise Denied(RegisterPkResponse.UUID_MISMATCH)
        self._check_address(request)
        return self._directory.find(message.id).addCallback(self._store, request)

    def _check_address(self, request: Request[RegisterPk]) -> None:
        if not self._limits.address_may(request.source.host, request.message.id, request.arrival):
            raise Denied(RegisterPkResponse.TOO_FREQUENT)

    def _store(self, peer: Peer | None, request: Request[RegisterPk]) -> "Peer | Deferred[Peer]":
        message, host = request.message, request.source.host
        self._check_address(request)  # again: others may have been accepted during the lookup
        if peer is not None and (peer.uuid != message.uuid or (peer.host != host and peer.pk != message.pk)):
            raise Denied(RegisterPkResponse.UUID_MISMATCH)
        if not self._access.may_register(message.id, known=peer is not None):
            raise Denied(RegisterPkResponse.NOT_DEPLOYED)
        if not self._limits.id_may(message.id, request.arrival):
            raise Denied(RegisterPkResponse.TOO_FREQUENT)
        self._limits.accepted(host, message.id, request.arrival)
        if peer is not None and peer.pk == message.pk and peer.host == host:
            return peer
        if peer is not None and peer.host and peer.host != host:
            self._changes.changed(message.id, peer.host, host, request.arrival)
        saved = self._directory.save(message.id, message.uuid, message.pk, host)
        return saved.addCallback(self._check_owner, message.uuid)

    def _check_owner(self, peer: Peer, uuid: bytes) -> Peer:
        if peer.uuid != uuid:  # two machines asked for the same new id, and this one came second
            raise Denied(RegisterPkResponse.UUID_MISMATCH)
        return peer

    def _registered_by_datagram(self, peer: Peer, request: Request[RegisterPk]) -> Replies:
        self._directory.seen(peer, request.source)
        return (RegisterPkResponse(result=RegisterPkResponse.OK),)

    def _registered_by_connection(self, peer: Peer, request: Request[RegisterPk]) -> Replies:
        if request.connection is None or request.connection.lost:
            raise Refused("connection_lost")
        request.connection.register(peer)
        return (RegisterPkResponse(result=RegisterPkResponse.OK, keep_alive=self._keep_alive),)

    def _denied(self, reason: Failure) -> Replies:
        """The result that a failure stands for."""
        reason.trap(Denied, QueueFull, StoreFailed)
        if isinstance(reason.value, Denied):
            result = reason.value.result
        elif reason.check(QueueFull):
            result = RegisterPkResponse.TOO_FREQUENT
        else:
            result = RegisterPkResponse.SERVER_ERROR
        self._drops.count("registration", RegisterPkResponse.Result.Name(result).lower())
        return (RegisterPkResponse(result=result),)

    # Id change -----------------------------------------------------------------------------------

    def _change_id(self, request: Request[RegisterPk]) -> "Deferred[Replies]":
        message = request.message
        if not message.uuid or len(message.uuid) > _LONGEST_BYTES:
            raise Refused("no_uuid_or_pk")
        if not _NEW_ID.fullmatch(message.id):
            raise Denied(RegisterPkResponse.INVALID_ID_FORMAT)
        if not all(self._access.may_register(id, known=True) for id in (message.id, message.old_id)):
            raise Denied(RegisterPkResponse.NOT_DEPLOYED)
        self._check_address(request)
        return self._directory.find(message.id).addCallback(self._new_id_found, request)

    def _new_id_found(self, taken: Peer | None, request: Request[RegisterPk]) -> "Deferred[Replies]":
        if taken is not None and taken.uuid != request.message.uuid:
            raise Denied(RegisterPkResponse.ID_EXISTS)
        found = self._directory.find(request.message.old_id)
        return found.addCallback(self._old_id_found, request)

    def _old_id_found(self, peer: Peer | None, request: Request[RegisterPk]) -> "Deferred[Replies]":
        message = request.message
        if peer is None or peer.uuid != message.uuid:
            raise Denied(RegisterPkResponse.UUID_MISMATCH)
        self._check_address(request)
        if not self._limits.id_may(message.old_id, request.arrival):
            raise Denied(RegisterPkResponse.TOO_FREQUENT)
        self._limits.accepted(request.source.host, message.id, request.arrival)
        self._limits.accepted(request.source.host, message.old_id, request.arrival)
        renamed = self._directory.rename(message.old_id, message.id, message.uuid)
        return renamed.addCallback(self._id_changed, request)

    def _id_changed(self, done: bool, request: Request[RegisterPk]) -> Replies:
        if not done:
            raise Denied(RegisterPkResponse.UUID_MISMATCH)
        self.log.info(
            "{address}: id {old} is now {new}",
            address=request.source,
            old=request.message.old_id,
            new=request.message.id,
        )
        return (RegisterPkResponse(result=RegisterPkResponse.OK),)


class Denied(Exception):
    """A registration that is answered with a result other than OK."""

    def __init__(self, result: RegisterPkResponse.Result) -> None:
        super().__init__(result)
        self.result = result


def _sane(id: str) -> bool:
    return len(id) <= _LONGEST_ID and id.isprintable()
