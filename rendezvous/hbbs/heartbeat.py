"""The fast path of a heartbeat: the usual RegisterPeer answered by its bytes, without protobuf.

It must equal the slow path, `Registration.register_peer` behind `dispatch`, in the answer and in what the
directory knows afterwards; whatever is not plainly the usual case is left to that.
"""

from collections.abc import Container

from rendezvous.hbbs.client_settings import ClientSettings
from rendezvous.peers.directory import Directory
from rendezvous.wire.address import Address

_REGISTER_PEER = 0x32
"""Tag of RendezvousMessage.register_peer."""
_ID = 0x0A
"""Tag of RegisterPeer.id."""
_SERIAL = 0x10
"""Tag of RegisterPeer.serial."""
_ANSWER = b"\x3a\x00"
"""RegisterPeerResponse with request_pk false."""


class Heartbeats:
    """Answers heartbeats of peers that are in memory and have not moved."""

    def __init__(self, directory: Directory, client_settings: ClientSettings, denied: Container[str]) -> None:
        self._directory = directory
        self._client_settings = client_settings
        self._denied = denied

    def answer(self, datagram: bytes, source: tuple[str, int], now: float) -> bytes | None:
        """The answer to a usual heartbeat from `source`; None when the slow path has to look at it.

        `now` is the monotonic time in seconds.
        """
        size = len(datagram)
        if not 5 <= size <= 64 or datagram[0] != _REGISTER_PEER or datagram[1] != size - 2 or datagram[2] != _ID:
            return None
        end = 4 + datagram[3]
        if end != size and (end + 2 != size or datagram[end] != _SERIAL or datagram[end + 1] > 0x7F):
            return None
        raw = datagram[4:end]
        if not raw.isascii():
            return None
        id = raw.decode("ascii")
        peer = self._directory.get(id)
        if peer is None or not peer.pk or peer.connection is not None or peer.host != source[0]:
            return None
        serial = datagram[end + 1] if end != size else 0
        if self._client_settings.serial > serial or id in self._denied:
            return None
        if peer.address != source:
            peer.address = Address(source[0], source[1])
        peer.seen = now
        return _ANSWER
