"""The total bandwidth: over any second from the first on, fair, for new sessions and changed rates, both paths."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from rendezvous.hbbr.bandwidth import SharedBandwidth
from tests.hbbr.driven import DrivenRelay, SocketClient
from tests.hbbr.load import MEGABIT, Load, flow
from tests.hbbr.relay_fixture import MemoryRelay, ask, say

ROOMY = 8 << 20
"""A window that never is the bottleneck."""
STEP = 0.01


@pytest.mark.parametrize("piece", [1400, 65536])
@pytest.mark.parametrize("sessions", [1, 4, 20, 100])
def test_the_total_holds_over_any_second_from_the_first_on(sessions: int, piece: int) -> None:
    """However many sessions begin at the same moment, in any second the total passes, to 5 % more or less."""
    relay = MemoryRelay(single=1024.0, total=128.0, max_waiting_per_address=500)
    flows = [flow(*relay.joined("tt", uuid=f"u{n}", window=ROOMY), piece) for n in range(sessions)]
    relay.advance(1)
    seconds = Load(relay, flows).run(3).seconds()
    assert max(seconds) <= 1.05 * 128 * MEGABIT
    assert min(seconds) >= 0.95 * 128 * MEGABIT


@pytest.mark.parametrize("sessions", [1, 4, 20, 100])
def test_the_total_holds_where_it_is_spliced(sessions: int) -> None:
    """The same for sessions whose bytes go through pipes; all get the same."""
    with DrivenRelay(single=1024.0, total=128.0, max_waiting_per_address=500) as relay:
        pairs = [relay.joined_too(f"u{number}") for number in range(sessions)]
        relay.clock.advance(1)
        passed = pour(relay, pairs, 3.0)
        assert max(passed) <= 1.05 * 128 * MEGABIT
        assert min(passed) >= 0.95 * 128 * MEGABIT
        counted = relay.relay_bytes()
        assert max(counted) - min(counted) <= 2 * 1024 * MEGABIT * 0.02


@pytest.mark.parametrize("kinds", ["tt", "tw", "ww"])
@pytest.mark.parametrize("how", ["finish", "reset", "server stops"])
def test_what_has_come_above_the_total_arrives_when_its_session_ends(kinds: str, how: str) -> None:
    """What many send at the same moment, before their sessions end, arrives."""
    relay = MemoryRelay(single=1024.0, total=1.0)
    pairs = [relay.joined(kinds, uuid=f"u{n}", window=ROOMY) for n in range(9)]
    for sender, _ in pairs:
        say(sender, bytes(20_000))
    relay.reactor.step()
    if how == "server stops":
        relay.relay.end_all()
    else:
        for sender, _ in pairs:
            getattr(sender, how)()
    for _ in range(50):
        relay.drain()
        relay.advance(0.1)
    assert [len(reader.received) >= 20_000 for _, reader in pairs] == [True] * 9
    for client in relay.clients:
        if not client.closed:
            client.reset()
    relay.advance(20)
    relay.check_nothing_left()


def test_early_bytes_above_the_total_come_before_their_end() -> None:
    """A side that has sent and finished before the other one came, while others take the total, loses nothing."""
    relay = MemoryRelay(single=1024.0, total=1.0)
    greedy, _ = relay.joined("tt", window=ROOMY)
    early, late = relay.stream(), relay.stream()
    ask(early, "early", behind=bytes(20_000))
    early.finish()
    relay.settle()
    greedy.send(bytes(60_000))
    relay.settle()
    ask(late, "early")
    relay.advance(10)
    relay.drain()
    assert len(late.received) == 20_000
    assert late.ended


def pour(relay: DrivenRelay, pairs: list[tuple[SocketClient, SocketClient]], seconds: float) -> list[int]:
    """All first sides send as fast as they may; what the relay passes in any second."""
    block, steps = bytes(1 << 20), [sum(relay.relay_bytes())]
    for _ in range(round(seconds / STEP)):
        for sender, reader in pairs:
            if len(sender.unsent) < len(block):
                sender.unsent += block
            reader.received.clear()
        for _ in range(4):
            relay.turn()
        relay.clock.advance(STEP)
        steps.append(sum(relay.relay_bytes()))
    width = round(1 / STEP)
    return [after - before for before, after in zip(steps, steps[width:], strict=False)]


def test_short_sessions_do_not_exceed_the_total() -> None:
    """Three hundred sessions a second, each new and soon over, share the total as others do."""
    relay = MemoryRelay(single=128.0, total=128.0)
    passed, readers = 0, []
    for step in range(300):
        for number in range(3):
            sender, reader = relay.joined("tt", uuid=f"{step}-{number}", window=ROOMY)
            sender.send(bytes(64_000))
            sender.finish()
            reader.finish()
            readers.append(reader)
        relay.advance(STEP)
        passed += sum(len(reader.take()) for reader in readers[-400:])
    assert 0.95 <= passed / (3 * 128 * MEGABIT) <= 1.05


def test_a_higher_total_wakes_who_waits_already() -> None:
    """The console's `tb` counts at once also for sessions that were paused by a very low total."""
    relay = MemoryRelay(single=128.0, total=128.0)
    flows = [flow(*relay.joined("tt", uuid=f"u{n}", window=ROOMY), 65536) for n in range(20)]
    load = Load(relay, flows)
    load.run(1)
    relay.type("tb 0.1")
    load.run(2)
    relay.type("tb 128")
    assert min(load.run(3).seconds()) >= 0.95 * 128 * MEGABIT


def test_a_session_beside_greedy_ones_waits_for_one_turn_at_most() -> None:
    """What a session sends that takes less than its share is not delayed by more than a piece of a greedy one."""
    relay = MemoryRelay(single=64.0, total=64.0)
    greedy = [flow(*relay.joined("tt", uuid=f"u{n}", window=ROOMY), 65536) for n in range(20)]
    small, reader = relay.joined("tt", uuid="small", window=ROOMY)
    load = Load(relay, greedy)
    load.run(1)
    for _ in range(50):
        small.send(bytes(800))
        load.run(0.04)
        assert len(reader.take()) == 800


def test_those_who_do_not_use_their_turn_hold_up_nobody() -> None:
    """A thousand who wait and then want nothing cost one who does a few milliseconds."""
    clock = Clock()
    total: SharedBandwidth[_User] = SharedBandwidth(1000.0, clock)
    silent, wants = [_User() for _ in range(1000)], _User()
    assert total.take(wants, 30, clock.seconds())
    for user in (*silent, wants):
        total.wait(user)
    clock.pump([0.001] * 25)
    assert wants.turns == 1


def test_who_leaves_is_forgotten_but_not_its_debt() -> None:
    """A user that is gone leaves no timer and no entry; what it took is paid for by who comes next."""
    clock = Clock()
    total: SharedBandwidth[_User] = SharedBandwidth(1000.0, clock)
    first, second = _User(), _User()
    assert total.take(first, 520, 0.0)
    total.wait(first)
    total.leave(first)
    assert clock.getDelayedCalls() == []
    assert total.in_debt
    total.wait(second)
    clock.advance(0.49)
    assert (first.turns, second.turns) == (0, 0)
    clock.advance(0.02)
    assert (first.turns, second.turns) == (0, 1)
    assert not total.busy
    assert clock.getDelayedCalls() == []


def test_many_who_wait_and_leave_leave_no_entries() -> None:
    """While the total is in debt for long, those who come and go take no memory."""
    total: SharedBandwidth[_User] = SharedBandwidth(1000.0, Clock())
    stays = _User()
    total.take(stays, 10**6, 0.0)
    total.wait(stays)
    for _ in range(1000):
        user = _User()
        total.take(user, 10**6, 0.0)
        total.wait(user)
        total.leave(user)
    assert len(total._queue) <= 3
    assert len(total._finish) == len(total._waiting) == 1


class _User:
    def __init__(self) -> None:
        self.turns = 0

    def turn_came(self) -> None:
        """See Turns."""
        self.turns += 1
