"""The relay itself: takes first frames, checks the key, pairs, and knows every session."""

import hmac
import itertools
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from rendezvous.address_lists import AddressList
from rendezvous.admission import LOGGED, Pace, Refused
from rendezvous.hbbr.bandwidth import MEGABIT, BandwidthLimits, SharedBandwidth
from rendezvous.hbbr.pairing import Pairing
from rendezvous.hbbr.session import Session, Side, Splicer
from rendezvous.hbbr.unfinished import Unfinished
from rendezvous.hbbr.usage import IUsageRecorder, SessionUsage
from rendezvous.logs import logger
from rendezvous.metrics import Drops
from rendezvous.wire.messages import MalformedMessage, decode
from rendezvous.wire.rendezvous_pb2 import RequestRelay

PLACE = "relay"
"""Where drops and refusals of the relay are counted."""


@dataclass(frozen=True)
class RelayTimes:
    """Seconds: for the first frame, for the other side to come, and of silence in a session."""

    first_frame: float
    pairing: float
    idle: float


class Relay:
    """Joins connections by uuid. Addresses in `blocklist` are refused on accept, those in `blacklist` slow."""

    log = logger("hbbr")

    def __init__(
        self,
        licence_key: str,
        limits: BandwidthLimits,
        pairing: Pairing[Side],
        unfinished: Unfinished,
        times: RelayTimes,
        blocklist: AddressList,
        blacklist: AddressList,
        drops: Drops,
        clock: IReactorTime,
        splice: Splicer | None = None,
        recorders: Sequence[IUsageRecorder] = (),
    ) -> None:
        self._licence_key = licence_key.encode()
        self._total: SharedBandwidth[Session] = SharedBandwidth(limits.total * MEGABIT, clock)
        self._pairing = pairing
        self._drops = drops
        self.limits = limits
        self.unfinished = unfinished
        self.times = times
        self.clock = clock
        self.blocklist = blocklist
        self.blacklist = blacklist
        self.sessions: set[Session] = set()
        self._numbers = itertools.count(1)
        self._splice = splice
        self._recorders = recorders
        self._pace_of_log = Pace(*LOGGED)
        self.ended: Counter[str] = Counter()
        """How many sessions have ended since start, by reason."""
        self._relayed_before: Counter[str] = Counter()
        self._closed = False
        self._ticks = LoopingCall(self._tick)
        self._ticks.clock = clock

    def drop(self, reason: str) -> None:
        """Counts what a connection was closed for."""
        self._drops.count(PLACE, reason)

    def requested(self, half: Side, payload: bytes) -> str:
        """`half` has sent its first frame: pairs it, or makes it wait. Returns its uuid. Raises Refused."""
        if self._closed:
            raise Refused("stopping")
        if half.source.host in self.blocklist:  # since it connected
            raise Refused("denied")
        request = self._request_in(payload)
        if self._licence_key and not hmac.compare_digest(request.licence_key.encode(), self._licence_key):
            if self._pace_of_log.allows(self.clock.seconds()):
                self.log.info("{address} asked for a relay with a wrong key", address=half.source)
            raise Refused("wrong_key")
        other = self._pairing.join(request.uuid, half, half.source.host)
        if other is not None:
            self._join(other, half)
        return request.uuid

    @property
    def waiting(self) -> int:
        """How many halves wait for their other side."""
        return len(self._pairing)

    def relayed(self) -> Counter[str]:
        """Bytes relayed since start, by the transport of the side that sent them: ``tcp`` or ``websocket``."""
        sent = Counter({"tcp": 0, "websocket": 0})
        sent.update(self._relayed_before)
        for session in self.sessions:
            for side, count in zip(session.sides, session.usage.sent, strict=True):
                sent[_transport(side)] += count
        return sent

    def left(self, half: Side, uuid: str) -> None:
        """`half`, which waited, is gone or has waited too long."""
        self._pairing.leave(uuid, half)

    def set_total(self, megabits: float) -> None:
        """Changes the total bandwidth, for running sessions too."""
        self.limits.total = megabits
        self._total.set_rate(megabits * MEGABIT)
        for session in self.sessions:
            session.rates_changed()

    def cut_blocked(self) -> None:
        """Ends the sessions and the waits of addresses that are blocked now."""
        for uuid, half in self._pairing.waiting():
            if half.source.host in self.blocklist:
                self._pairing.leave(uuid, half)
                self.drop("denied")
                half.cut()
        for session in [s for s in self.sessions if any(side.source.host in self.blocklist for side in s.sides)]:
            session.end("blocked", cut=True)

    def look_up_listed(self) -> None:
        """Limits the sessions of addresses that are on the blacklist now, and frees those of others."""
        for session in self.sessions:
            session.set_listed(self._is_listed(session.sides))

    def close(self) -> None:
        """Joins nobody any more, so that those who wait are sent away; sessions go on."""
        self._closed = True
        for uuid, half in self._pairing.waiting():
            self._pairing.leave(uuid, half)
            self.drop("stopping")
            half.cut()

    def open(self) -> None:
        """Joins again."""
        self._closed = False

    def end_all(self) -> None:
        """Ends every session."""
        for session in list(self.sessions):
            session.end("server stops")

    def _is_listed(self, sides: tuple[Side, Side]) -> bool:
        return any(side.source.host in self.blacklist for side in sides)

    def _request_in(self, payload: bytes) -> RequestRelay:
        try:
            _, message = decode(payload)
        except MalformedMessage:
            raise Refused("malformed") from None
        if not isinstance(message, RequestRelay):
            raise Refused("not_a_relay_request")
        return message

    def _join(self, first: Side, second: Side) -> None:
        session = Session(
            (first, second),
            self.limits,
            self._total,
            self.clock,
            self.times.idle,
            self._drops,
            self._ended,
            splice=self._splice,
            limited=self._is_listed((first, second)),
        )
        session.number = next(self._numbers)
        self.sessions.add(session)
        if not self._ticks.running:
            self._ticks.start(1.0, now=False)
        self.log.debug("{first} and {second} are joined", first=first.source, second=second.source)
        session.start()

    def _ended(self, session: Session, why: str) -> None:
        self.sessions.discard(session)
        first, second = session.sides
        self.ended[why] += 1
        for side, count in zip(session.sides, session.usage.sent, strict=True):
            self._relayed_before[_transport(side)] += count
        usage = SessionUsage(
            time.time(),
            self.clock.seconds() - session.usage.started,
            first.source,
            _transport(first),
            second.source,
            _transport(second),
            session.usage.sent[0],
            session.usage.sent[1],
            round(session.usage.peak),
            why,
        )
        for recorder in self._recorders:
            try:
                recorder.ended(usage)
            except Exception:
                self.log.failure("a recorder of usage failed")
        if not self.sessions and self._ticks.running:
            self._ticks.stop()

    def _tick(self) -> None:
        for session in list(self.sessions):
            try:
                session.tick()
            except Exception:
                self.log.failure("a session can't be looked at")


def _transport(side: Side) -> str:
    return "tcp" if side.stream else "websocket"
