"""The splicing path against the copying path: real sockets, the same script, the same outcome.

A script is random; hypothesis makes it from a fixed seed and shrinks the one that fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.hbbr.driven import DrivenRelay, SocketClient, open_pipes
from tests.hbbr.relay_fixture import PROPERTY

CONTENT = Random(5).randbytes(4 << 20)
SIDE = st.integers(0, 1)
SIZE = st.sampled_from([1, 100, 1400, 33_000, 70_000, 300_000, 1_500_000])
Action = tuple[str, int, int]
ACTION: st.SearchStrategy[Action] = st.one_of(
    st.tuples(st.just("send"), SIDE, SIZE),
    st.tuples(st.just("send"), SIDE, st.integers(1, 100_000)),
    st.tuples(st.just("piece"), SIDE, st.sampled_from([700, 1400, 20_000, 1 << 18])),
    st.tuples(st.just("stall"), SIDE, st.just(0)),
    st.tuples(st.just("read"), SIDE, st.just(0)),
    st.tuples(st.just("turn"), SIDE, st.integers(1, 30)),
    st.tuples(st.just("settle"), SIDE, st.just(0)),
)
ACTIONS = st.lists(ACTION, max_size=14)


@dataclass
class Network:
    """What the sockets are like: bytes of the relay's and the clients' buffers, 0 for the kernel's choice."""

    relay_buffer: int
    client_buffer: int
    rate: float
    """Mbit/s of the session."""


NETWORK = st.builds(
    Network,
    st.sampled_from([0, 16_384, 200_000]),
    st.sampled_from([0, 16_384, 200_000]),
    st.sampled_from([1e6, 1e6, 1e6, 200.0]),
)


@dataclass
class Outcome:
    """How a session went."""

    received: list[bytes] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    counted: tuple[int, int] = (0, 0)
    peak: int = 0
    why: str = ""


class Run:
    """One session over one of the two paths that does what a script tells."""

    def __init__(
        self, network: Network, early: tuple[int, int], ends: tuple[str, str] = ("", ""), *, spliced: bool
    ) -> None:
        self.relay = DrivenRelay(spliced=spliced, buffer=network.relay_buffer, single=network.rate)
        self._early = early
        self._ends = ends
        self._buffer = network.client_buffer
        self._spliced = spliced
        self._at = [0, 1 << 20]
        self.outcome = Outcome(sent=[b"", b""])

    def __enter__(self) -> Run:
        self.relay.__enter__()
        clients = [self.relay.connect(buffer=self._buffer) for _ in range(2)]
        self.clients: tuple[SocketClient, SocketClient] = clients[0], clients[1]
        for which, client in enumerate(self.clients):
            client.ask("u1", behind=self._next(which, self._early[which]))
            if how := self._ends[which]:
                getattr(client, how)()
            if not which:
                self.until(lambda: len(self.relay.pairing) == 1, "the first one waits")
        self.until(lambda: bool(self.relay.relay.sessions or self.relay.usages), "they are joined")
        assert len(self.relay.spliced) == self._spliced
        return self

    def __exit__(self, *exception: object) -> None:
        self.relay.__exit__(*exception)  # type: ignore[arg-type]

    def _next(self, which: int, size: int) -> bytes:
        data = CONTENT[self._at[which] : self._at[which] + size]
        self._at[which] = (self._at[which] + size) % (2 << 20)
        self.outcome.sent[which] += data
        return data

    def do(self, action: Action) -> None:
        """Does one thing."""
        what, which, much = action
        client = self.clients[which]
        if what == "send":
            client.send(self._next(which, much))
        elif what == "piece":
            client.piece = much
        elif what in ("stall", "read"):
            client.stalled = what == "stall"
        elif what == "turn":
            for _ in range(much):
                self.relay.turn()
        else:
            self.relay.settle()

    def until(self, true: Callable[[], bool], what: str) -> None:
        """Lets a little time pass in each turn, so that a limited session goes on."""
        self.relay.until(true, what, pass_time=0.001)

    def arrived(self, which: int) -> bool:
        """Whether a side has everything that the other has sent."""
        return len(self.clients[which].received) >= len(self.outcome.sent[1 - which])

    def drain(self) -> None:
        """Everything arrives, and every end behind it."""
        for client in self.clients:
            client.stalled = False
            client.piece = 1 << 18
        self.until(lambda: self.arrived(0) and self.arrived(1), "everything has arrived")

    def over(self) -> Outcome:
        """Waits for the end; returns how it went."""
        relay = self.relay
        self.until(lambda: len(relay.usages) == 1 and not relay.relay.sessions, "the session is over")
        self.until(lambda: all(c.ended or c.closed for c in self.clients), "both sides have seen the end")
        for client in self.clients:
            client.close()
        relay.check_nothing_left()
        (usage,) = relay.usages
        self.outcome.received = [bytes(client.received) for client in self.clients]
        self.outcome.counted = usage.bytes_from_first, usage.bytes_from_second
        self.outcome.peak = usage.peak
        self.outcome.why = usage.why
        return self.outcome


def compare(
    drive: Callable[[Run], Outcome],
    network: Network,
    early: tuple[int, int],
    ends: tuple[str, str] = ("", ""),
) -> tuple[Outcome, Outcome]:
    """The outcome of the same script on the copying and on the splicing path."""
    outcomes = []
    for spliced in (False, True):
        with Run(network, early, ends, spliced=spliced) as run:
            outcomes.append(drive(run))
    return outcomes[0], outcomes[1]


def is_beginning(outcome: Outcome, which: int) -> bool:
    """Whether what a side got is the beginning of what was sent, and counted as it should be."""
    got, sent = outcome.received[which], outcome.sent[1 - which]
    return sent.startswith(got) and len(got) <= outcome.counted[1 - which] <= len(sent)


EARLY = st.tuples(st.sampled_from([0, 0, 10, 60_000]), st.sampled_from([0, 0, 10, 200_000]))


def end_in_order(actions: list[Action], first: int, between: list[Action], run: Run) -> Outcome:
    """Actions, one side finishes, the other one goes on and finishes too."""
    for action in actions:
        run.do(action)
    run.clients[first].finish()
    for what, which, much in between:
        if what != "send" or which != first:
            run.do((what, which, much))
    run.drain()
    run.until(lambda: run.clients[1 - first].ended, "the end has come")
    assert run.relay.relay.sessions
    assert not run.clients[first].ended
    run.do(("send", 1 - first, 40_000))
    run.clients[1 - first].finish()
    run.drain()
    return run.over()


@settings(PROPERTY, max_examples=60)
@given(NETWORK, EARLY, ACTIONS, SIDE, ACTIONS)
def test_orderly_ends(
    network: Network, early: tuple[int, int], actions: list[Action], first: int, between: list[Action]
) -> None:
    """Both paths deliver everything and keep the half-close, and count and name the end alike."""
    copied, spliced = compare(partial(end_in_order, actions, first, between), network, early)
    assert spliced == copied
    assert spliced.why == "finished"
    assert spliced.received == spliced.sent[::-1]
    assert spliced.counted == (len(spliced.sent[0]), len(spliced.sent[1]))


def finish_both(actions: list[Action], first: int, run: Run) -> Outcome:
    """Actions, and both sides finish at once, whatever is on its way."""
    for action in actions:
        run.do(action)
    for which in (first, 1 - first):
        run.clients[which].finish()
    run.drain()
    return run.over()


@settings(PROPERTY, max_examples=30)
@given(NETWORK, EARLY, ACTIONS, SIDE)
def test_both_finish_at_once(network: Network, early: tuple[int, int], actions: list[Action], first: int) -> None:
    """Sides that finish together while bytes are on their way get them all on both paths."""
    copied, spliced = compare(partial(finish_both, actions, first), network, early)
    assert spliced == copied
    assert spliced.why == "finished"
    assert spliced.received == spliced.sent[::-1]


def cut(actions: list[Action], cutter: int, half_closed: int, settled: bool, run: Run) -> Outcome:
    """Actions, perhaps a half-close, and a reset of one side, while bytes are on their way unless `settled`."""
    for action in actions:
        run.do(action)
    if half_closed:
        run.clients[1 - cutter].finish()
    if settled:
        run.drain()
    run.clients[cutter].reset()
    run.clients[1 - cutter].stalled = False
    return run.over()


@settings(PROPERTY, max_examples=60)
@given(NETWORK, EARLY, ACTIONS, SIDE, SIDE)
def test_resets(
    network: Network, early: tuple[int, int], actions: list[Action], cutter: int, half_closed: int
) -> None:
    """After a reset both paths end alike; what arrived is a beginning, and all of what was read arrives."""
    for outcome in compare(partial(cut, actions, cutter, half_closed, False), network, early):
        assert outcome.why == "closed"
        assert is_beginning(outcome, 0)
        assert is_beginning(outcome, 1)
        assert len(outcome.received[1 - cutter]) == outcome.counted[cutter]


@settings(PROPERTY, max_examples=30)
@given(NETWORK, EARLY, ACTIONS, SIDE, SIDE)
def test_resets_of_quiet_sessions(
    network: Network, early: tuple[int, int], actions: list[Action], cutter: int, half_closed: int
) -> None:
    """A reset after everything has arrived has the same outcome to the byte."""
    copied, spliced = compare(partial(cut, actions, cutter, half_closed, True), network, early)
    assert spliced == copied
    assert spliced.why == "closed"
    assert spliced.received == spliced.sent[::-1]


def close(actions: list[Action], closer: int, answer: int, run: Run) -> Outcome:
    """Actions, one side closes both directions, and the other one, when it sees that, answers or not."""
    for action in actions:
        run.do(action)
    run.clients[closer].close()
    other = run.clients[1 - closer]
    other.stalled = False
    run.until(lambda: other.ended or not run.relay.relay.sessions, "the end has come")
    if answer:
        other.send(run._next(1 - closer, answer))
    other.finish()
    return run.over()


@settings(PROPERTY, max_examples=40)
@given(NETWORK, EARLY, ACTIONS, SIDE, st.sampled_from([0, 10, 200_000]))
def test_closes_on_the_way(
    network: Network, early: tuple[int, int], actions: list[Action], closer: int, answer: int
) -> None:
    """A side that closes while bytes are on their way ends the session; what arrived is a beginning."""
    for outcome in compare(partial(close, actions, closer, answer), network, early):
        assert outcome.why in ("closed", "finished")
        assert is_beginning(outcome, 0)
        assert is_beginning(outcome, 1)


def close_quietly(actions: list[Action], closer: int, run: Run) -> Outcome:
    """Actions; when everything has arrived one side closes, and then the other one."""
    for action in actions:
        run.do(action)
    run.drain()
    run.clients[closer].close()
    other = run.clients[1 - closer]
    run.until(lambda: other.ended, "the end has come")
    other.close()
    return run.over()


@settings(PROPERTY, max_examples=30)
@given(NETWORK, EARLY, ACTIONS, SIDE)
def test_closes_of_quiet_sessions(
    network: Network, early: tuple[int, int], actions: list[Action], closer: int
) -> None:
    """Sides that close one after the other, as most clients do, have the same outcome to the byte."""
    copied, spliced = compare(partial(close_quietly, actions, closer), network, early)
    assert spliced == copied
    assert spliced.why == "finished"
    assert spliced.received == spliced.sent[::-1]


@settings(PROPERTY, max_examples=40)
@given(
    NETWORK,
    st.tuples(st.sampled_from([10, 60_000]), st.sampled_from([0, 10, 60_000, 200_000])),
    st.sampled_from(["", "finish"]),
    st.sampled_from(["", "finish", "reset"]),
)
def test_ends_before_the_sides_are_joined(
    network: Network, early: tuple[int, int], first: str, second: str
) -> None:
    """Sides that end right behind their first frames have what they sent passed on alike."""
    copied, spliced = compare(partial(end_what_goes_on, first, second), network, early, (first, second))
    assert copied.why == spliced.why == ("closed" if second == "reset" else "finished")
    if second == "reset":
        for outcome in (copied, spliced):
            assert is_beginning(outcome, 0)
            assert len(outcome.received[0]) == outcome.counted[1]
    else:
        assert spliced == copied
        assert spliced.received == spliced.sent[::-1]


def end_what_goes_on(first: str, second: str, run: Run) -> Outcome:
    """Sides that have not ended yet finish now."""
    for client, how in zip(run.clients, (first, second), strict=True):
        if not how:
            client.finish()
    return run.over()


def test_bulk_is_spliced() -> None:
    """Bulk flows through a pipe where the fast path is on, and small writes do not."""
    for spliced in (False, True):
        with Run(Network(0, 0, 1e6), (0, 0), spliced=spliced) as run:
            before = len(open_pipes())
            run.do(("send", 0, 100))
            run.drain()
            assert len(open_pipes()) == before
            for which in (0, 1):
                run.do(("send", which, 1_500_000))
                run.drain()
                assert len(open_pipes()) == before + spliced * 2
            end_what_goes_on("", "", run)
            assert len(open_pipes()) == before


def test_limited_sessions_are_as_slow() -> None:
    """At 16 MiB/s two mebibytes each way, together, take a quarter of a second over both paths."""
    for spliced in (False, True):
        with Run(Network(0, 0, 128.0), (0, 0), spliced=spliced) as run:
            for which in (0, 1):
                run.do(("send", which, 1 << 21))
            run.drain()
            assert 0.22 < run.relay.clock.seconds() < 0.3
