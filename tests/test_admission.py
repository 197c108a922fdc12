"""How often something may happen."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from rendezvous.admission import Pace


def test_a_burst_and_then_a_pace() -> None:
    """A burst is allowed, then one for each part of a second, and after a pause a burst again."""
    pace = Pace(3, 2.0)
    assert [pace.allows(1000.0) for _ in range(5)] == [True] * 3 + [False] * 2
    assert [pace.allows(1000.0 + n * 0.25) for n in range(1, 9)] == [False, True] * 4
    assert [pace.allows(2000.0) for _ in range(5)] == [True] * 3 + [False] * 2


@given(st.lists(st.floats(0, 3), min_size=1, max_size=60), st.integers(1, 5), st.floats(0.1, 5))
@settings(deadline=None)
def test_never_more_than_the_pace(waits: list[float], burst: int, per_second: float) -> None:
    """No more is allowed than the burst and what the time is good for, and no less than the burst."""
    pace, now, allowed = Pace(burst, per_second), 5.0, 0
    start = now + waits[0]
    for wait in waits:
        now += wait
        could = allowed < burst
        may = pace.allows(now)
        assert may or not could
        allowed += may
        assert allowed <= burst + (now - start) * per_second + 1e-6
