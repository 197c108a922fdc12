"""Ten thousand random sessions on real sockets end once each, and leave no descriptor, pipe, timer or count."""

from __future__ import annotations

import gc
import os
from collections import Counter
from random import Random

import pytest

from rendezvous.hbbr.session import Session
from rendezvous.wire.framing import encode_frame
from tests.hbbr.driven import DrivenRelay, SocketClient, open_pipes

SEED = 20_260_401
AT_ONCE = 20
KEY = "a key"
BLOCK = bytes(300_000)
SIZES = [0, 1, 100, 100, 1400, 1400, 40_000, 70_000, 300_000]
CLIENT_ENDS = ["finish", "finish", "close", "reset", "reset", "nothing", "garbage"]
SERVER_ENDS = ["nothing"] * 8 + ["block", "idle", "all", "limit"]
LONELY = ["waits", "leaves", "says nothing", "wrong key", "garbage", "no uuid", "blocked", "half a frame"]
COMMON = {"closed", "idle", "blocked", "server stops"}
REASONS = {"tt": {"finished"} | COMMON, "tw": {"finished", "frame too long"} | COMMON, "ww": COMMON}
"""Why sessions of each kind end."""


class CountedSessions(set[Session]):
    """The sessions of a relay, and how many there have been."""

    def __init__(self) -> None:
        super().__init__()
        self.joined = 0

    def add(self, session: Session) -> None:
        """Counts it."""
        assert session not in self
        self.joined += 1
        super().add(session)


class Sessions:
    """Makes random sessions, `AT_ONCE` together, and ends them at random."""

    def __init__(self, relay: DrivenRelay, seed: int) -> None:
        self.relay = relay
        self.counted = CountedSessions()
        relay.relay.sessions = self.counted
        self._chance = Random(seed)
        self._hosts = 0

    def run(self, kinds: str, sessions: int) -> None:
        """Runs `sessions` sessions of these kinds, and some clients beside them that never have one."""
        end = self.counted.joined + sessions
        while self.counted.joined < end:
            self._batch(kinds)

    def _batch(self, kinds: str) -> None:
        chance, relay = self._chance, self.relay
        relay.relay.limits.single = chance.choice([1e6, 1e6, 8.0])
        pairs = [self._pair(kinds, f"u{number}") for number in range(AT_ONCE)]
        lonely = [self._alone(chance.choice(kinds)) for _ in range(2)]
        self._turn(4)
        for _ in range(2):
            for pair in pairs:
                self._talk(pair)
            self._turn(chance.randint(0, 3))
        for pair in pairs:
            self._end(pair)
            self._turn(chance.randint(0, 1))
        self._turn(4)
        self._let_go([client for pair in pairs for client in pair] + lonely)

    def _turn(self, turns: int) -> None:
        for _ in range(turns):
            self.relay.turn()

    def _host(self) -> str:
        self._hosts += 1
        return f"127.{1 + self._hosts // 62_500}.{self._hosts // 250 % 250}.{1 + self._hosts % 250}"

    def _pair(self, kinds: str, uuid: str) -> tuple[SocketClient, SocketClient]:
        chance = self._chance
        first, second = (self.relay.connect(kind, host=self._host()) for kind in chance.sample(kinds, 2))
        for client in (first, second):
            early = bytes(chance.choice([0, 0, 0, 10, 50_000]))
            client.ask(uuid, KEY, behind=b"" if client.websocket else encode_frame(early))
            client.stalled = chance.random() < 0.2
        return first, second

    def _alone(self, kind: str) -> SocketClient:
        what, host = self._chance.choice(LONELY), self._host()
        if what == "blocked":
            self.relay.relay.blocklist.add(host)
        client = self.relay.connect(kind, host=host)
        if what in ("waits", "leaves"):
            client.ask("nobody", KEY)
        elif what == "wrong key":
            client.ask("nobody", "another")
        elif what == "no uuid":
            client.ask("", KEY)
        elif what == "garbage":
            client.send(b"\xff" * 100)
        elif what == "half a frame":
            client.send(b"\x01\x02")
        if what == "leaves":
            self._turn(2)
            client.reset()
        return client

    def _talk(self, pair: tuple[SocketClient, SocketClient]) -> None:
        for client in pair:
            size = self._chance.choice(SIZES)
            if size:
                client.say(BLOCK[:size])

    def _end(self, pair: tuple[SocketClient, SocketClient]) -> None:
        """Both sides and the server do something, all before the relay has seen any of it."""
        chance, relay = self._chance, self.relay
        for client in chance.sample(pair, 2):
            how = chance.choice(CLIENT_ENDS)
            if how == "garbage":
                client.send(b"\xff" * 50)
            elif how != "nothing":
                getattr(client, how)()
        how = chance.choice(SERVER_ENDS)
        if how == "block" and not pair[0].closed:
            relay.relay.blocklist.add(pair[0].socket.getsockname()[0])
            relay.relay.cut_blocked()
        elif how == "idle" and chance.random() < 0.1:
            relay.clock.advance(31)
        elif how == "all" and chance.random() < 0.1:
            relay.relay.end_all()
        elif how == "limit":
            relay.clock.advance(0.02)

    def _let_go(self, clients: list[SocketClient]) -> None:
        """Time passes until the relay has let go of all of them."""
        relay = self.relay
        for client in clients:
            client.stalled = self._chance.random() < 0.1
        relay.until(lambda: not relay.relay.sessions, "all sessions are over", pass_time=5.0)
        relay.forget(*clients)
        relay.relay.blocklist.remove("all")
        relay.until(lambda: relay.admission.connections == 0, "the relay has let go of everybody", pass_time=5.0)


def descriptors() -> list[str]:
    """What is open, without what listing it takes."""
    return sorted(os.listdir("/proc/self/fd"))


@pytest.mark.slow
@pytest.mark.parametrize(("kinds", "sessions"), [("tt", 6000), ("tw", 2500), ("ww", 1500)])
def test_many_random_sessions_leave_nothing(kinds: str, sessions: int) -> None:
    """Sessions that end in every way on both sides and by the server at the same moment end once, whole."""
    gc.collect()  # sockets of other tests
    with DrivenRelay(key=KEY, max_connections=10_000) as relay:
        at_rest, pipes = descriptors(), open_pipes()
        all_sessions = Sessions(relay, SEED)
        all_sessions.run(kinds, sessions)
        relay.check_nothing_left()
        assert descriptors() == at_rest
        assert open_pipes() == pipes
        joined = all_sessions.counted.joined
        assert joined >= sessions
        assert len(relay.usages) == joined
        assert len({(usage.first, usage.second) for usage in relay.usages}) == joined
        assert (len(relay.spliced) == joined) == (kinds == "tt")
        reasons = Counter(usage.why for usage in relay.usages)
        assert reasons.keys() == REASONS[kinds]
