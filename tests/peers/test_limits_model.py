"""The registration limits against a model that remembers everything."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rendezvous.peers.limits import RegistrationLimits

PER_ADDRESS, IDS_PER_ADDRESS, PER_ID, TRACKED = 4, 5, 2, 50

HOSTS = st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1"])
IDS = st.sampled_from([f"id-{i}" for i in range(9)])


class LimitsMachine(RuleBasedStateMachine):
    """Registers at random; the model counts over the whole history."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = RegistrationLimits(PER_ADDRESS, IDS_PER_ADDRESS, PER_ID, TRACKED)
        self.now = 0.0
        self.history: list[tuple[float, str, str]] = []

    def burst(self, times: list[float], pause: float) -> int:
        """How many of the last accepted ones came without a pause, up to now."""
        count, later = 0, self.now
        for time in reversed(times):
            if later - time > pause:
                break
            count, later = count + 1, time
        return count

    def ids_of_the_day(self, host: str) -> set[str]:
        """The ids of the day that began with the first registration after the day before."""
        began, ids = float("-inf"), set[str]()
        for time, source, id in self.history:
            if source == host:
                if time - began > 86400:
                    began, ids = time, set()
                ids.add(id)
        return ids if self.now - began <= 86400 else set()

    @rule(host=HOSTS, id=IDS)
    def register(self, host: str, id: str) -> None:
        """Both rules tell what the model tells."""
        from_host = [time for time, source, _ in self.history if source == host]
        of_id = [time for time, _, known in self.history if known == id]
        ids = self.ids_of_the_day(host)
        address_may = self.burst(from_host, 61) < PER_ADDRESS and (id in ids or len(ids) < IDS_PER_ADDRESS)
        id_may = self.burst(of_id, 7) < PER_ID
        assert self.limits.address_may(host, id, self.now) == address_may
        assert self.limits.id_may(id, self.now) == id_may
        if address_may and id_may:
            self.limits.accepted(host, id, self.now)
            self.history.append((self.now, host, id))

    @rule(seconds=st.sampled_from([0.5, 3.0, 6.5, 7.5, 30.0, 60.5, 61.5, 3600.0, 40000.0, 86401.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds

    @precondition(lambda self: len(self.history) > 0)
    @rule(id=IDS)
    def asking_changes_nothing(self, id: str) -> None:
        """Asking twice is asking once."""
        host = self.history[-1][1]
        first = (self.limits.address_may(host, id, self.now), self.limits.id_may(id, self.now))
        assert first == (self.limits.address_may(host, id, self.now), self.limits.id_may(id, self.now))

    @invariant()
    def bounded(self) -> None:
        """Memory is bounded, also that of one address."""
        assert len(self.limits.addresses) <= TRACKED
        assert all(len(use.ids) <= IDS_PER_ADDRESS for _, use in self.limits.addresses.items())


TestLimits = LimitsMachine.TestCase
TestLimits.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
