"""The audit of changes in a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from twisted.logger import capturedLogs, formatEvent

from rendezvous.admin import audit as module
from rendezvous.admin.audit import Audit, By
from tests.admin.threads import Threads

SOMEBODY = By("somebody", "192.0.2.1")


def test_lines(tmp_path: Path) -> None:
    """One for each change, whatever its text, in a file for its owner alone."""
    audit = Audit(tmp_path, Threads())
    audit.note(SOMEBODY, "added {entry} to a list", entry="{x}\nand more")
    audit.note(By("administrator", "2001:db8::1"), "logged in")
    path = tmp_path / "audit.log"
    first, second = map(json.loads, path.read_text("utf-8").splitlines())
    assert first.pop("time").endswith("Z")
    assert first == {"who": "somebody", "address": "192.0.2.1", "what": "added {x}\nand more to a list"}
    assert second["what"] == "logged in"
    assert path.stat().st_mode & 0o777 == 0o600


def test_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is too large is put aside, and one older one is kept."""
    monkeypatch.setattr(module, "LARGEST", 1000)
    audit = Audit(tmp_path, Threads())
    for number in range(100):
        audit.note(SOMEBODY, "change {n}", n=number)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit.log", "audit.log.1"]
    assert all(path.stat().st_size < 1200 for path in tmp_path.iterdir())
    assert "change 99" in (tmp_path / "audit.log").read_text("utf-8")


def test_file_that_is_not_writable(tmp_path: Path) -> None:
    """The change is done all the same; the log has it."""
    (tmp_path / "audit.log").mkdir()
    with capturedLogs() as logged:
        Audit(tmp_path, Threads()).note(SOMEBODY, "a change")
    change, failure = map(formatEvent, logged)
    assert change.endswith("somebody at 192.0.2.1: a change")
    assert "audit.log can't be written: " in failure
