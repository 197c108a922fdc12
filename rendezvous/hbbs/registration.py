"""Registration: a client tells that it is there, and proves once who it is (docs/protocol.md, "Registration").

Over UDP a client sends RegisterPeer every 15 s. It is asked for its key when it is unknown or its IP
address has changed; only RegisterPk, which carries the uuid, changes where a peer is found then. Over TCP
and WebSocket a RegisterPk registers the connection itself, and presence is its life.
"""

import re
from collections import Counter
from collections.abc import Callable

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.python.failure import Failure

from rendezvous.admission import LOGGED, Pace, Refused
from rendezvous.hbbs.access import Access
from rendezvous.hbbs.client_settings import ClientSettings
from rendezvous.hbbs.history import AddressChanges
from rendezvous.hbbs.request import Answer, Replies, Request
from rendezvous.logs import logger
from rendezvous.metrics import Drops
from rendezvous.peers.batches import QueueFull, StoreFailed
from rendezvous.peers.directory import Directory, Peer
from rendezvous.peers.limits import RegistrationLimits
from rendezvous.peers.store import PeerRecord
from rendezvous.wire.address import is_loopback
from rendezvous.wire.rendezvous_pb2 import RegisterPeer, RegisterPeerResponse, RegisterPk, RegisterPkResponse

_SHORTEST_ID = 6
_LONGEST_ID = 100
_LONGEST_BYTES = 256
"""Bytes of a uuid or a public key."""
_Registered = Callable[[Peer | None, Request[RegisterPk]], Replies]
_NEW_ID = re.compile(r"[A-Za-z][\w-]{5,15}")


class Registration:
    """RegisterPeer and RegisterPk."""

    log = logger("hbbs.registration")

    def __init__(
        self,
        directory: Directory,
        limits: RegistrationLimits,
        changes: AddressChanges,
        client_settings: ClientSettings,
        access: Access,
        drops: Drops,
        keep_alive: int,
        *,
        from_loopback: bool,
    ) -> None:
        self._directory = directory
        self._limits = limits
        self._changes = changes
        self._client_settings = client_settings
        self._access = access
        self._drops = drops
        self._keep_alive = keep_alive
        self._from_loopback = from_loopback
        self._pace_of_log = Pace(*LOGGED)
        self.results: Counter[tuple[str, str]] = Counter()
        """How often a RegisterPk was answered since start, by transport and result."""

    # RegisterPeer --------------------------------------------------------------------------------

    def register_peer(self, request: Request[RegisterPeer]) -> Answer:
        """Presence over UDP: `request_pk` tells whether the client must send RegisterPk first."""
        id = request.message.id
        if not id or len(id) > _LONGEST_ID:
            raise Refused("bad_id")
        if id in self._access.denied:
            raise Refused("denied")
        peer = self._directory.get(id)
        if peer is not None or self._directory.is_unknown(id):
            return self._present(peer, request)
        return self._directory.find(id).addCallback(self._present, request)

    def _present(self, peer: Peer | None, request: Request[RegisterPeer]) -> Replies:
        if peer is None or self._must_prove_itself(peer, request.source.host):
            return (RegisterPeerResponse(request_pk=True),)
        self._directory.seen(peer, request.source)
        serial, host = request.message.serial, request.source.host
        return (RegisterPeerResponse(), *self._client_settings.newer_by_datagram(serial, host, request.arrival))

    def _must_prove_itself(self, peer: Peer, host: str) -> bool:
        if not peer.pk or peer.connection is not None:
            return True
        return peer.host != host and not (self._from_loopback and is_loopback(host))

    # RegisterPk ----------------------------------------------------------------------------------

    def register_pk(self, request: Request[RegisterPk]) -> Answer:
        """Proof of identity over UDP; the rules are checked in the order of docs/protocol.md."""
        return self._register(request, self._registered_by_datagram)

    def register_connection(self, request: Request[RegisterPk]) -> Answer:
        """The same over TCP or WebSocket, where it registers the connection; with old_id, an id change."""
        if request.message.old_id:
            return maybeDeferred(self._change_id, request).addErrback(self._denied, request)
        return self._register(request, self._registered_by_connection)

    def _register(self, request: Request[RegisterPk], registered: "_Registered") -> Answer:
        """What `registered` answers once the peer is stored, or why it is not. Raises Refused for no answer."""
        message = request.message
        if not message.uuid or not message.pk:
            raise Refused("no_uuid_or_pk")
        if max(len(message.uuid), len(message.pk)) > _LONGEST_BYTES or not _sane(message.id):
            raise Refused("bad_registration")
        if len(message.id) < _SHORTEST_ID:
            return self._denial(RegisterPkResponse.UUID_MISMATCH, request)
        try:
            self._check_address(request)
            stored = (
                self._store(None, request)
                if self._directory.is_unknown(message.id)
                else self._directory.find_record(message.id).addCallback(self._found, request)
            )
        except Denied as denied:
            return self._denial(denied.result, request)
        return stored.addCallbacks(registered, self._denied, callbackArgs=(request,), errbackArgs=(request,))

    def _check_address(self, request: Request[RegisterPk]) -> None:
        if not self._limits.address_may(request.source.host, request.message.id, request.arrival):
            raise Denied(RegisterPkResponse.TOO_FREQUENT)

    def _found(self, record: PeerRecord | None, request: Request[RegisterPk]) -> "Deferred[Peer | None]":
        self._check_address(request)  # again: others may have been accepted during the lookup
        return self._store(record, request)

    def _store(self, found: PeerRecord | None, request: Request[RegisterPk]) -> "Deferred[Peer | None]":
        """Fires with the stored peer, or None when another machine got the id a moment before. Raises Denied."""
        message, host = request.message, request.source.host
        record = PeerRecord(message.id, message.uuid, message.pk, host)
        if found is not None and (found.uuid != record.uuid or (found.host != host and found.pk != record.pk)):
            raise Denied(RegisterPkResponse.UUID_MISMATCH)
        if not self._access.may_register(record.id, known=found is not None):
            raise Denied(RegisterPkResponse.NOT_DEPLOYED)
        if not self._limits.id_may(record.id, request.arrival):
            raise Denied(RegisterPkResponse.TOO_FREQUENT)
        self._limits.accepted(host, record.id, request.arrival)
        if found == record:
            return succeed(self._directory.remember(record))
        if found is not None and found.host and found.host != host:
            self._changes.changed(record.id, found.host, host, request.arrival)
        return self._directory.save(record, new=found is None)

    def _registered_by_datagram(self, peer: Peer | None, request: Request[RegisterPk]) -> Replies:
        if peer is None:
            return self._denial(RegisterPkResponse.UUID_MISMATCH, request)
        self._directory.seen(peer, request.source)
        return self._answer(RegisterPkResponse.OK, request)

    def _registered_by_connection(self, peer: Peer | None, request: Request[RegisterPk]) -> Replies:
        if peer is None:
            return self._denial(RegisterPkResponse.UUID_MISMATCH, request)
        if request.connection is None or request.connection.lost:
            raise Refused("connection_lost")
        request.connection.register(peer)
        return self._answer(RegisterPkResponse.OK, request, keep_alive=self._keep_alive)

    def _denied(self, reason: Failure, request: Request[RegisterPk]) -> Replies:
        """The answer that a failure stands for."""
        reason.trap(Denied, QueueFull, StoreFailed)
        if isinstance(reason.value, Denied):
            return self._denial(reason.value.result, request)
        full = reason.check(QueueFull) is not None
        result = RegisterPkResponse.TOO_FREQUENT if full else RegisterPkResponse.SERVER_ERROR
        return self._denial(result, request)

    def _denial(self, result: RegisterPkResponse.Result, request: Request[RegisterPk]) -> Replies:
        self._drops.count("registration", RegisterPkResponse.Result.Name(result).lower())
        return self._answer(result, request)

    def _answer(
        self, result: RegisterPkResponse.Result, request: Request[RegisterPk], keep_alive: int = 0
    ) -> Replies:
        name = RegisterPkResponse.Result.Name(result).lower()
        self.results[request.transport.value, name] += 1
        said = self.log.debug
        if result == RegisterPkResponse.UUID_MISMATCH and self._pace_of_log.allows(request.arrival):
            said = self.log.info  # another machine has that id, which its administrator has to know
        id = request.message.id[:_LONGEST_ID]
        said("{address} wants to register {id!r}: {result}", address=request.source, id=id, result=name)
        return (RegisterPkResponse(result=result, keep_alive=keep_alive),)

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
        return self._directory.find_record(message.id).addCallback(self._new_id_found, request)

    def _new_id_found(self, taken: PeerRecord | None, request: Request[RegisterPk]) -> "Deferred[Replies]":
        if taken is not None and taken.uuid != request.message.uuid:
            raise Denied(RegisterPkResponse.ID_EXISTS)
        found = self._directory.find_record(request.message.old_id)
        return found.addCallback(self._old_id_found, request)

    def _old_id_found(self, peer: PeerRecord | None, request: Request[RegisterPk]) -> "Deferred[Replies]":
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
        said = self.log.info if self._pace_of_log.allows(request.arrival) else self.log.debug
        said(
            "{address}: id {old_id} is now {new_id}",
            address=request.source,
            old_id=request.message.old_id,
            new_id=request.message.id,
        )
        return self._answer(RegisterPkResponse.OK, request)


class Denied(Exception):
    """A registration that is answered with a result other than OK."""

    def __init__(self, result: RegisterPkResponse.Result) -> None:
        super().__init__(result)
        self.result = result


def _sane(id: str) -> bool:
    return len(id) <= _LONGEST_ID and id.isprintable()
