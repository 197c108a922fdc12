"""The fast path of a heartbeat: the usual RegisterPeer answered by its bytes, without protobuf.

It must equal the slow path, `Registration.register_peer` behind `dispatch`, in the answer and in what the
directory knows afterwards; whatever is not plainly the usual case is left to that.
"""

from rendezvous.address_lists import AddressList
from rendezvous.hbbs.client_settings import ClientSettings
from rendezvous.peers.directory import Directory
from rendezvous.wire.address import Address

_REGISTER_PEER = 0x32
"""Tag of RendezvousMessage.register_peer."""
_ID = 0x0A
"""Tag of RegisterPeer.id."""
_SERIAL = 0x10
"""Tag of RegisterPeer.serial."""
_LONGEST_ID = 60
_HEADS = {
    bytes((_REGISTER_PEER, size - 2, _ID, length)): (4 + length, size)
    for length in range(1, _LONGEST_ID + 1)
    for size in (4 + length, 6 + length)
}
"""First four bytes -> where the id ends, and the size; there is no serial behind it, or one below 128."""
_ANSWER = b"\x3a\x00"
"""RegisterPeerResponse with request_pk false."""


class Heartbeats:
    """Answers heartbeats of peers that are in memory and have not moved."""

    def __init__(self, directory: Directory, client_settings: ClientSettings, denied: AddressList) -> None:
        self._get = directory.get
        self._client_settings = client_settings
        self._denied = denied

    def answer(self, datagram: bytes, source: tuple[str, int], now: float) -> bytes | None:
        """The answer to a usual heartbeat from `source`; None when the slow path has to look at it.

        `now` is the monotonic time in seconds.
        """
        head = _HEADS.get(datagram[:4])
        if head is None or len(datagram) != head[1]:
            return None
        end, size = head
        serial = 0
        if end != size:
            if datagram[end] != _SERIAL:
                return None
            serial = datagram[end + 1]
        try:
            id = datagram[4:end].decode("ascii")
        except UnicodeDecodeError:
            return None
        peer = self._get(id)
        if peer is None or not peer.pk or peer.connection is not None or peer.host != source[0]:
            return None
        if serial > 127 or self._client_settings.serial > serial or (self._denied.any and id in self._denied):
            return None
        if peer.address != source:
            peer.address = Address(source[0], source[1])
        peer.seen = now
        return _ANSWER
