"""The filter of known ids: never wrong about an unknown one, seldom unsure, and no larger than its ids ask for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rendezvous.peers import known_ids
from rendezvous.peers.known_ids import KnownIds


@given(st.lists(st.text(), max_size=50), st.text())
def test_what_was_added_is_never_unknown(ids: list[str], later: str) -> None:
    """Ids that are stored may be known, whenever they were added."""
    known = KnownIds(ids)
    known.add(later)
    assert all(id in known for id in [*ids, later])


def test_few_unknown_ids_can_not_be_told() -> None:
    """With a hundred thousand ids stored, fewer than one unknown id in five hundred costs a lookup."""
    known = KnownIds((f"known-{i}" for i in range(100_000)), expected=100_000)
    assert sum(f"unknown-{i}" in known for i in range(50_000)) < 100


def test_the_filter_is_as_large_as_is_expected() -> None:
    """Two million ids leave the filter as sharp as few do."""
    few, many = KnownIds(), KnownIds(expected=2_000_000)
    assert (few.size, many.size) == (2 << 20, 4 << 20)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """How many ids a filter has room for that expects none, here."""
    monkeypatch.setattr(known_ids, "_FEWEST_BITS", 1 << 16)
    return 1 << 12


@pytest.mark.parametrize("times", [1, 2, 10, 30])
def test_the_filter_grows_with_its_ids(small: int, times: int) -> None:
    """However many ids are added, all are known, few others may be, and memory is a few bytes for each."""
    known, ids = KnownIds(), [f"known-{i}" for i in range(times * small)]
    for id in ids:
        known.add(id)
    assert all(id in known for id in ids)
    assert sum(f"unknown-{i}" in known for i in range(50_000)) < 50_000 / 50
    assert known.size <= 5 * len(ids)


def test_the_filter_grows_by_ids_that_are_new(small: int) -> None:
    """An id that is added again and again takes no room."""
    known = KnownIds()
    for _ in range(3):
        for i in range(small - 1):
            known.add(f"known-{i}")
    assert known.size == KnownIds().size


def test_an_unfinished_filter_knows_everything() -> None:
    """Until all ids are added, any id may be known."""
    known = KnownIds(["first"], whole=False)
    known.add("second")
    assert "third" in known
    known.whole = True
    assert ["first" in known, "second" in known, "third" in known] == [True, True, False]
