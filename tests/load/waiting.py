"""Questions that wait for their answers, those that are asked again, and how many never got one."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence

SLOW = 5.0
"""Seconds after which an answer is slow."""


class Waiting:
    """Questions of one kind by what tells their answers; times are monotonic seconds.

    A question that has no answer after `patience` is lost. One that waits for as long as each of `pauses` is to be
    asked again, as clients do.
    """

    def __init__(self, patience: float, pauses: Sequence[float] = ()) -> None:
        self.patience = patience
        self.sent = self.answered = self.lost = self.slow = self.repeated = 0
        self.times: list[float] = []
        """How long the answers took, since it was last emptied."""
        self._pauses = pauses
        self._since: dict[Hashable, float] = {}
        self._again: list[deque[tuple[float, Hashable]]] = [deque() for _ in pauses]
        """When a question was asked that is asked once more after the pause of the same number."""

    def __len__(self) -> int:
        return len(self._since)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._since

    def ask(self, key: Hashable, now: float) -> None:
        """A question is sent; one that still waits under the same key is lost."""
        self.wrong(key)
        self.sent += 1
        self._since[key] = now
        if self._pauses:
            self._again[0].append((now, key))

    def answer(self, key: Hashable, now: float) -> bool:
        """The right answer has come; false when nobody waits for it any more."""
        since = self._since.pop(key, None)
        if since is None:
            return False
        self.answered += 1
        self.slow += now - since > SLOW
        self.times.append(now - since)
        return True

    def wrong(self, key: Hashable) -> None:
        """A wrong answer has come, or none will."""
        self.lost += self._since.pop(key, None) is not None

    def due(self, now: float) -> list[Hashable]:
        """The questions that are to be asked again now; each is told once for each pause."""
        found: list[Hashable] = []
        for number, (pause, asked) in enumerate(zip(self._pauses, self._again, strict=True)):
            while asked and asked[0][0] <= now - pause:
                _, key = asked.popleft()
                if key in self._since:
                    found.append(key)
                    if number + 1 < len(self._again):
                        self._again[number + 1].append((now, key))
        self.repeated += len(found)
        return found

    def expire(self, now: float) -> list[Hashable]:
        """The questions that have waited for too long, which are lost."""
        late = []
        for key, since in self._since.items():  # in the order in which they were asked
            if since > now - self.patience:
                break
            late.append(key)
        for key in late:
            self.wrong(key)
        return late

    def counts(self) -> dict[str, int]:
        """What has happened so far."""
        names = ("sent", "answered", "lost", "slow", "repeated")
        return {name: getattr(self, name) for name in names}


def percentile(times: Sequence[float], share: float) -> float | None:
    """The time in milliseconds that `share` of all times do not exceed, None without any."""
    if not times:
        return None
    return round(sorted(times)[min(len(times) - 1, int(share * len(times)))] * 1000, 2)
