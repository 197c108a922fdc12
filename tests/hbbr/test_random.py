"""Random sessions against a simple model: what arrives is what was sent, in order, up to where it was cut."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from rendezvous.wire.framing import encode_frame
from tests.hbbr.memory import FarEnd
from tests.hbbr.relay_fixture import PROPERTY, MemoryRelay, WsEnd
from tests.hbbr.ws_wire import client_frame, close_frame, in_pieces

SIDE = st.integers(0, 1)
ACTION = st.one_of(
    st.tuples(st.just("send"), SIDE, st.sampled_from([0, 1, 50, 1000, 20_000, 70_000, 300_000])),
    st.tuples(st.just("send"), SIDE, st.integers(0, 5000)),
    st.tuples(st.just("take"), SIDE, st.sampled_from([1, 100, 5000, 1 << 20])),
    st.tuples(st.just("step"), SIDE, st.integers(1, 5)),
    st.tuples(st.just("wait"), SIDE, st.integers(1, 5)),
)
ENDING = st.tuples(st.sampled_from(["end", "cut"]), SIDE, st.just(0))
ACTIONS = st.lists(ACTION, max_size=25)


@dataclass
class Sent:
    """What one side has sent, as messages, and the chunks that it goes out in."""

    cuts: list[int]
    messages: list[bytes] = field(default_factory=list)
    ended: bool = False

    def chunks(self, data: bytes) -> list[bytes]:
        """`data` in the pieces of this side's network."""
        return in_pieces(data, self.cuts)


class Run:
    """One session that does what it is told, and what both sides should get."""

    def __init__(self, kinds: str, window: int, rate: float, cuts: list[int]) -> None:
        self.relay = MemoryRelay(single=rate)
        self.kinds = kinds
        self.pair = self.relay.joined(kinds, window=window)
        self.sent = (Sent(cuts), Sent(cuts))
        self.numbers = 0

    def do(self, action: tuple[str, int, int]) -> None:
        """Does one thing."""
        what, which, much = action
        if what == "step":
            for _ in range(much):
                self.relay.reactor.step()
        elif what == "wait":
            self.relay.advance(much / 5)
        elif what == "take":
            self.pair[which].take(much)
        elif not self.sent[which].ended:
            getattr(self, what)(which, much)

    def send(self, which: int, size: int) -> None:
        """A side sends a message of its own kind, numbered, in pieces."""
        client, sent = self.pair[which], self.sent[which]
        self.numbers += 1
        payload = (self.numbers.to_bytes(4, "big") * (size // 4 + 1))[:size]
        sent.messages.append(payload)
        data = client_frame(payload) if isinstance(client, WsEnd) else encode_frame(payload)
        for chunk in sent.chunks(data):
            client.send(chunk)

    def end(self, which: int, _: int) -> None:
        """A side ends its direction as its kind does."""
        client = self.pair[which]
        self.sent[which].ended = True
        if isinstance(client, WsEnd):
            client.send(close_frame())
        else:
            client.finish()

    def cut(self, which: int, _: int) -> None:
        """A side's connection breaks."""
        self.sent[which].ended = True
        self.pair[which].reset()

    def finish(self) -> None:
        """Lets both sides read until nothing more comes for 4 s."""
        quiet = 0
        while quiet < 8:
            before = [len(client.received) for client in self.pair]
            self.relay.drain(*self.pair)
            self.relay.advance(0.5)
            quiet = quiet + 1 if before == [len(client.received) for client in self.pair] else 0

    def check(self, which: int, *, whole: bool) -> None:
        """A side got what the other sent: all of it when `whole`, else the beginning."""
        client, sent = self.pair[which], self.sent[1 - which].messages
        if isinstance(client, WsEnd):
            assert client.inbox == (sent if whole else sent[: len(client.inbox)])
        else:
            stream, got = b"".join(map(encode_frame, sent)), bytes(client.received)
            assert got == (stream if whole else stream[: len(got)])
            if "w" in self.kinds and self.relay.relay.sessions:
                assert client.held == 0

    def clean_up(self) -> None:
        """Whatever state the session is in, cutting both sides leaves nothing."""
        for client in self.pair:
            if not client.closed:
                FarEnd.reset(client)
        self.relay.settle()
        self.relay.advance(20)
        for client in self.pair:
            client.take()
        self.relay.check_nothing_left()


KINDS = st.sampled_from(["tt", "tw", "wt", "ww"])
WINDOWS = st.sampled_from([500, 5000, 200_000])
RATES = st.sampled_from([1e6, 1e6, 4.0])
CUTS = st.lists(st.integers(1, 5000), max_size=6)


@settings(PROPERTY, max_examples=150)
@given(KINDS, WINDOWS, RATES, CUTS, ACTIONS)
def test_everything_arrives_in_order(
    kinds: str, window: int, rate: float, cuts: list[int], actions: list[tuple[str, int, int]]
) -> None:
    """With random chunks, stalls and pauses, and a bandwidth limit or none, both sides get everything."""
    run = Run(kinds, window, rate, cuts)
    for action in actions:
        run.do(action)
    run.finish()
    run.check(0, whole=True)
    run.check(1, whole=True)
    assert len(run.relay.relay.sessions) == 1
    run.clean_up()


@settings(PROPERTY, max_examples=150)
@given(WINDOWS, RATES, CUTS, ACTIONS, SIDE, ACTIONS, st.booleans())
def test_streams_that_end_in_any_order_arrive_whole(
    window: int,
    rate: float,
    cuts: list[int],
    before: list[tuple[str, int, int]],
    first: int,
    between: list[tuple[str, int, int]],
    both: bool,
) -> None:
    """TCP sides that end one after the other, with anything in between, lose no byte of either direction."""
    run = Run("tt", window, rate, cuts)
    for action in [*before, ("end", first, 0), *between, *([("end", 1 - first, 0)] if both else [])]:
        run.do(action)
    run.finish()
    run.check(0, whole=True)
    run.check(1, whole=True)
    assert run.pair[1 - first].ended
    assert run.pair[first].ended == both
    run.clean_up()


@settings(PROPERTY, max_examples=200)
@given(KINDS, WINDOWS, RATES, CUTS, ACTIONS, st.lists(st.one_of(ENDING, ACTION), min_size=1, max_size=12))
def test_a_session_that_is_cut_delivers_a_beginning(
    kinds: str,
    window: int,
    rate: float,
    cuts: list[int],
    before: list[tuple[str, int, int]],
    after: list[tuple[str, int, int]],
) -> None:
    """However a session is cut, what arrived is the beginning of what was sent, and nothing is left."""
    run = Run(kinds, window, rate, cuts)
    for action in [*before, *after]:
        run.do(action)
    run.finish()
    run.check(0, whole=False)
    run.check(1, whole=False)
    run.clean_up()
