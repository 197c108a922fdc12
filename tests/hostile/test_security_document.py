"""docs/security.md: each test that it names exists, and each attack that is tested is in it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "security.md"
NO_ATTACKS = ("test_a_bug_is_found", "test_unknown_target")
"""Tests of the fuzzer itself."""


def named() -> list[tuple[str, str]]:
    """The tests that the document names, each with its file."""
    found = re.findall(r"\[`([\w:]+)`\]\(\.\./(tests/[\w/.]+)\)", DOCUMENT.read_text("utf-8"))
    return [(path, name) for name, path in found]


@cache
def all_in(path: Path) -> tuple[str, ...]:
    """The names of the tests in a file, those in classes as ``Class::test``."""
    return tuple(_tests(ast.parse(path.read_text("utf-8")).body))


def _tests(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from (f"{node.name}::{name}" for name in _tests(node.body))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node.name


@pytest.mark.parametrize(("path", "name"), sorted(set(named())))
def test_it_names_tests_that_exist(path: str, name: str) -> None:
    """A name leads to the file that has the test."""
    assert name in all_in(ROOT / path)


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.glob("test_*.py")), ids=lambda path: path.stem)
def test_each_attack_has_its_place(path: Path) -> None:
    """Every test of an attack is named."""
    if path != Path(__file__):
        attacks = {name for name in all_in(path) if name not in NO_ATTACKS}
        assert attacks - {name for file, name in named() if ROOT / file == path} == set()


def test_each_row_is_shown() -> None:
    """What an attacker gets is nowhere told without a test that shows it."""
    rows = [line.split(" | ") for line in DOCUMENT.read_text("utf-8").splitlines() if line.startswith("| ")]
    tables = [[cell.strip("| ") for cell in row] for row in rows]
    shown = False
    for first, *_, last in tables:
        if last == "Shown by":
            shown = True
        elif first in ("What", "Who"):
            shown = False
        elif shown and first != "---":
            assert last.startswith("[`"), first
    assert sum(last == "Shown by" for *_, last in tables) > 5


def test_the_readme_leads_to_it() -> None:
    """Who looks for it finds it."""
    assert "(docs/security.md)" in (ROOT / "README.md").read_text("utf-8")
