"""Questions that wait for their answers, and how many never got one."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

PATIENCE = 5.0
"""Seconds after which a question without an answer is lost."""


class Waiting:
    """Questions of one kind by what tells their answers; times are monotonic seconds."""

    def __init__(self) -> None:
        self.sent = self.answered = self.lost = 0
        self.times: list[float] = []
        """How long the answers took, since it was last emptied."""
        self._since: dict[Hashable, float] = {}

    def __len__(self) -> int:
        return len(self._since)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._since

    def ask(self, key: Hashable, now: float) -> None:
        """A question is sent; one that still waits under the same key is lost."""
        self.wrong(key)
        self.sent += 1
        self._since[key] = now

    def answer(self, key: Hashable, now: float) -> bool:
        """The right answer has come; false when nobody waits for it any more."""
        since = self._since.pop(key, None)
        if since is None:
            return False
        self.answered += 1
        self.times.append(now - since)
        return True

    def wrong(self, key: Hashable) -> None:
        """A wrong answer has come, or none will."""
        self.lost += self._since.pop(key, None) is not None

    def expire(self, now: float) -> list[Hashable]:
        """The questions that have waited for too long, which are lost."""
        late = []
        for key, since in self._since.items():  # in the order in which they were asked
            if since > now - PATIENCE:
                break
            late.append(key)
        for key in late:
            self.wrong(key)
        return late

    def counts(self) -> dict[str, int]:
        """What has happened so far."""
        return {"sent": self.sent, "answered": self.answered, "lost": self.lost}


def percentile(times: Sequence[float], share: float) -> float | None:
    """The time in milliseconds that `share` of all times do not exceed, None without any."""
    if not times:
        return None
    return round(sorted(times)[min(len(times) - 1, int(share * len(times)))] * 1000, 2)
