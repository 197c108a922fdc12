"""docs/reliability.md out of what tests have seen: ``python -m tests.reliability EVIDENCE [DOCUMENT]``.

Rows of promises that this run has not seen stay, with the run that they are of, so that a part can be made anew.
"""

from __future__ import annotations

import ast
import os
import platform
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from tests import commit
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

What is promised, the tests that hold it, and what they saw. This file is made by `make reliability` from runs of
the tests, and not edited. Counts are sums over a run.

| Run | Date | Commit | Machine | Set for it |
| --- | --- | --- | --- | --- |
"""
ROW, RUN = 4, 5
"""Cells of a promise's row, and of a run's."""


@dataclass(frozen=True)
class Document:
    """Runs by their numbers, and the rows of promises by heading and promise."""

    runs: Mapping[str, list[str]]
    rows: Mapping[tuple[str, str], list[str]]

    @classmethod
    def read(cls, path: Path) -> Document:
        """What a document has; nothing where there is none."""
        runs: dict[str, list[str]] = {}
        rows: dict[tuple[str, str], list[str]] = {}
        heading = ""
        for line in path.read_text("utf-8").splitlines() if path.exists() else ():
            heading = line.removeprefix("## ") if line.startswith("## ") else heading
            cells = line.removeprefix("| ").removesuffix(" |").split(" | ")
            if cells[0].isdecimal() and len(cells) == RUN:
                runs[cells[0]] = cells
            elif len(cells) == ROW and cells[0] not in ("Promise", "---"):
                rows[heading, cells[0]] = cells
        return cls(runs, rows)

    def merged(self, facts: Iterable[Fact], promises: set[str]) -> Document:
        """With the rows of one more run; without those of promises that are given no more, and their runs."""
        number = str(max(map(int, self.runs), default=0) + 1)
        rows = {key: cells for key, cells in self.rows.items() if key[1] in promises}
        rows |= {key: [key[1], *cells, number] for key, cells in seen(facts).items()}
        used = {cells[-1] for cells in rows.values()}
        runs = {**self.runs, number: [number, *this_run()]}
        return Document({number: cells for number, cells in runs.items() if number in used}, rows)

    def text(self) -> Iterator[str]:
        """The document in pieces: a table for each folder of tests."""
        yield HEAD
        yield from map(line, self.runs.values())
        sentences = dict(SECTIONS.values())
        headings = [*sentences, *sorted({heading for heading, _ in self.rows} - set(sentences))]
        for heading in headings:
            rows = sorted(cells for key, cells in self.rows.items() if key[0] == heading)
            if rows:
                sentence = sentences.get(heading, "")
                yield f"\n## {heading}\n\n" + (f"{sentence}\n\n" if sentence else "")
                yield "| Promise | Test | Seen | Run |\n| --- | --- | --- | --- |\n"
                yield from map(line, rows)


def main(arguments: list[str]) -> None:
    """Write the document."""
    path = Path(arguments[1]) if arguments[1:] else ROOT / "docs" / "reliability.md"
    document = Document.read(path).merged(read(Path(arguments[0])), promised())
    path.write_text("".join(document.text()), "utf-8")


def this_run() -> list[str]:
    """When this run is, of what, where, and with which knobs."""
    kernel = platform.release().partition("-")[0]
    machine = f"Linux {kernel}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    knobs = {name: value for name, value in sorted(os.environ.items()) if name.startswith("RENDEZVOUS_")}
    knobs.pop("RENDEZVOUS_EVIDENCE", None)
    told = ", ".join(f"`{name}={value}`" for name, value in knobs.items())
    return [date.today().isoformat(), f"`{commit.name()}`", machine, told or "nothing"]


def seen(facts: Iterable[Fact]) -> dict[tuple[str, str], list[str]]:
    """Heading and promise -> the tests that hold it, and what they saw."""
    by_promise: dict[tuple[str, str], list[Fact]] = {}
    for fact in sorted(facts, key=lambda fact: (fact.test, fact.promise)):
        folder = Path(fact.test).parts[1]
        heading = SECTIONS[folder][0] if folder in SECTIONS else folder.removesuffix(".py").capitalize()
        by_promise.setdefault((heading, fact.promise), []).append(fact)
    return {
        key: [", ".join(map(link, dict.fromkeys(fact.test for fact in found))), figures(found)]
        for key, found in by_promise.items()
    }


def promised() -> set[str]:
    """Every promise that a test tells of: a text, or a constant of its module."""
    found: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        constants = {
            ast.unparse(target): node.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "evidence":
                promise = ast.literal_eval(constants.get(ast.unparse(node.args[0]), node.args[0]))
                found.add(promise)
    return found


def line(cells: Iterable[str]) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |\n"


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
