"""Pending exchanges: one client waits for what another one answers (docs/protocol.md, "Connecting").

An answer finds its exchange by the mangled address of the asker, which the server made and the answering
client echoes. With IPv4 it holds a random nonce that nobody else can guess. Where there is none (IPv6, or
a client that encodes the address anew) an answer from the address the target registered from is the target's.
One from another address of its family may be, as clients can have several: the first is kept, and counts when
the target's registered address stays silent for `GRACE`. One from the other family can't be compared, and counts.
Nothing is ever sent to the address that an answer names: it goes to the connection that asked.
"""

import os
import time
from collections import deque
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from rendezvous.admission import Refused, count_off, count_one
from rendezvous.deadlines import Deadlines
from rendezvous.hbbs.history import RECENT, Attempt
from rendezvous.hbbs.request import Replies, Request
from rendezvous.logs import logger
from rendezvous.metrics import Outcomes
from rendezvous.peers.directory import Peer
from rendezvous.wire.address import Address, MalformedAddress, is_ipv6, mangle, unmangle
from rendezvous.wire.rendezvous_pb2 import RequestRelay

MAX_REPEATS = 4
"""How often an asker may have the same question pushed again."""
GRACE = 2.0
"""Seconds that an answer from elsewhere waits, so that nobody outruns the target by guessing."""


class ExchangeLimits(NamedTuple):
    """Most exchanges that may be pending in all, for one asking address, for one target, and for both together.

    `per_target` bounds how many wait for a target that never answers, and `per_pair` keeps one address from
    taking all of those. `timeout` is in seconds.
    """

    total: int
    per_address: int
    per_target: int
    per_pair: int
    timeout: float


class Exchange:
    """One question on its way: who asked, for whom, and by which bytes its answer is known.

    `result` fires with what the asker is to be sent. It fails with Refused at the deadline, unless there are
    `provisional` replies, made of an answer that is not known to be the target's; cancelling it ends the
    exchange. How it ended is counted in `outcomes`. `local` tells whether the target was asked for a local
    address, which is the only question that a LocalAddr answers.
    """

    __slots__ = ("asker", "local", "outcomes", "provisional", "repeats", "result", "target", "token")

    def __init__(
        self,
        asker: Request[Any],
        target: Peer,
        token: bytes,
        result: "Deferred[Replies]",
        outcomes: Outcomes,
    ) -> None:
        self.asker = asker
        self.target = target
        self.token = token
        self.result = result
        self.outcomes = outcomes
        self.provisional: tuple[str, Replies] | None = None
        self.repeats = 0
        self.local = False


class Answered(NamedTuple):
    """The exchange that an answer belongs to.

    `confirmed` tells whether it counts at once, `proven` whether it is known to be the target's own.
    """

    exchange: Exchange
    confirmed: bool
    proven: bool


class Exchanges:
    """All pending exchanges, each with a deadline; a connection has one at a time."""

    log = logger("hbbs.punching")

    def __init__(self, clock: IReactorTime, limits: ExchangeLimits) -> None:
        self._clock = clock
        self._limits = limits
        self._by_connection: dict[object, Exchange] = {}
        self._by_asker: dict[Address, list[Exchange]] = {}
        self._by_token: dict[bytes, Exchange] = {}
        """Of askers on IPv4, whose tokens are unlike all others."""
        self._by_host: dict[str, int] = {}
        self._by_target: dict[str, int] = {}
        self._by_pair: dict[tuple[str, str], int] = {}
        self._deadlines = Deadlines(clock, limits.timeout, self._expire)
        self._grace = Deadlines(clock, GRACE, self._expire)
        """Of those with a provisional answer."""
        self._closed = False
        self.recent: deque[Attempt] = deque(maxlen=RECENT)
        """How the latest requests ended, oldest first."""

    def __len__(self) -> int:
        return len(self._by_connection)

    def begin(self, request: Request[Any], target: Peer, outcomes: Outcomes) -> Exchange:
        """A new exchange; one that the same connection had before ends. Raises Refused above a limit.

        `outcomes` counts how it ends.
        """
        earlier = self._by_connection.get(request.connection)
        if earlier is not None:
            earlier.result.cancel()
        if self._closed:
            raise Refused("stopping")
        if len(self) >= self._limits.total:
            raise Refused("too_many_exchanges")
        if self._by_host.get(request.source.host, 0) >= self._limits.per_address:
            raise Refused("too_many_exchanges_from_address")
        if self._by_target.get(target.id, 0) >= self._limits.per_target:
            raise Refused("too_many_exchanges_for_target")
        pair = request.source.host, target.id
        if self._by_pair.get(pair, 0) >= self._limits.per_pair:
            raise Refused("too_many_exchanges_of_pair")
        token = mangle(request.source, int.from_bytes(os.urandom(4), "little"))
        connection = request.connection
        result: Deferred[Replies] = Deferred(lambda _: self._abandon(self._by_connection[connection]))
        exchange = Exchange(request, target, token, result, outcomes)
        self._deadlines.add(exchange)
        self._by_connection[request.connection] = exchange
        self._by_asker.setdefault(request.source, []).append(exchange)
        if not is_ipv6(request.source.host):
            self._by_token[token] = exchange
        count_one(self._by_host, request.source.host)
        count_one(self._by_target, target.id)
        count_one(self._by_pair, pair)
        return exchange

    def close(self) -> None:
        """Nothing new begins; what is pending may end."""
        self._closed = True

    def repeated(self, request: Request[Any]) -> Exchange | None:
        """The exchange that `request` asks for once more over the same connection; None when it is new.

        Raises Refused when it was asked for too often.
        """
        exchange = self._by_connection.get(request.connection)
        if exchange is None or exchange.target.id != request.message.id:
            return None
        if type(exchange.asker.message) is not type(request.message):
            return None
        exchange.repeats += 1
        if exchange.repeats > MAX_REPEATS:
            raise Refused("too_many_repeats")
        return exchange

    def answered(
        self, socket_addr: bytes, target_id: str | None, source: Address, *, encoded_anew: bool = False
    ) -> Answered:
        """What an answer from `source` belongs to; the exchange is pending until `finish`.

        `target_id` is the id that the answer names, None when its kind has none; `encoded_anew` tells
        that its kind has the asker's address, but not the bytes the server made. Raises Refused.
        """
        known = self._by_token.get(socket_addr)
        if known is not None and not encoded_anew and (target_id is None or known.target.id == target_id):
            return Answered(known, confirmed=True, proven=True)
        try:
            asker = unmangle(socket_addr)
        except MalformedAddress:
            raise Refused("malformed_address") from None
        for exchange in self._by_asker.get(asker, ()):
            named = target_id is None or exchange.target.id == target_id
            if named and (encoded_anew or is_ipv6(asker.host)):
                return self._answered_from(source, exchange)
        raise Refused("no_such_exchange")

    @staticmethod
    def _answered_from(source: Address, exchange: Exchange) -> Answered:
        """Without a nonce only its source tells whether an answer is the target's."""
        registered = exchange.target.address
        if registered is None:
            raise Refused("target_gone")
        proven = registered.host == source.host
        confirmed = proven or is_ipv6(registered.host) != is_ipv6(source.host)
        if exchange.provisional and not confirmed:
            raise Refused("answer_from_elsewhere")
        return Answered(exchange, confirmed, proven)

    def finish(self, answered: Answered, outcome: str, replies: Replies) -> None:
        """The asker gets `replies`: now when the answer is the target's own, else when no such answer comes.

        `outcome` is what the exchange is counted under.
        """
        exchange = answered.exchange
        if answered.confirmed:
            self._end(exchange, outcome, replies)
        else:
            exchange.provisional = outcome, replies
            self._grace.add(exchange)

    def _end(self, exchange: Exchange, outcome: str, replies: Replies) -> None:
        self._forget(exchange)
        exchange.outcomes.answered(outcome, self._clock.seconds() - exchange.asker.arrival)
        self._tell(exchange, outcome)
        exchange.result.callback(replies)

    def _expire(self, exchange: Exchange) -> None:
        if exchange.provisional is not None:
            self.log.debug(
                "{id} has answered only from an address it is not registered from", id=exchange.target.id
            )
            self._end(exchange, *exchange.provisional)
            return
        self._forget(exchange)
        exchange.outcomes.ended("timed_out")
        self._tell(exchange, "timed_out")
        exchange.result.errback(Refused("exchange_timed_out"))

    def _abandon(self, exchange: Exchange) -> None:
        """The asker has left, or asks for something else."""
        self._forget(exchange)
        exchange.outcomes.ended("abandoned")
        self._tell(exchange, "abandoned")

    def note(self, request: Request[Any], id: str, outcome: str) -> None:
        """A request for `id` has ended; who asks for the recent ones is told."""
        seconds = self._clock.seconds() - request.arrival
        kind = "relay" if isinstance(request.message, RequestRelay) else "punch"
        self.recent.append(Attempt(time.time(), request.source, id, outcome, seconds, kind))

    def _tell(self, exchange: Exchange, outcome: str) -> None:
        self.note(exchange.asker, exchange.target.id, outcome)
        self.log.debug(
            "{address} asked for {id}: {outcome}",
            address=exchange.asker.source,
            id=exchange.target.id,
            outcome=outcome,
        )

    def _forget(self, exchange: Exchange) -> None:
        host, target = exchange.asker.source.host, exchange.target.id
        del self._by_connection[exchange.asker.connection]
        self._by_token.pop(exchange.token, None)
        same_address = self._by_asker[exchange.asker.source]
        same_address.remove(exchange)
        if not same_address:
            del self._by_asker[exchange.asker.source]
        count_off(self._by_host, host)
        count_off(self._by_target, target)
        count_off(self._by_pair, (host, target))
        self._deadlines.discard(exchange)
        if exchange.provisional is not None:
            self._grace.discard(exchange)
