"""How often an address or an id may register."""

from __future__ import annotations

import pytest

from rendezvous.peers.limits import Recent, RegistrationLimits

HOST = "192.0.2.1"


@pytest.fixture
def limits() -> RegistrationLimits:
    """The limits by default."""
    return RegistrationLimits(32, 300, 3, 1000)


def register(limits: RegistrationLimits, host: str, id: str, now: float) -> bool:
    """Registers when it may be."""
    may = limits.address_may(host, id, now) and limits.id_may(id, now)
    if may:
        limits.accepted(host, id, now)
    return may


def test_32_registrations_from_an_address(limits: RegistrationLimits) -> None:
    """The 32nd of one address is accepted, and the 33rd is not."""
    assert [register(limits, HOST, f"id-{i}", i * 0.1) for i in range(40)] == [True] * 32 + [False] * 8


def test_address_may_again_after_a_pause(limits: RegistrationLimits) -> None:
    """A minute without an accepted registration, refused ones notwithstanding, begins a new count."""
    for i in range(32):
        register(limits, HOST, f"id-{i}", 0.0)
    assert not register(limits, HOST, "another", 30.0)
    assert not register(limits, HOST, "another", 60.9)
    assert [register(limits, HOST, f"id-{i}", 61.5) for i in range(33)] == [True] * 32 + [False]


def test_the_pause_counts_from_the_last_accepted_one(limits: RegistrationLimits) -> None:
    """Registrations that keep coming, each soon after the last, are one burst; a refused one is a pause."""
    times = [i * 60.0 for i in range(34)]
    assert [register(limits, HOST, f"id-{i}", now) for i, now in enumerate(times)] == [True] * 32 + [False, True]


def test_addresses_do_not_disturb_each_other(limits: RegistrationLimits) -> None:
    """An address that is refused does not keep others out."""
    for i in range(40):
        register(limits, HOST, f"id-{i}", 0.0)
    assert register(limits, "192.0.2.2", "fresh", 0.0)


def test_300_ids_in_a_day(limits: RegistrationLimits) -> None:
    """An address gets no 301st id within a day, however slowly it asks, and may have those it has."""
    times = [i * 62.0 for i in range(301)]
    assert [register(limits, HOST, f"id-{i}", now) for i, now in enumerate(times)] == [True] * 300 + [False]
    assert register(limits, HOST, "id-0", times[-1] + 62)
    assert not register(limits, HOST, "another", times[-1] + 124)


def test_new_ids_after_a_day(limits: RegistrationLimits) -> None:
    """After a day an address may have new ids."""
    for i in range(300):
        register(limits, HOST, f"id-{i}", i * 62.0)
    assert not register(limits, HOST, "another", 86399.0)
    assert register(limits, HOST, "another", 86400.5)


def test_three_registrations_of_an_id(limits: RegistrationLimits) -> None:
    """The third of one id is accepted, and the fourth is not, also from elsewhere."""
    assert [register(limits, HOST, "id", 0.0) for _ in range(4)] == [True] * 3 + [False]
    assert not register(limits, "192.0.2.2", "id", 0.0)


def test_id_may_again_after_7_seconds(limits: RegistrationLimits) -> None:
    """An id is refused until 7 s after the last accepted one, refused ones notwithstanding."""
    for _ in range(3):
        register(limits, HOST, "id", 10.0)
    assert [register(limits, HOST, "id", now) for now in (10.1, 14.0, 16.9)] == [False] * 3
    assert [register(limits, HOST, "id", 17.5) for _ in range(4)] == [True] * 3 + [False]


def test_refused_address_costs_the_id_nothing(limits: RegistrationLimits) -> None:
    """What an address was refused does not count against the id."""
    for i in range(32):
        register(limits, HOST, f"id-{i}", 0.0)
    for _ in range(10):
        assert not register(limits, HOST, "victim", 1.0)
    assert register(limits, "192.0.2.2", "victim", 1.0)


class TestRecent:
    """The mapping that forgets."""

    def test_forgets_the_one_unused_longest(self) -> None:
        """Above the limit the entry whose last use is oldest goes."""
        recent: Recent[str, list[str]] = Recent(2, list)
        recent.use("a").append("first")
        recent.use("b")
        recent.use("a").append("again")
        recent.use("c")
        assert [key for key, _ in recent.items()] == ["a", "c"]
        assert recent.get("a") == ["first", "again"]
        assert recent.get("b") is None

    def test_looking_is_no_use(self) -> None:
        """`get` makes nothing and keeps nothing."""
        recent: Recent[str, list[str]] = Recent(2, list)
        recent.use("a")
        recent.use("b")
        assert recent.get("a") == []
        assert recent.get("c") is None
        recent.use("d")
        assert [key for key, _ in recent.items()] == ["b", "d"]

    def test_pop(self) -> None:
        """A popped entry is gone; an unknown one need not be there."""
        recent: Recent[str, list[str]] = Recent(2, list)
        recent.use("a")
        recent.pop("a")
        recent.pop("unknown")
        assert len(recent) == 0

    def test_ids_of_all_addresses_are_bounded(self) -> None:
        """Many addresses with many ids each take no more room; those used last are remembered."""
        limits = RegistrationLimits(32, 20, 3, 100)
        for host in range(50):
            for i in range(20):
                assert register(limits, f"2001:db8::{host:x}", f"id-{host}-{i}", host + i * 0.01)
        assert sum(len(use.ids) for _, use in limits.addresses.items()) <= 100
        assert not limits.address_may("2001:db8::31", "another", 100 + 61)
        assert limits.address_may("2001:db8::31", "id-49-3", 100 + 61)

    def test_room_comes_back(self) -> None:
        """An address that is forgotten, or begins a new day, leaves room for the ids of others."""
        limits = RegistrationLimits(32, 5, 3, 100)
        for day in range(300):
            for i in range(5):
                register(limits, "192.0.2.1", f"id-{i}-{day}", day * 86401.0)
            limits.addresses.pop(f"192.0.2.{day}")
        for i in range(5):
            register(limits, "192.0.2.2", f"id-{i}", 300 * 86401.0)
        assert not limits.address_may("192.0.2.1", "another", 299 * 86401.0 + 100)

    def test_flood_of_keys_is_bounded(self) -> None:
        """However many keys come, no more than the limit are kept."""
        limits = RegistrationLimits(32, 300, 3, 100)
        for i in range(10000):
            register(limits, f"2001:db8::{i:x}", f"id-{i}", i * 0.001)
        assert len(limits.addresses) == 100
        assert sum(limits.id_may(f"id-{i}", 10.0) for i in range(10000)) == 10000
