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


def busy(_: object, clock: Clock, seconds: float) -> None:
    """Whoever is answered takes so long."""
    clock.rightNow += seconds


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

    def test_a_query_has_few_ids(self, store: MemoryPeerStore, clock: Clock) -> None:
        """Those above 250 wait for the next ones, in the order in which they came, and take places until then."""
        lookups = Lookups(store, clock, 1000)
        store.holding = True
        outcomes = [Outcome(lookups.find(str(number))) for number in range(1000)]
        clock.advance(1)
        assert len(lookups) == 1000
        outcomes += [Outcome(lookups.find(str(number))) for number in range(1000, 1251)]
        assert outcomes.pop().errors == [QueueFull]
        while store.held:
            assert store.held == 1
            store.release()
        assert [len(ids) for ids in store.loads] == [250] * 5
        assert [id for ids in store.loads for id in ids] == list(map(str, range(1250)))
        assert {tuple(outcome.results) for outcome in outcomes} == {(None,)}

    def test_after_a_failed_query_all_share_the_next(self, store: MemoryPeerStore, clock: Clock) -> None:
        """While the store fails nobody waits for one failing query after another."""
        lookups = Lookups(store, clock, 10_000)
        store.holding = True
        outcomes = [Outcome(lookups.find(str(number))) for number in range(4000)]
        clock.advance(1)
        store.fail()
        store.fail()
        assert [outcome.errors for outcome in outcomes] == [[StoreFailed]] * 4000
        assert store.held == 0

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
        assert saved.results == [1]
        assert store.records["new"] == record("new")

    def test_what_comes_during_a_commit_shares_the_next(self, store: MemoryPeerStore) -> None:
        """One commit runs at a time; all that came meanwhile is one commit."""
        commits = Commits(store, Clock(), 100)
        store.holding = True
        first = Outcome(commits.save(record("1")))
        others = [Outcome(commits.save(record(id))) for id in ("2", "3", "4")]
        assert store.held == 1
        store.release()
        assert first.results == [1]
        assert [outcome.pending for outcome in others] == [1] * 3
        assert store.held == 1
        store.release()
        assert [outcome.results for outcome in others] == [[1]] * 3
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
        assert first.results == [1]
        assert (second.errors, third.errors) == ([StoreFailed], [StoreFailed])
        assert fourth.pending
        store.release()
        assert fourth.results == [1]
        assert {"1", "4"} <= set(store.records)
        assert not {"2", "3"} & set(store.records)

    def test_queue_full(self, store: MemoryPeerStore) -> None:
        """Above the limit all that wait fail at once, also those of an id that is waiting already."""
        commits = Commits(store, Clock(), 4)
        store.holding = True
        accepted = [Outcome(commits.save(record(id))) for id in ("running", "1", "2", "1")]
        refused = [Outcome(commits.save(record(id))) for id in ("3", "1")]
        assert [outcome.errors for outcome in refused] == [[QueueFull]] * 2
        store.release()
        store.release()
        assert [outcome.results for outcome in accepted] == [[1], [1], [1], [0]]
        again = Outcome(commits.save(record("3")))
        store.release()
        assert again.results == [1]

    def test_latest_record_of_a_machine_wins(self, store: MemoryPeerStore) -> None:
        """Of two records of one machine in the same commit, the later one is written."""
        commits = Commits(store, Clock(), 100)
        store.holding = True
        commits.save(record("running"))
        outcomes = [Outcome(commits.save(record("id", pk=pk))) for pk in (b"1", b"2")]
        store.release()
        store.release()
        assert [outcome.results for outcome in outcomes] == [[1], [0]]
        assert store.records["id"].pk == b"2"

    def test_two_machines_want_one_id(self, store: MemoryPeerStore) -> None:
        """Of two machines in the same commit, the first one's record is written."""
        commits = Commits(store, Clock(), 100)
        store.holding = True
        commits.save(record("running"))
        outcomes = [Outcome(commits.save(record("id", uuid=uuid))) for uuid in (b"first", b"second")]
        store.release()
        store.release()
        assert [outcome.results for outcome in outcomes] == [[1], [None]]
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
        assert nested[0].results == [1]

    def test_a_commit_has_a_thousand_records_at_most(self, store: MemoryPeerStore) -> None:
        """More than that wait for the next ones, in the order in which they came."""
        commits = Commits(store, Clock(), 10_000)
        store.holding = True
        outcomes = [Outcome(commits.save(record(str(number)))) for number in range(2501)]
        while store.held:
            assert store.held == 1
            store.release()
        assert [len(batch) for batch in store.saves] == [1, 1000, 1000, 500]
        assert [r.id for batch in store.saves for r in batch] == list(map(str, range(2501)))
        assert {tuple(outcome.results) for outcome in outcomes} == {(1,)}

    def test_whoever_came_late_waits_for_the_commit_of_its_id(self, store: MemoryPeerStore) -> None:
        """A machine that wants an id which waits for a later commit is answered with that one."""
        commits = Commits(store, Clock(), 10_000)
        store.holding = True
        for number in range(1001):
            commits.save(record(str(number)))
        first, late = Outcome(commits.save(record("id"))), Outcome(commits.save(record("id", uuid=b"late")))
        store.release()
        store.release()
        assert first.pending
        assert late.pending
        store.release()
        assert (first.results, late.results) == ([1], [None])

    def test_after_a_failure_all_share_the_next_commit(self, store: MemoryPeerStore) -> None:
        """While the store fails nobody waits for one failing commit after another; then commits are small again."""
        commits = Commits(store, Clock(), 10_000)
        store.holding = True
        outcomes = [Outcome(commits.save(record(str(number)))) for number in range(3001)]
        store.fail()
        store.fail()
        assert [outcome.errors for outcome in outcomes] == [[StoreFailed]] * 3001
        commits.save(record("works"))
        for number in range(3000):
            commits.save(record(str(number)))
        while store.held:
            store.release()
        assert [len(batch) for batch in store.saves] == [1, 3000, 1, 1000, 1000, 1000]

    def test_answers_leave_others_their_turn(self, store: MemoryPeerStore) -> None:
        """Who is answered after a few milliseconds of answering is answered in another turn; OKs stay in order."""
        clock = Clock()
        commits = Commits(store, clock, 100)
        store.holding = True
        commits.save(record("running"))
        answered: list[int] = []

        def answer(_: object, number: int) -> None:
            answered.append(number)
            busy(_, clock, 0.002)

        for number in range(10):
            commits.save(record(str(number))).addCallback(answer, number)
        store.release()
        store.release()
        before_others = len(answered)
        assert 1 <= before_others <= 4
        assert len(commits) == 10 - before_others
        clock.callLater(0, answered.append, -1)
        clock.pump([0] * 10)
        assert -1 in answered[before_others:7]
        assert [number for number in answered if number >= 0] == list(range(10))
        assert len(commits) == 0

    def test_those_to_be_answered_count(self, store: MemoryPeerStore) -> None:
        """Who is written but not answered yet takes a place; there is room again afterwards."""
        clock = Clock()
        commits = Commits(store, clock, 10)
        store.holding = True
        for number in range(10):
            commits.save(record(str(number))).addCallback(busy, clock, 0.004)
        store.release()
        store.release()
        assert 0 < len(commits) < 10
        room = 10 - len(commits)
        outcomes = [Outcome(commits.save(record(f"more-{number}"))) for number in range(10)]
        assert [outcome.errors for outcome in outcomes] == [[]] * room + [[QueueFull]] * (10 - room)

    def test_answers_get_as_much_time_as_others(self, store: MemoryPeerStore) -> None:
        """When the turns of others are long, those of answers may be as long, so that a flood starves no answer."""
        clock = Clock()
        commits = Commits(store, clock, 100)
        store.holding = True
        commits.save(record("running"))
        for number in range(40):
            commits.save(record(str(number))).addCallback(busy, clock, 0.002)
        store.release()
        store.release()
        waiting = [len(commits)]
        clock.callLater(0, lambda: waiting.append(len(commits)))
        clock.advance(0.03)
        assert waiting[0] - waiting[1] in range(14, 18)
