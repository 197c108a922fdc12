"""How fast sessions may be: single, limited and total bandwidth, shares, downgrade, changes at run time."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rendezvous.address_lists import ListFile
from rendezvous.hbbr.bandwidth import TokenBucket
from rendezvous.wire.framing import encode_frame
from tests.hbbr.load import MEGABIT, Load, flow
from tests.hbbr.relay_fixture import PROPERTY, MemoryRelay, WsEnd

ROOMY = 8 << 20
"""A window that never is the bottleneck."""


@PROPERTY
@given(
    st.floats(1000, 1e9),
    st.lists(st.tuples(st.floats(0, 0.4), st.floats(0.0001, 0.01)), min_size=1, max_size=200),
)
def test_a_bucket_never_lets_more_through_than_its_rate(rate: float, use: list[tuple[float, float]]) -> None:
    """Whoever waits as told gets over any time the rate, and at most 5 % of a second and the last piece more."""
    bucket, now, taken = TokenBucket(rate, 0.0), 0.0, 0.0
    for pause, share in use:
        now += pause
        count = int(rate * share)
        taken += count
        wait = bucket.take(count, now)
        assert wait >= 0
        assert taken <= rate * (now + 0.05) + count + 1e-6 * rate
        now += wait
        assert taken <= rate * (now + 0.05) * (1 + 1e-9)


def test_a_bucket_that_is_not_reached_costs_no_wait() -> None:
    """Below the rate nothing ever waits."""
    bucket = TokenBucket(1000.0, 0.0)
    assert [bucket.take(10, now / 100) for now in range(1000)] == [0.0] * 1000


@pytest.mark.parametrize("piece", [1400, 65536])
@pytest.mark.parametrize(
    ("limits", "megabits"),
    [
        ({"single": 128.0, "total": 1024.0}, 128),
        ({"single": 128.0, "total": 64.0}, 64),
        ({"single": 128.0, "total": 1024.0, "limited": 32.0, "blacklist": ["192.0.2.2"]}, 32),
        ({"single": 128.0, "total": 1024.0, "limited": 32.0, "blacklist": ["192.0.2.1"]}, 32),
    ],
)
def test_rates_hold_over_any_second(limits: dict[str, object], megabits: int, piece: int) -> None:
    """Single, total and limited bandwidth: in any second what is allowed passes, to 5 % more or less."""
    relay = MemoryRelay(**limits)
    first, second = relay.joined("tt", window=ROOMY)
    seconds = Load(relay, [flow(first, second, piece)]).run(4).seconds()
    assert max(seconds) <= 1.05 * megabits * MEGABIT
    assert min(seconds) >= 0.95 * megabits * MEGABIT


def test_both_directions_count_together() -> None:
    """A session that sends both ways passes no more than one that sends one way."""
    relay = MemoryRelay(single=128.0)
    first, second = relay.joined("tt", window=ROOMY)
    seconds = Load(relay, [flow(first, second), flow(second, first)]).run(3).seconds()
    assert max(seconds) <= 1.05 * 128 * MEGABIT
    assert min(seconds) >= 0.95 * 128 * MEGABIT


def test_the_rate_holds_after_a_pause() -> None:
    """Silence saves nothing up."""
    relay = MemoryRelay(single=64.0)
    first, second = relay.joined("tt", window=ROOMY)
    load = Load(relay, [flow(first, second)])
    load.run(2)
    first.connection.inbound.clear()
    relay.advance(10)
    assert max(load.run(2).seconds()) <= 1.05 * 64 * MEGABIT


@pytest.mark.parametrize("sessions", [2, 5])
def test_sessions_share_the_total_evenly(sessions: int) -> None:
    """Sessions that could each use more get the same part of the total bandwidth."""
    relay = MemoryRelay(single=128.0, total=64.0)
    flows = [flow(*relay.joined("tt", uuid=f"u{n}", window=ROOMY)) for n in range(sessions)]
    load = Load(relay, flows)
    load.run(4)
    for rate in load.rates():
        assert rate == pytest.approx(64 * MEGABIT / sessions, rel=0.05)
    assert max(load.seconds()) <= 1.05 * 64 * MEGABIT


def test_sending_both_ways_gives_no_larger_share() -> None:
    """A session that is busy in both directions gets the same part of the total as one that is in one."""
    relay = MemoryRelay(single=128.0, total=64.0)
    one, other = relay.joined("tt", uuid="a", window=ROOMY), relay.joined("tt", uuid="b", window=ROOMY)
    rates = Load(relay, [flow(*one), flow(*one[::-1]), flow(*other)]).run(5).rates()
    assert rates[0] + rates[1] == pytest.approx(rates[2], rel=0.1)


def test_large_messages_give_no_larger_share() -> None:
    """A session of 1 MiB messages gets the same part of the total as one of a plain stream."""
    relay = MemoryRelay(single=128.0, total=64.0)
    mixed, plain = relay.joined("tw", uuid="a", window=ROOMY), relay.joined("tt", uuid="b", window=ROOMY)
    message = encode_frame(bytes(1 << 20))
    rates = Load(relay, [(*mixed, message), flow(*plain)]).run(10).rates()
    assert rates[0] == pytest.approx(rates[1], rel=0.25)


def test_a_small_session_is_not_starved() -> None:
    """A session that needs a hundredth of the total gets it beside greedy ones."""
    relay = MemoryRelay(single=128.0, total=64.0)
    greedy = [flow(*relay.joined("tt", uuid=f"u{n}", window=ROOMY), 65536) for n in range(4)]
    small, reader = relay.joined("tt", uuid="small", window=ROOMY)
    small.connection.coalesces = True
    load = Load(relay, greedy)
    load.run(1)
    for _ in range(100):
        small.send(bytes(800))
        load.run(0.01)
    load.run(0.5)
    assert len(reader.take()) == 80_000


@pytest.mark.parametrize("blacklisted", ["192.0.2.1", "192.0.2.2", "::ffff:192.0.2.2"])
def test_either_side_on_the_blacklist_makes_a_session_slow(blacklisted: str) -> None:
    """Both sides are looked up, in one spelling."""
    relay = MemoryRelay(single=16.0, limited=4.0, blacklist=[blacklisted])
    load = Load(relay, [flow(*relay.joined("tt", window=ROOMY))]).run(3)
    assert load.total() == pytest.approx(4 * MEGABIT, rel=0.1)


def test_a_long_greedy_session_is_limited_for_the_rest_of_its_life() -> None:
    """Above the threshold at the check a session gets the limited speed and keeps it."""
    relay = MemoryRelay(single=8.0, limited=2.0, start_check=20.0)
    load = Load(relay, [flow(*relay.joined("tt", window=ROOMY))], step=0.05)
    assert load.run(19).total() == pytest.approx(8 * MEGABIT, rel=0.05)
    load.run(3)
    assert load.run(5).total() == pytest.approx(2 * MEGABIT, rel=0.06)
    assert load.run(200).total() == pytest.approx(2 * MEGABIT, rel=0.06)


def test_a_long_modest_session_is_not_limited() -> None:
    """Below the threshold a session keeps its speed, however old it is."""
    relay = MemoryRelay(single=8.0, limited=2.0, start_check=20.0)
    first, second = relay.joined("tt", window=ROOMY)
    for _ in range(60):
        first.send(bytes(MEGABIT * 5))
        relay.advance(1)
        second.take()
    load = Load(relay, [flow(first, second)], step=0.05)
    assert load.run(5).total() == pytest.approx(8 * MEGABIT, rel=0.06)


def test_a_session_that_becomes_greedy_later_is_limited_then() -> None:
    """The average is looked at again after the first check."""
    relay = MemoryRelay(single=8.0, limited=2.0, start_check=5.0)
    first, second = relay.joined("tt", window=ROOMY)
    for _ in range(5):
        first.send(bytes(1000))
        relay.advance(2)
        second.take()
    load = Load(relay, [flow(first, second)], step=0.05)
    assert load.run(10).total() == pytest.approx(8 * MEGABIT, rel=0.06)
    load.run(30)
    assert load.run(5).total() == pytest.approx(2 * MEGABIT, rel=0.06)


def test_a_pause_made_by_the_limit_is_no_silence() -> None:
    """A session that the relay itself holds back for more than 30 s goes on afterwards."""
    relay = MemoryRelay(single=1.0)
    first, second = relay.joined("wt", window=ROOMY)
    assert isinstance(first, WsEnd)
    first.message(bytes(40 * MEGABIT))
    first.message(b"after")
    relay.advance(45)
    relay.drain()
    assert bytes(second.received[-5:]) == b"after"
    assert len(relay.relay.sessions) == 1


def test_single_bandwidth_changes_for_new_sessions() -> None:
    """The console's `sb` leaves running sessions alone."""
    relay = MemoryRelay(single=8.0)
    old = flow(*relay.joined("tt", uuid="old", window=ROOMY))
    relay.type("sb 2")
    new = flow(*relay.joined("tt", uuid="new", window=ROOMY))
    rates = Load(relay, [old, new]).run(4).rates()
    assert rates == [pytest.approx(8 * MEGABIT, rel=0.07), pytest.approx(2 * MEGABIT, rel=0.07)]


def test_limited_speed_changes_for_new_sessions() -> None:
    """The console's `ls` leaves running limited sessions alone."""
    relay = MemoryRelay(single=16.0, limited=8.0, blacklist=["192.0.2.1"])
    old = flow(*relay.joined("tt", uuid="old", window=ROOMY))
    relay.type("ls 2")
    new = flow(*relay.joined("tt", uuid="new", window=ROOMY))
    rates = Load(relay, [old, new]).run(4).rates()
    assert rates == [pytest.approx(8 * MEGABIT, rel=0.07), pytest.approx(2 * MEGABIT, rel=0.07)]


def test_total_bandwidth_changes_at_once() -> None:
    """The console's `tb` slows running sessions down, and up again, within a second."""
    relay = MemoryRelay(single=16.0, total=16.0)
    load = Load(relay, [flow(*relay.joined("tt", window=ROOMY))])
    assert load.run(2).total() == pytest.approx(16 * MEGABIT, rel=0.07)
    relay.type("tb 4")
    load.run(1)
    assert load.run(2).total() == pytest.approx(4 * MEGABIT, rel=0.07)
    relay.type("tb 16")
    load.run(1)
    assert load.run(2).total() == pytest.approx(16 * MEGABIT, rel=0.07)


def test_the_start_of_the_downgrade_check_changes_at_once() -> None:
    """The console's `t` counts for running sessions."""
    relay = MemoryRelay(single=8.0, limited=2.0, start_check=1800.0)
    load = Load(relay, [flow(*relay.joined("tt", window=ROOMY))], step=0.05)
    load.run(10)
    relay.type("t 5")
    load.run(2)
    assert load.run(5).total() == pytest.approx(2 * MEGABIT, rel=0.07)


@pytest.mark.parametrize(("before", "after", "megabits"), [("0.9", "0.1", 8), ("0.1", "0.9", 2)])
def test_the_downgrade_threshold_changes_for_new_sessions(before: str, after: str, megabits: int) -> None:
    """The console's `dt` does not change by what a running session is judged."""
    relay = MemoryRelay(single=8.0, limited=2.0, start_check=10.0)
    relay.type(f"dt {before}")
    first, second = relay.joined("tt", window=ROOMY)
    relay.type(f"dt {after}")
    for _ in range(12):
        first.send(bytes(4 * MEGABIT))
        relay.advance(1)
        second.take()
    load = Load(relay, [flow(first, second)], step=0.05)
    load.run(2)
    assert load.run(4).total() == pytest.approx(megabits * MEGABIT, rel=0.15)


def test_the_speed_of_a_downgraded_session_is_that_of_its_start() -> None:
    """A change of `ls` does not count for a session that runs already and is downgraded later."""
    relay = MemoryRelay(single=8.0, limited=2.0, start_check=10.0)
    load = Load(relay, [flow(*relay.joined("tt", window=ROOMY))], step=0.05)
    load.run(5)
    relay.type("ls 4")
    load.run(8)
    assert load.run(5).total() == pytest.approx(2 * MEGABIT, rel=0.07)


def test_the_blacklist_counts_for_running_sessions() -> None:
    """A session is limited within a second of either side's coming onto the list, and free again when it leaves."""
    relay = MemoryRelay(single=16.0, limited=2.0)
    load = Load(relay, [flow(*relay.joined("tt", window=ROOMY))])
    load.run(1)
    for host in ("192.0.2.1", "::ffff:192.0.2.2", "192.0.2.0/24"):
        relay.type(f"ba {host}|198.51.100.1")
        load.run(1)
        assert load.run(1).total() == pytest.approx(2 * MEGABIT, rel=0.07)
        relay.type(f"br {host}")
        load.run(1)
        assert load.run(1).total() == pytest.approx(16 * MEGABIT, rel=0.07)


def test_the_file_of_the_blacklist_counts_for_running_sessions(tmp_path: Path) -> None:
    """The same for what is written into the file."""
    path, relay = tmp_path / "blacklist.txt", MemoryRelay(single=16.0, limited=2.0)
    followed = ListFile(path, relay.reactor, relay.relay.look_up_listed)
    relay.relay.blacklist = followed.entries
    followed.startService()
    load = Load(relay, [flow(*relay.joined("tt", window=ROOMY))])
    for text, megabits in (("192.0.2.2\n", 2), ("# nobody\n", 16)):
        path.write_text(text, "ascii")
        load.run(1)
        assert load.run(1).total() == pytest.approx(megabits * MEGABIT, rel=0.07)
    followed.stopService()


def test_a_session_that_was_busy_for_long_is_not_freed_by_the_list() -> None:
    """What is limited for its greed stays so, whether its address comes onto the list and leaves it or not."""
    relay = MemoryRelay(single=8.0, limited=2.0, start_check=5.0)
    load = Load(relay, [flow(*relay.joined("tt", window=ROOMY))], step=0.05)
    load.run(8)
    for command in ("ba 192.0.2.1", "br all"):
        relay.type(command)
        load.run(1)
        assert load.run(3).total() == pytest.approx(2 * MEGABIT, rel=0.07)


def test_a_freed_session_does_not_wait_as_a_limited_one() -> None:
    """A large message that was taken while it was limited does not hold up a session that is free."""
    relay = MemoryRelay(single=64.0, limited=0.5, blacklist=["192.0.2.1"])
    first, second = relay.joined("wt", window=ROOMY)
    assert isinstance(first, WsEnd)
    first.message(bytes(4 * MEGABIT))
    relay.advance(1)
    relay.type("br all")
    first.message(b"after")
    relay.advance(0.2)
    relay.drain()
    assert bytes(second.received[-5:]) == b"after"
