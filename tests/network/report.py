"""Measures everything, a few clients at a time, and writes it: ``python -m tests.network.report FILE``."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.network import lines, shared
from tests.network.document import table
from tests.network.lab import Lab, unusable
from tests.network.matrix import COLUMNS, ROWS
from tests.network.meetings import Cell, Meetings

AT_ONCE = 4
TEXT = """# Which ways are open, as measured

A controls, B is controlled; the server is a real one. Each way is proven by a random token that goes to B and
comes back, and stands with its milliseconds from A's first packet to the proof; what is not mentioned was
closed. Clients try all ways at once and the relay when none is open. A packet takes 5 ms on each line, so 10
between two clients. Made by `python -m tests.network.report`; the expected ways, and why some look worse than
they could be, are in `docs/protocol.md`.

## Networks of their own

{matrix}

## One public address for both

{shared}

## Bad lines

Both clients have the same line; TCP and the relay are proven by 200,000 bytes there and back.

{lines}
"""


def describe(result: Mapping[str, Any]) -> str:
    """The ways of one cell with their milliseconds, the quickest first."""
    quickest = sorted(result["ways"].items(), key=lambda way: float(way[1]))
    return ", ".join(f"{way} {seconds * 1000:.0f}" for way, seconds in quickest) or "**failed**"


def spread(cells: Sequence[str]) -> list[Cell]:
    """All cells in an order in which neighbors share no client."""
    count = len(cells)
    return [(cells[start], cells[(start + step) % count]) for step in range(count) for start in range(count)]


def report(lab: Lab) -> str:
    """Measure everything; the text."""
    meetings = Meetings(lab)
    results = meetings.reach(spread(COLUMNS), AT_ONCE)
    rows = [["A \\ B", *COLUMNS]]
    rows += [[f"**{asking}**", *(describe(results[asking, answering]) for answering in COLUMNS)] for asking in ROWS]
    common = shared.measure(lab, meetings, {**shared.SHARED, **shared.HAIRPINS}, at_once=AT_ONCE)
    on_lines = lines.measure(lab, meetings, lines.CASES, at_once=AT_ONCE)
    return TEXT.format(
        matrix=table(rows),
        shared=table([["both", "ways"], *([name, describe(result)] for name, result in common.items())]),
        lines=table([["line", *(f"both {network}" for network in lines.BEHIND)], *line_rows(on_lines)]),
    )


def line_rows(results: Mapping[tuple[str, str], Mapping[str, Any]]) -> list[list[str]]:
    """One row for each kind of line."""
    qualities = {**lines.LINES, **lines.LOSSES}
    return [
        [f"{name}: {quality}", *(describe(results[name, network]) for network in lines.BEHIND)]
        for name, quality in qualities.items()
    ]


def main(path: Path) -> None:
    """Write the report to a file."""
    if reason := unusable():
        raise SystemExit(reason)
    with tempfile.TemporaryDirectory() as folder, Lab(Path(folder)) as lab:
        path.write_text(report(lab), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
