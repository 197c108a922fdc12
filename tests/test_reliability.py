"""The document of what tests have seen: written by tests that pass, added up, and rendered."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from tests import commit
from tests.evidence import Fact, append, read
from tests.reliability import ROOT, Document, figures, main, promised

SUITE = """
import pytest

@pytest.mark.parametrize("run", range(3))
def test_good(evidence, run):
    evidence("It holds", kills=run, rows=1000)
    evidence("It is quick", f"{run} ms")

def test_bad(evidence):
    evidence("It does not hold", kills=5)
    assert False

@pytest.fixture
def broken():
    yield
    assert False

def test_bad_at_the_end(evidence, broken):
    evidence("It does not hold", kills=5)
"""


def run(suite: Path, environment: dict[str, str]) -> None:
    """Run the tests in a file."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.evidence", "-p", "no:cacheprovider", str(suite)]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    env = {**os.environ, "PYTHONPATH": path, **environment}
    done = subprocess.run(command, cwd=suite.parent, env=env, capture_output=True, text=True, check=False)
    assert "1 failed, 4 passed, 1 error" in done.stdout, done.stdout


def test_only_what_passes_is_written(tmp_path: Path) -> None:
    """Facts of tests that fail, at their end too, are left out; parameters are no part of a test's name."""
    suite = tmp_path / "test_suite.py"
    suite.write_text(SUITE, "utf-8")
    run(suite, {"RENDEZVOUS_EVIDENCE": str(tmp_path / "evidence")})
    facts = read(tmp_path / "evidence")
    assert [fact.promise for fact in facts] == ["It holds", "It is quick"] * 3
    assert {fact.test for fact in facts} == {"test_suite.py::test_good"}
    assert facts[4] == Fact("test_suite.py::test_good", "It holds", "", {"kills": 2, "rows": 1000})


def told(folder: Path, *facts: Fact) -> str:
    """The document after a run that has seen this."""
    evidence, document = folder / "evidence", folder / "document"
    evidence.unlink(missing_ok=True)
    for fact in facts:
        append(evidence, [fact])
    main([str(evidence), str(document)])
    return document.read_text("utf-8")


def test_rendered(tmp_path: Path) -> None:
    """A table for each folder, a line for each promise, with all of its tests and the sums of what they saw."""
    test = "tests/faults/test_killed.py::"
    text = told(
        tmp_path,
        Fact(f"{test}test_b", "It holds", "", {"kills": 4, "rows": 999}),
        Fact("tests/hbbr/test_ends.py::test_c", "It ends", "in 2 s", {}),
        Fact(f"{test}test_a", "It holds", "", {"kills": 2, "rows": 1000}),
    )
    assert re.findall("^## (.*)$", text, re.MULTILINE) == ["Faults", "Hbbr"]
    link = "(../tests/faults/test_killed.py)"
    assert f"| It holds | [`test_a`]{link}, [`test_b`]{link} | 6 kills, 1,999 rows | 1 |" in text
    assert "| It ends | [`test_c`](../tests/hbbr/test_ends.py) | in 2 s | 1 |" in text


def test_a_run_says_what_it_is_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Date, commit and knobs of a run stand in the document, but for where its evidence went."""
    monkeypatch.setenv("RENDEZVOUS_FAULT_RUNS", "40")
    monkeypatch.setenv("RENDEZVOUS_EVIDENCE", "/nowhere")
    text = told(tmp_path, Fact("tests/faults/test_killed.py::test_a", "It holds", "", {}))
    [run] = re.findall(r"^\| 1 \| .*$", text, re.MULTILINE)
    assert run.startswith(f"| 1 | {date.today()} | `{commit.name()}` | Linux ")
    assert "`RENDEZVOUS_FAULT_RUNS=40`" in run
    assert "EVIDENCE" not in run


def test_a_part_made_anew(tmp_path: Path) -> None:
    """Rows that a run has not seen stay, with their run, but for promises that no test gives any more."""
    kept, replaced = sorted(promised())[:2]
    test = "tests/faults/test_killed.py::test_a"
    told(
        tmp_path, *(Fact(test, promise, "at first", {}) for promise in (kept, replaced, "Nobody says so any more"))
    )
    text = told(tmp_path, Fact(test, replaced, "again", {}))
    rows = re.findall(r"^\| (.*) \| \[.*\) \| (.*) \| (\d) \|$", text, re.MULTILINE)
    assert sorted(rows) == [(kept, "at first", "1"), (replaced, "again", "2")]
    assert re.findall(r"^\| (\d) \|", text, re.MULTILINE) == ["1", "2"]
    text = told(tmp_path, Fact(test, kept, "again", {}), Fact(test, replaced, "once more", {}))
    assert re.findall(r"^\| (\d) \|", text, re.MULTILINE) == ["3"]


def test_the_document_has_what_is_promised() -> None:
    """Every promise that a test tells of has its row, and no row is without such a test."""
    rows = Document.read(ROOT / "docs" / "reliability.md").rows
    assert {promise for _, promise in rows} == promised()


def test_figures_are_shown_once() -> None:
    """The same figure of several runs is one."""
    facts = [Fact("t", "p", figure, {}) for figure in ("2 ms", "3 ms", "2 ms")]
    assert figures(facts) == "2 ms, 3 ms"


def test_the_document_names_tests_that_exist() -> None:
    """Each test that the document names is in the file that it leads to."""
    text = (ROOT / "docs" / "reliability.md").read_text("utf-8")
    named = re.findall(r"\[`(\w+)`\]\(\.\./([\w/.]+)\)", text)
    assert named
    for name, path in named:
        assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE), name
