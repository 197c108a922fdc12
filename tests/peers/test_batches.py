"""Lookups that share a query, and writes that share a commit."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from rendezvous.peers.batches import Commits, Lookups, QueueFull, StoreFailed
from rendezvous.peers.store import PeerRecord
from tests.peers.memory_store import MemoryPeerStore


def record(id: str, uuid: bytes = b"machine", pk: bytes = b"key") -> PeerRecord:
    """A record whose rest does not matter."""
    return PeerRecord(id, uuid, pk, "192.0.2.1")


class Outcome:
    """What became of a Deferred."""

    def __init__(self, deferred: Deferred[Any]) -> None:
        self.results: list[Any] = []
        self.errors: list[type[BaseException]] = []
        deferred.addCallbacks(self.results.append, lambda reason: self.errors.append(reason.type))

    @property
    def pending(self) -> bool:
        """Whether nothing has happened yet."""
        return not self.results and not self.errors


@pytest.fixture
def store() -> MemoryPeerStore:
    """A store that a test may hold back."""
    return MemoryPeerStore(record("ada"), record("ben"))


@pytest.fixture
def clock() -> Clock:
    """The time."""
    return Clock()


class TestLookups:
    """Reading."""

    def test_lookups_of_a_moment_share_a_query(self, store: MemoryPeerStore, clock: Clock) -> None:
        """Several ids, some asked for twice, are one query that names each once."""
        lookups = Lookups(store, clock, 100)
        outcomes = {id: Outcome(lookups.find(id)) for id in ("ada", "ben", "nobody")}
        again = Outcome(lookups.find("ada"))
        assert store.loads == []
        clock.advance(0.01)
        assert store.loads == [["ada", "ben", "nobody"]]
        assert outcomes["ada"].results == again.results == [record("ada")]
        assert outcomes["ben"].results == [record("ben")]
        assert outcomes["nobody"].results == [None]

    def test_a_moment_is_short(self, store: MemoryPeerStore, clock: Clock) -> None:
        """Gathering takes a few milliseconds at most."""
        lookups = Lookups(store, clock, 100)
        found = Outcome(lookups.find("ada"))
        clock.advance(0.005)
        assert found.results == [record("ada")]

    def test_one_query_at_a_time(self, store: MemoryPeerStore, clock: Clock) -> None:
        """What is asked for during a query waits, and goes together into the next."""
        lookups = Lookups(store, clock, 100)
        store.holding = True
        first = Outcome(lookups.find("ada"))
        clock.advance(1)
        second, third = Outcome(lookups.find("ben")), Outcome(lookups.find("nobody"))
        clock.advance(1)
        assert store.held == 1
        store.release()
        assert first.results == [record("ada")]
        clock.advance(1)
        assert second.pending
        store.release()
        assert (second.results, third.results) == ([record("ben")], [None])
        assert store.loads == [["ada"], ["ben", "nobody"]]

    def test_same_id_during_its_query_sees_a_later_state(self, store: MemoryPeerStore, clock: Clock) -> None:
        """An id asked for again while it is being looked up is answered at the latest by the next query."""
        lookups = Lookups(store, clock, 100)
        store.holding = True
        first = Outcome(lookups.find("new"))
        clock.advance(1)
        second = Outcome(lookups.find("new"))
        store.release()
        store.records["new"] = record("new")
        clock.advance(1)
        store.release()
        assert (first.results, second.results) == ([None], [record("new")])

    def test_queue_full(self, store: MemoryPeerStore, clock: Clock) -> None:
        """Above the limit whoever asks fails at once, whatever the id; later ones are found."""
        lookups = Lookups(store, clock, 3)
        waiting = [Outcome(lookups.find(id)) for id in ("ada", "ben", "ada")]
        for id in ("third", "ada"):
            assert Outcome(lookups.find(id)).errors == [QueueFull]
        clock.advance(1)
        assert [outcome.pending for outcome in waiting] == [False] * 3
        third = Outcome(lookups.find("third"))
        clock.advance(1)
        assert third.results == [None]

    def test_queue_full_while_the_store_is_slow(self, store: MemoryPeerStore, clock: Clock) -> None:
        """A query that hangs does not let an unbounded number of ids wait."""
        lookups = Lookups(store, clock, 10)
        store.holding = True
        lookups.find("ada")
        clock.advance(1)
        outcomes = [Outcome(lookups.find(f"unknown-{i}")) for i in range(1000)]
        assert sum(outcome.pending for outcome in outcomes) <= 10
        assert {error for outcome in outcomes for error in outcome.errors} == {QueueFull}

    def test_failed_query(self, store: MemoryPeerStore, clock: Clock) -> None:
        """A query that fails fails its ids, and the next is tried."""
        lookups = Lookups(store, clock, 100)
        store.holding = True
        failing = [Outcome(lookups.find(id)) for id in ("ada", "ada", "ben")]
        clock.advance(1)
        later = Outcome(lookups.find("ada"))
        store.fail()
        assert [outcome.errors for outcome in failing] == [[StoreFailed]] * 3
        clock.advance(1)
        store.release()
        assert later.results == [record("ada")]

    def test_lookup_from_within_an_answer(self, store: MemoryPeerStore, clock: Clock) -> None:
        """An answer may ask for the next id."""
        lookups = Lookups(store, clock, 100)
        nested: list[Outcome] = []
        lookups.find("ada").addCallback(lambda _: nested.append(Outcome(lookups.find("ben"))))
        clock.advance(1)
        clock.advance(1)
        assert nested[0].results == [record("ben")]


class TestCommits:
    """Writing."""

    def test_saved_when_on_disk(self, store: MemoryPeerStore) -> None:
        """A save fires after its commit, not before."""
        commits = Commits(store, Clock(), 100)
        store.holding = True
        saved = Outcome(commits.save(record("new")))
        assert saved.pending
        store.release()
        assert saved.results == [True]
        assert store.records["new"] == record("new")

    def test_what_comes_during_a_commit_shares_the_next(self, store: MemoryPeerStore) -> None:
        """One commit runs at a time; all that came meanwhile is one commit."""
        commits = Commits(store, Clock(), 100)
        store.holding = True
        first = Outcome(commits.save(record("1")))
        others = [Outcome(commits.save(record(id))) for id in ("2", "3", "4")]
        assert store.held == 1
        store.release()
        assert first.results == [True]
        assert [outcome.pending for outcome in others] == [True] * 3
        assert store.held == 1
        store.release()
        assert [outcome.results for outcome in others] == [[True]] * 3
        assert [[r.id for r in batch] for batch in store.saves] == [["1"], ["2", "3", "4"]]

    def test_failed_commit_fails_exactly_its_rows(self, store: MemoryPeerStore) -> None:
        """The rows of a failed commit fail, and those of the next are written."""
        commits = Commits(store, Clock(), 100)
        store.holding = True
        first = Outcome(commits.save(record("1")))
        second, third = Outcome(commits.save(record("2"))), Outcome(commits.save(record("3")))
        store.release()
        fourth = Outcome(commits.save(record("4")))
        store.fail()
        assert first.results == [True]
        assert (second.errors, third.errors) == ([StoreFailed], [StoreFailed])
        assert fourth.pending
        store.release()
        assert fourth.results == [True]
        assert {"1", "4"} <= set(store.records)
        assert not {"2", "3"} & set(store.records)

    def test_queue_full(self, store: MemoryPeerStore) -> None:
        """Above the limit all that wait fail at once, also those of an id that is waiting already."""
        commits = Commits(store, Clock(), 3)
        store.holding = True
        accepted = [Outcome(commits.save(record(id))) for id in ("running", "1", "2", "1")]
        refused = [Outcome(commits.save(record(id))) for id in ("3", "1")]
        assert [outcome.errors for outcome in refused] == [[QueueFull]] * 2
        store.release()
        store.release()
        assert [outcome.results for outcome in accepted] == [[True]] * 4
        again = Outcome(commits.save(record("3")))
        store.release()
        assert again.results == [True]

    def test_latest_record_of_a_machine_wins(self, store: MemoryPeerStore) -> None:
        """Of two records of one machine in the same commit, the later one is written."""
        commits = Commits(store, Clock(), 100)
        store.holding = True
        commits.save(record("running"))
        outcomes = [Outcome(commits.save(record("id", pk=pk))) for pk in (b"1", b"2")]
        store.release()
        store.release()
        assert [outcome.results for outcome in outcomes] == [[True], [True]]
        assert store.records["id"].pk == b"2"

    def test_two_machines_want_one_id(self, store: MemoryPeerStore) -> None:
        """Of two machines in the same commit, the first one's record is written."""
        commits = Commits(store, Clock(), 100)
        store.holding = True
        commits.save(record("running"))
        outcomes = [Outcome(commits.save(record("id", uuid=uuid))) for uuid in (b"first", b"second")]
        store.release()
        store.release()
        assert [outcome.results for outcome in outcomes] == [[True], [False]]
        assert store.records["id"].uuid == b"first"

    def test_whoever_came_late_hears_of_a_failed_commit(self, store: MemoryPeerStore) -> None:
        """A machine that wants an id of a commit that fails is told of the failure, not that the id is taken."""
        commits = Commits(store, Clock(), 100)
        store.holding = True
        commits.save(record("running"))
        outcomes = [Outcome(commits.save(record("id", uuid=uuid))) for uuid in (b"first", b"late", b"later")]
        store.release()
        store.fail()
        assert [(outcome.results, outcome.errors) for outcome in outcomes] == [([], [StoreFailed])] * 3

    def test_save_from_within_an_answer(self, store: MemoryPeerStore) -> None:
        """An answer may save the next record."""
        commits = Commits(store, Clock(), 100)
        nested: list[Outcome] = []
        store.holding = True
        commits.save(record("1")).addCallback(lambda _: nested.append(Outcome(commits.save(record("2")))))
        store.release()
        store.release()
        assert nested[0].results == [True]
