"""Two joined sides: their bytes counted, limited and passed on until either ends (docs/protocol.md, "Relay").

What one side produces is held back while the other takes nothing, and while the session is above its
bandwidth, so a session holds a bounded amount in memory.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol as Interface

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

from rendezvous.hbbr.bandwidth import MEGABIT, BandwidthLimits, SharedBandwidth, TokenBucket, piece
from rendezvous.logs import logger
from rendezvous.metrics import Drops
from rendezvous.wire.address import Address

_SILENCE = 1 / 6
"""The part of the idle timeout after which it is looked whether clients still take what is on its way."""
_TAKEN = 1024
"""Bytes that tell it: more than the pings of a WebSocket."""
_WHOLE_SECOND = 0.95
"""Seconds between two looks, which come a little early or late, that make a second."""


class Side(Interface):
    """One of the two connections that a session joins."""

    source: Address
    stream: bool
    """Whether it carries a stream of bytes (TCP) and not messages (WebSocket)."""

    def join(self, session: "Session", *, framed: bool) -> None:
        """Belongs to `session` from now on; a stream is cut into frames, each a message, when `framed`."""

    def begin(self) -> None:
        """Passes on what came before the other side did."""

    def deliver(self, data: bytes) -> None:
        """Sends what the other side sent."""

    def finish(self) -> None:
        """The other side sends no more."""

    def end(self) -> None:
        """Closes after what was delivered."""

    def cut(self) -> None:
        """Closes at once."""

    def feed_from(self, producer: "Flow") -> None:
        """Pauses and resumes `producer` as this side takes what it is sent."""

    def unsent(self) -> int:
        """How many bytes its client has not taken yet, as far as that can be told."""

    def pause(self) -> None:
        """Stops reading."""

    def resume(self) -> None:
        """Reads again."""


@implementer(IPushProducer)
class Flow:
    """What decides whether a side is read from: its other side must take bytes, and the rate must allow it."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._clogged = False
        self._limited = False

    def pauseProducing(self) -> None:
        """The other side is slow."""
        self._clogged = True
        self._side.pause()

    def resumeProducing(self) -> None:
        """The other side has caught up."""
        self._clogged = False
        self._set()

    def stopProducing(self) -> None:
        """The other side is gone; the session ends by its connectionLost."""

    def limit(self, limited: bool) -> None:
        """The session is above its bandwidth, or not any more."""
        self._limited = limited
        self._set()

    def _set(self) -> None:
        if self._clogged or self._limited:
            self._side.pause()
        else:
            self._side.resume()


@dataclass
class Usage:
    """What a session used: bytes, and bytes a second over its last whole second and at most."""

    started: float
    sent: list[int] = field(default_factory=lambda: [0, 0])
    """Bytes that each side has sent."""
    now: float = 0.0
    peak: float = 0.0

    @property
    def transferred(self) -> int:
        """Bytes both ways."""
        return sum(self.sent)


Splicer = Callable[["Session", Side, Side], None]
"""Takes over the passing on between two stream sides."""


class Session:
    """Two sides. `ended` is called once, with the reason, when it is over; `splice` is the fast path, if any.

    Of the `limits` those of its start count, except when the downgrade is checked; `total` is shared.
    """

    log = logger("hbbr")

    def __init__(
        self,
        sides: tuple[Side, Side],
        limits: BandwidthLimits,
        total: "SharedBandwidth[Session]",
        clock: IReactorTime,
        idle_timeout: float,
        drops: Drops,
        ended: Callable[["Session", str], None],
        *,
        limited: bool,
        splice: "Splicer | None" = None,
    ) -> None:
        self.sides = sides
        self.number = 0
        """By which an administrator calls it; unique in the life of a process."""
        now = clock.seconds()
        self.usage = Usage(now)
        self._limits = replace(limits)
        self._limits_now = limits
        self._bucket = TokenBucket((limits.limited if limited else limits.single) * MEGABIT, now)
        self.piece = 0
        """How many bytes of a side to read at most before `passed` tells whether more may follow."""
        self._listed = limited
        self._downgraded = False
        self._total = total
        self.rates_changed()
        self._clock = clock
        self._idle_timeout = idle_timeout
        self._drops = drops
        self._ended = ended
        self._flows = (Flow(sides[0]), Flow(sides[1]))
        self._heard = now
        self._unsent: int | None = None
        self._second = (now, 0)
        self._finished = [False, False]
        self._over = False
        self._limited_until: IDelayedCall | None = None
        self._in_queue = False
        self._held: list[tuple[Side, bytes]] = []
        """What was read before others that took the total were counted: one read of each side at most."""
        self._releasing: IDelayedCall | None = None
        self._splice = splice

    def start(self) -> None:
        """Joins the sides."""
        first, second = self.sides
        if self._splice is not None and first.stream and second.stream:
            self._splice(self, first, second)
            self.may_read()
            return
        first.feed_from(self._flows[1])
        second.feed_from(self._flows[0])
        first.join(self, framed=not second.stream)
        second.join(self, framed=not first.stream)
        for side, flow in zip(self.sides, self._flows, strict=True):
            flow.limit(self._held_back)
            side.begin()
        self.may_read()

    def received(self, side: Side, data: bytes) -> None:
        """`side` has sent `data`, which waits for the session's turn when others were read first."""
        if self._over:
            return
        if self._held or self._total.in_debt:
            self._held.append((side, data))
            self._wait_for_turn()
            return
        self._pass_on(side, data)

    def _pass_on(self, side: Side, data: bytes) -> None:
        self._other(side).deliver(data)
        self.passed(side, len(data))

    def passed(self, side: Side, count: int) -> None:
        """`count` bytes of `side` went to the other one; above its bandwidth the session pauses."""
        if self._over:
            return
        now = self._clock.seconds()
        self._heard = now
        self.usage.sent[side is self.sides[1]] += count
        wait = self._bucket.take(count, now)
        busy = self._total.take(self, count, now)
        if wait:
            self._limit_for(wait)
        elif busy:
            self._wait_for_turn()

    def may_read(self) -> bool:
        """Whether its sides may be read from now; if not, they are not until they may be."""
        if self._total.in_debt:
            self._wait_for_turn()
        return not self._in_queue

    def turn_came(self) -> None:
        """The total bandwidth allows a read."""
        self._in_queue = False
        if self._held:
            self._releasing = self._clock.callLater(0, self._release)  # not while turns are given
        else:
            self._go_on()

    def _release(self) -> None:
        self._releasing = None
        self._pass_held()
        self._go_on()

    def _pass_held(self) -> None:
        held, self._held = self._held, []
        for side, data in held:
            self._pass_on(side, data)

    def set_listed(self, listed: bool) -> None:
        """Limits it, or frees it unless it was busy for too long, as an address of its own is listed or not."""
        if listed != self._listed:
            self._listed = listed
            if not self._downgraded:
                self._set_rate(self._limits.limited if listed else self._limits.single)

    def rates_changed(self) -> None:
        """Its own bandwidth or the total is another now."""
        self.piece = piece(self._bucket.rate, self._total.rate)

    def heard(self) -> None:
        """Something came, if only a part of a message."""
        self._heard = self._clock.seconds()

    @property
    def _held_back(self) -> bool:
        """Whether its sides are not read from since the session or all together are above the bandwidth."""
        return self._in_queue or self._releasing is not None or self._limited_until is not None

    def _wait_for_turn(self) -> None:
        if self._in_queue or self._releasing is not None:
            return
        self._in_queue = True
        self._total.wait(self)
        if self._in_queue or self._releasing is not None:
            self._hold_back()

    def _limit_for(self, seconds: float) -> None:
        if self._limited_until is None:
            self._limited_until = self._clock.callLater(seconds, self._allow)
            self._hold_back()
        else:
            self._limited_until.reset(seconds)

    def _allow(self) -> None:
        self._limited_until = None
        if self._total.busy:
            self._wait_for_turn()
        else:
            self._go_on()

    def _hold_back(self) -> None:
        for flow in self._flows:
            flow.limit(True)

    def _go_on(self) -> None:
        if not self._held_back:
            for flow in self._flows:
                flow.limit(False)

    def finished(self, side: Side) -> None:
        """`side` will send no more, but may still receive; when neither sends, it is over."""
        self._pass_held()
        self._finished[self.sides.index(side)] = True
        if all(self._finished):
            self.end("finished")
        elif not self._over:
            self._other(side).finish()

    def lost(self, side: Side) -> None:
        """`side` is gone."""
        self.end("closed")

    def end(self, why: str, *, cut: bool = False) -> None:
        """Closes both sides, after what they were to get or, to `cut` them, at once. Only the first time."""
        if self._over:
            return
        if not cut:
            self._pass_held()
        self._over = True
        if self._limited_until is not None and self._limited_until.active():
            self._limited_until.cancel()
        if self._releasing is not None:
            self._releasing.cancel()
        self._total.leave(self)
        self._measure(self._clock.seconds())
        for side in self.sides:
            side.cut() if cut else side.end()
        self._ended(self, why)

    def _other(self, side: Side) -> Side:
        return self.sides[1] if side is self.sides[0] else self.sides[0]

    def tick(self) -> None:
        """Runs every second: ends a silent session, measures a living one."""
        now = self._clock.seconds()
        if self._held_back or self._is_taken():
            self._heard = now
        if now - self._heard >= self._idle_timeout:
            self._drops.count("relay", "idle")
            self.end("idle")
        elif now - self._second[0] >= _WHOLE_SECOND:
            self._measure(now)
            self._check_downgrade(now)

    def _is_taken(self) -> bool:
        """Whether a session in which nothing came for long has less on its way than a second ago."""
        if self._clock.seconds() - self._heard < self._idle_timeout * _SILENCE:
            self._unsent = None
            return False
        before, self._unsent = self._unsent, sum(side.unsent() for side in self.sides)
        return before is not None and self._unsent <= before - _TAKEN

    def _measure(self, now: float) -> None:
        """Takes note of the rate since the last look, over a second at least."""
        since, transferred = self._second
        self._second = (now, self.usage.transferred)
        self.usage.now = (self.usage.transferred - transferred) / max(1.0, now - since)
        self.usage.peak = max(self.usage.peak, self.usage.now)

    def _check_downgrade(self, now: float) -> None:
        age = now - self.usage.started
        if self._listed or self._downgraded or age < self._limits_now.downgrade_start_check:
            return
        if self.usage.transferred / age > self._limits.downgrade_threshold * self._limits.single * MEGABIT:
            self._downgraded = True
            self._set_rate(self._limits.limited)
            self.log.info(
                "{first} and {second} are limited: busy for long",
                first=self.sides[0].source,
                second=self.sides[1].source,
            )

    def _set_rate(self, megabits: float) -> None:
        wait = self._bucket.set_rate(megabits * MEGABIT, self._clock.seconds())
        self.rates_changed()
        if self._limited_until is not None:
            self._limited_until.reset(wait)
