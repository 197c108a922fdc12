"""The filter of known ids: never wrong about an unknown one, seldom unsure, and of fixed size."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

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


def test_the_filter_grows_with_what_is_expected() -> None:
    """Two million ids leave the filter as sharp as few do."""
    few, many = KnownIds(), KnownIds(expected=2_000_000)
    assert len(many._bytes) > len(few._bytes)
    assert len(few._bytes) == 2 << 20
