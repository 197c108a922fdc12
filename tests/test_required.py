"""What is missing skips tests, and fails them where everything is required."""

from __future__ import annotations

import pytest

from tests import required


@pytest.mark.parametrize(("everything", "outcome"), [(False, pytest.skip.Exception), (True, pytest.fail.Exception)])
def test_missing(monkeypatch: pytest.MonkeyPatch, everything: bool, outcome: type[BaseException]) -> None:
    """A test that finds something missing is skipped, or fails; one with a mark is skipped, or tries."""
    monkeypatch.setattr(required, "REQUIRED", everything)
    with pytest.raises(outcome, match="there is no tool"):
        required.missing("there is no tool")
    assert required.needs(None, "there is no tool").mark.args == (not everything,)
    assert required.needs("/bin/tool", "there is no tool").mark.args == (False,)
