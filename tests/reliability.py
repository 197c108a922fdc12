"""docs/reliability.md out of what tests have seen: ``python -m tests.reliability EVIDENCE [DOCUMENT]``."""

from __future__ import annotations

import platform
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.evidence import Fact, read

ROOT = Path(__file__).parents[1]
SECTIONS = {
    "faults": ("Faults", "The process is killed, the disk, the clock, the resolver and other servers fail."),
    "network": ("Networks", "Two clients behind whatever their providers put in front of them."),
    "hostile": ("Hostile input", "What an attacker sends, and how much of it."),
    "load": ("Load and time", "Many clients, for long."),
}
"""Folder of the tests -> heading and a sentence. Others come behind, under the folder's name."""
HEAD = """# Reliability

What is promised, the tests that hold it, and what they saw. This file is made by `make reliability` from a run of
the tests, and not edited: Linux {kernel}, Python {python}, SQLite {sqlite}. Counts are sums over the run.
"""


def main(arguments: list[str]) -> None:
    """Write the document."""
    facts = read(Path(arguments[0]))
    document = Path(arguments[1]) if arguments[1:] else ROOT / "docs" / "reliability.md"
    head = HEAD.format(
        kernel=platform.release().partition("-")[0],
        python=platform.python_version(),
        sqlite=sqlite3.sqlite_version,
    )
    document.write_text(head + "".join(sections(facts)), "utf-8")


def sections(facts: Iterable[Fact]) -> Iterator[str]:
    """A table for each folder of tests."""
    by_folder: dict[str, list[Fact]] = {}
    for fact in sorted(facts, key=lambda fact: (fact.test, fact.promise)):
        by_folder.setdefault(Path(fact.test).parts[1], []).append(fact)
    for folder in sorted(by_folder, key=lambda folder: ([*SECTIONS, folder].index(folder), folder)):
        heading, sentence = SECTIONS.get(folder, (folder.removesuffix(".py").capitalize(), ""))
        yield f"\n## {heading}\n\n" + (f"{sentence}\n\n" if sentence else "")
        yield "| Promise | Test | Seen |\n| --- | --- | --- |\n"
        yield from rows(by_folder[folder])


def rows(facts: Iterable[Fact]) -> Iterator[str]:
    """A line for each promise."""
    by_promise: dict[str, list[Fact]] = {}
    for fact in facts:
        by_promise.setdefault(fact.promise, []).append(fact)
    for promise, seen in by_promise.items():
        tests = dict.fromkeys(fact.test for fact in seen)
        yield f"| {promise} | {', '.join(map(link, tests))} | {figures(seen)} |\n"


def link(test: str) -> str:
    """A test's name, leading to its file."""
    path, _, name = test.partition("::")
    return f"[`{name}`](../{path})"


def figures(facts: Iterable[Fact]) -> str:
    """Counts added up, and every other figure once."""
    total: Counter[str] = Counter()
    others: dict[str, None] = {}
    for fact in facts:
        total.update(fact.counts)
        if fact.figure:
            others[fact.figure] = None
    counted = [f"{number:,} {name.replace('_', ' ')}" for name, number in total.items()]
    return ", ".join([*counted, *others])


if __name__ == "__main__":
    main(sys.argv[1:])
