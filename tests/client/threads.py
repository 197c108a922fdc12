"""Small helpers for clients that run in threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], bool], timeout: float, what: str = "") -> None:
    """Poll until the condition holds; TimeoutError when it never does."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout} s: {what}")
        time.sleep(0.01)


class Mailbox(Generic[T]):
    """A list that grows in one thread and that others wait on."""

    def __init__(self) -> None:
        self._items: list[T] = []
        self._changed = threading.Condition()

    def add(self, item: T) -> None:
        """Append an item and wake those who wait."""
        with self._changed:
            self._items.append(item)
            self._changed.notify_all()

    def all(self) -> list[T]:
        """Everything that has arrived so far."""
        with self._changed:
            return list(self._items)

    def wait(self, wanted: Callable[[T], bool], timeout: float = 10.0) -> T:
        """The first item for which `wanted` is true, old ones included."""
        found: list[T] = []

        def look() -> bool:
            found.extend(item for item in self._items if wanted(item))
            return bool(found)

        with self._changed:
            if not self._changed.wait_for(look, timeout):
                raise TimeoutError(f"not within {timeout} s; there is {self._items}")
        return found[0]


class Workers:
    """Daemon threads whose exceptions are kept for whoever joins them."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def start(self, function: Callable[[], object], name: str) -> threading.Thread:
        """Run a function in a new thread."""

        def run() -> None:
            try:
                function()
            except BaseException as error:  # kept, and raised by join
                self.errors.append(error)

        thread = threading.Thread(target=run, name=name, daemon=True)
        with self._lock:
            self._threads.append(thread)
        thread.start()
        return thread

    def join(self, timeout: float = 10.0) -> None:
        """Wait for all threads; raise the first of their exceptions."""
        deadline = time.monotonic() + timeout
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        still = [thread.name for thread in threads if thread.is_alive()]
        if self.errors:
            raise self.errors[0]
        if still:
            raise TimeoutError(f"still running: {still}")
