"""Threads without threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.python.failure import Failure


class Threads(Clock):
    """A reactor whose threads do their work at once, or when they are let."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[Callable[[], None]] | None = None

    def getThreadPool(self) -> Threads:
        return self

    def callInThreadWithCallback(self, done: Any, work: Any, *arguments: Any) -> None:
        def run() -> None:
            try:
                result = work(*arguments)
            except Exception:
                done(False, Failure())
            else:
                done(True, result)

        if self.held is None:
            run()
        else:
            self.held.append(run)

    def callFromThread(self, function: Any, *arguments: Any) -> None:
        function(*arguments)
