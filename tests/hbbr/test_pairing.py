"""Who waits for whom, against a model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from rendezvous.admission import Refused
from rendezvous.hbbr.pairing import Pairing
from tests.hbbr.relay_fixture import PROPERTY


class Half:
    """A connection that asked; equal only to itself."""


def pairing(most: int = 10, most_per_address: int = 10) -> Pairing[Half]:
    """Nobody waits yet."""
    return Pairing(most, most_per_address)


def test_the_second_with_a_uuid_gets_the_first() -> None:
    """Two connections with the same uuid belong together, and nobody waits afterwards."""
    halves, first = pairing(), Half()
    assert halves.join("u", first, "192.0.2.1") is None
    assert len(halves) == 1
    assert halves.join("u", Half(), "192.0.2.2") is first
    assert len(halves) == 0


def test_the_third_with_a_uuid_waits_for_a_fourth() -> None:
    """A third connection with the same uuid begins a new wait."""
    halves, third = pairing(), Half()
    halves.join("u", Half(), "192.0.2.1")
    halves.join("u", Half(), "192.0.2.2")
    assert halves.join("u", third, "192.0.2.3") is None
    assert halves.join("u", Half(), "192.0.2.4") is third


def test_an_expired_wait_does_not_evict_a_later_one() -> None:
    """The end of a wait that is over already leaves the one that took its uuid alone."""
    halves, first, second, third = pairing(), Half(), Half(), Half()
    halves.join("u", first, "192.0.2.1")
    halves.join("u", second, "192.0.2.2")
    halves.join("u", third, "192.0.2.3")
    halves.leave("u", first)
    halves.leave("u", second)
    assert len(halves) == 1
    assert halves.join("u", Half(), "192.0.2.4") is third


def test_one_that_left_is_not_found() -> None:
    """Who came after a wait's end waits in its turn."""
    halves, first = pairing(), Half()
    halves.join("u", first, "192.0.2.1")
    halves.leave("u", first)
    assert len(halves) == 0
    assert halves.join("u", Half(), "192.0.2.2") is None


def test_an_empty_uuid_is_refused() -> None:
    """Connections without a uuid are never joined."""
    halves = pairing()
    for _ in range(2):
        with pytest.raises(Refused, match=r"^empty_uuid$"):
            halves.join("", Half(), "192.0.2.1")
    assert len(halves) == 0


def test_all_waiting_halves_are_limited() -> None:
    """Above the limit a new wait is refused, but a wait that is on can end in a session."""
    halves, first = pairing(most=2), Half()
    halves.join("a", first, "192.0.2.1")
    halves.join("b", Half(), "192.0.2.2")
    with pytest.raises(Refused, match=r"^too_many_waiting$"):
        halves.join("c", Half(), "192.0.2.3")
    assert halves.join("a", Half(), "192.0.2.3") is first
    assert halves.join("c", Half(), "192.0.2.3") is None


def test_waiting_halves_of_an_address_are_limited() -> None:
    """One address can't take every place, and gets its places back when waits end."""
    halves, first, second = pairing(most_per_address=2), Half(), Half()
    halves.join("a", first, "192.0.2.1")
    halves.join("b", second, "192.0.2.1")
    with pytest.raises(Refused, match=r"^too_many_waiting_from_address$"):
        halves.join("c", Half(), "192.0.2.1")
    assert halves.join("c", Half(), "192.0.2.2") is None
    halves.leave("a", first)
    assert halves.join("d", Half(), "192.0.2.1") is None


@PROPERTY
@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_uuids_are_compared_exactly(one: str, other: str) -> None:
    """Only the same text is the same uuid."""
    halves, first = pairing(), Half()
    halves.join(one, first, "192.0.2.1")
    assert halves.join(other, Half(), "192.0.2.2") is (first if one == other else None)


class PairingModel(RuleBasedStateMachine):
    """The pairing beside a plain list of who waits."""

    most = 4
    most_per_address = 2

    def __init__(self) -> None:
        super().__init__()
        self.halves: Pairing[Half] = Pairing(self.most, self.most_per_address)
        self.waiting: list[tuple[str, Half, str]] = []
        self.known: list[tuple[str, Half]] = []

    @rule(uuid=st.sampled_from(["a", "b", "c", "d", "e", "f"]), host=st.sampled_from(["x", "y", "z"]))
    def join(self, uuid: str, host: str) -> None:
        """Somebody comes."""
        half = Half()
        partner = next((entry for entry in self.waiting if entry[0] == uuid), None)
        if partner is not None:
            self.waiting.remove(partner)
            assert self.halves.join(uuid, half, host) is partner[1]
        elif len(self.waiting) >= self.most:
            with pytest.raises(Refused, match=r"^too_many_waiting$"):
                self.halves.join(uuid, half, host)
        elif sum(entry[2] == host for entry in self.waiting) >= self.most_per_address:
            with pytest.raises(Refused, match=r"^too_many_waiting_from_address$"):
                self.halves.join(uuid, half, host)
        else:
            assert self.halves.join(uuid, half, host) is None
            self.waiting.append((uuid, half, host))
        self.known.append((uuid, half))

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """Somebody goes who came before, perhaps refused, joined or gone already."""
        uuid, half = data.draw(st.sampled_from(self.known))
        self.halves.leave(uuid, half)
        self.waiting = [entry for entry in self.waiting if entry[1] is not half]

    @invariant()
    def as_many_wait(self) -> None:
        """Nobody is forgotten, and nobody stays."""
        assert len(self.halves) == len(self.waiting)


def test_any_order_of_coming_and_going() -> None:
    """Whatever comes and goes in whatever order, the pairing does as the model."""
    run_state_machine_as_test(PairingModel, settings=PROPERTY)
