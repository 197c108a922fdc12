"""What tests have seen, for docs/reliability.md.

A test that holds a promise tells what it has seen, through the fixture `evidence`:

    evidence("An acknowledged registration outlives a kill", kills=8, registrations=412)
    evidence("A punch is answered soon", f"p99 {p99 * 1000:.0f} ms")

With RENDEZVOUS_EVIDENCE=FILE every test that passes appends it to that file, and ``python -m tests.reliability``
makes the document from it. Counts of all tests and runs with the same promise are added up there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import pytest


@dataclass(frozen=True)
class Fact:
    """What one test saw of one promise."""

    test: str
    promise: str
    figure: str
    counts: dict[str, int]


class Evidence(Protocol):
    """Takes note of what was seen of a promise: a figure as it is to be shown, or counts of things by name."""

    def __call__(self, promise: str, figure: str = "", **counts: int) -> None: ...


_facts = pytest.StashKey[list[Fact]]()
_failed = pytest.StashKey[bool]()


@pytest.fixture
def evidence(request: pytest.FixtureRequest) -> Evidence:
    """Tell what the test has seen; it counts when the test passes."""
    facts = request.node.stash.setdefault(_facts, [])

    def note(promise: str, figure: str = "", **counts: int) -> None:
        facts.append(Fact(request.node.nodeid.partition("[")[0], promise, figure, counts))

    return note


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write the facts of a test that has passed to its very end."""
    report = yield
    item.stash[_failed] = item.stash.get(_failed, False) or not report.passed
    if report.when == "teardown" and not item.stash[_failed] and "RENDEZVOUS_EVIDENCE" in os.environ:
        append(Path(os.environ["RENDEZVOUS_EVIDENCE"]), item.stash.get(_facts, []))
    return report


def append(path: Path, facts: list[Fact]) -> None:
    """Add facts to a file, which other processes may do at the same time."""
    lines = "".join(json.dumps(asdict(fact)) + "\n" for fact in facts)
    with path.open("ab", buffering=0) as file:
        file.write(lines.encode())


def read(path: Path) -> list[Fact]:
    """The facts in a file."""
    return [Fact(**json.loads(line)) for line in path.read_text("utf-8").splitlines()]
