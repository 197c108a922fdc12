"""The ways in MATRIX.md, which were measured, are the expected ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from tests.network.lines import BEHIND, LINES, LOSSES
from tests.network.matrix import COLUMNS, EXPECTED, ROWS
from tests.network.shared import HAIRPINS, SHARED

REPORT = Path(__file__).with_name("MATRIX.md")
Ways = frozenset[str]


def measured() -> Mapping[str, list[Ways]]:
    """The first cell of each row -> the ways in its other cells."""
    found: dict[str, list[Ways]] = {}
    for line in REPORT.read_text("utf-8").splitlines():
        first, *cells = line.strip("| ").split(" | ")
        if line.startswith("| "):
            found[first.strip("*")] = [frozenset(re.findall(r"([A-Za-z]\w*) \d", cell)) for cell in cells]
    return found


def test_matrix() -> None:
    """Between networks of their own, every cell."""
    assert {row: measured()[row] for row in ROWS} == {
        row: [EXPECTED[row, column] for column in COLUMNS] for row in ROWS
    }


def test_shared() -> None:
    """Behind one public address; where only hairpinning leads to the other, who asks over TCP has the relay."""
    expected = {name: [shared.ways] for name, shared in SHARED.items()} | {
        name: [frozenset({"relay"})] for name in HAIRPINS
    }
    assert {name: measured()[name] for name in expected} == expected


def test_lines() -> None:
    """On bad lines: the same ways as on good ones where nothing is lost, else some of them, or the relay."""
    for name, quality in {**LINES, **LOSSES}.items():
        for network, ways in zip(BEHIND, measured()[f"{name}: {quality}"], strict=True):
            expected = EXPECTED[network, network]
            assert ways == expected or (name in LOSSES and ways and ways <= expected | {"relay"}), (name, network)
