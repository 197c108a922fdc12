"""The fast path of a heartbeat: the usual RegisterPeer answered by its bytes, without protobuf.

The most usual one comes from the host of the last one (`usual`); others are told by `quick_answer`. Both must
equal the slow path, `Registration.register_peer` behind `dispatch`, in the answer and in what the directory knows
afterwards; whatever is not plainly the usual case is left to that.
"""

from itertools import islice
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from rendezvous.address_lists import AddressList
from rendezvous.datagram_port import QuickAnswer, QuickDatagramProtocol, Usual
from rendezvous.hbbs.client_settings import ClientSettings
from rendezvous.peers.directory import Directory
from rendezvous.wire.address import plain_host

_REGISTER_PEER = 0x32
"""Tag of RendezvousMessage.register_peer."""
_ID = 0x0A
"""Tag of RegisterPeer.id."""
_SERIAL = 0x10
"""Tag of RegisterPeer.serial."""
_LONGEST_ID = 60
_HOST = 2
"""Where the host begins in a compact address."""
_HEADS = {
    bytes((_REGISTER_PEER, size - 2, _ID, length)): (4 + length, size)
    for length in range(1, _LONGEST_ID + 1)
    for size in (4 + length, 6 + length)
}
"""First four bytes -> where the id ends, and the size; there is no serial behind it, or one below 128."""
ANSWER = b"\x3a\x00"
"""RegisterPeerResponse with request_pk false."""
_UNKNOWN = b"\x3a\x02\x10\x01"
"""RegisterPeerResponse with request_pk true."""


_Waiting = tuple[bytes, bytes, tuple[Any, ...], QuickDatagramProtocol]
"""A heartbeat, its source, compact and not, and what received it."""
_LATER = b""
"""Instead of an answer: it is sent when the store has been asked."""
_ASKED_AT_ONCE = 2000
"""Ids in one question to the store."""


class Heartbeats:
    """Answers heartbeats of peers that are in memory and have not moved, and of those that were there before.

    The latter, all of whom come back after a restart, are looked up together, those that came while a lookup
    ran in the next one; at most `max_waiting` wait.
    """

    def __init__(
        self,
        directory: Directory,
        client_settings: ClientSettings,
        denied: AddressList,
        clock: IReactorTime,
        max_waiting: int,
    ) -> None:
        self._directory = directory
        self._client_settings = client_settings
        self._denied = denied
        self._clock = clock
        self._max_waiting = max_waiting
        self._waiting: dict[str, _Waiting] = {}
        self._asking = False

    def __len__(self) -> int:
        """Heartbeats that wait for the store."""
        return len(self._waiting)

    def quick_answer(self, protocol: QuickDatagramProtocol) -> QuickAnswer:
        """What answers the heartbeats that `protocol` receives."""
        heads, get, is_unknown = _HEADS.get, self._directory.get, self._directory.is_unknown
        client_settings, denied = self._client_settings, self._denied

        def answer(datagram: bytes, place: bytes, source: tuple[Any, ...], now: float) -> bytes | None:
            head = heads(datagram[:4])
            if head is None:
                return None
            end, size = head
            if len(datagram) != size:
                return None
            serial = 0
            if end != size:
                serial = datagram[end + 1]
                if datagram[end] != _SERIAL or serial > 127:
                    return None
            try:
                id = datagram[4:end].decode()
            except UnicodeDecodeError:
                return None
            peer = get(id)
            if peer is None:
                if is_unknown(id) or (denied.any and (id in denied or plain_host(source[0]) in denied)):
                    return None
                return self._wait(id, (datagram, place, source, protocol))
            if peer.connection is not None or peer.host != source[0] or not peer.pk:
                return None
            if client_settings.serial > serial or (denied.any and (id in denied or peer.host in denied)):
                return None
            peer.place = place
            peer.seen = now
            return ANSWER

        return answer

    def usual(self) -> Usual:
        """What tells heartbeats that come from the host of the last one, and takes them."""
        heads, get = _HEADS.get, self._directory.get
        client_settings, denied = self._client_settings, self._denied

        def is_usual(datagram: bytes, place: bytes, now: float) -> bool:
            head = heads(datagram[:4])
            if head is None:
                return False
            end, size = head
            serial = 0
            if end != size:
                if len(datagram) != size or datagram[end] != _SERIAL:
                    return False
                serial = datagram[end + 1]
            elif len(datagram) != size:
                return False
            peer = get(datagram[4:end].decode("utf-8", "surrogateescape"))
            if peer is None or peer.connection is not None:
                return False
            if client_settings.serial > serial or serial > 127 or denied.any:
                return False
            if peer.place != place:
                if peer.place[_HOST:] != place[_HOST:]:
                    return False
                peer.place = place
            peer.seen = now
            return True

        return is_usual

    def _wait(self, id: str, waiting: _Waiting) -> bytes | None:
        if len(self._waiting) >= self._max_waiting or id in self._waiting:
            return None
        self._waiting[id] = waiting
        if not self._asking:
            self._asking = True
            self._clock.callLater(0, self._ask)
        return _LATER

    def _ask(self) -> None:
        asked = dict(islice(self._waiting.items(), _ASKED_AT_ONCE))
        for id in asked:
            del self._waiting[id]
        self._directory.restore(asked).addBoth(self._restored, asked)

    def _restored(self, result: object, asked: "dict[str, _Waiting]") -> None:
        """Those that are in memory now get their answers; those that are not stored are asked for their keys.

        Whatever else there is, such as a store that fails, is left to the slow path.
        """
        self._asking = bool(self._waiting)
        if self._asking:
            self._ask()
        looked_up = not isinstance(result, Failure)
        now, denied = self._clock.seconds(), self._denied
        for id, (datagram, place, source, protocol) in asked.items():
            if self._directory.get(id) is not None:
                answer = protocol.quick_answer(datagram, place, source, now)
            elif looked_up and not (denied.any and (id in denied or plain_host(source[0]) in denied)):
                answer = _UNKNOWN
            else:
                answer = None
            if answer is None:
                protocol.datagramReceived(datagram, source)
            else:
                protocol.transport.write(answer, source)
