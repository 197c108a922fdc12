"""For the tests of the rendezvous command."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rendezvous.settings import SETTINGS


@pytest.fixture(autouse=True)
def _nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory is empty, and no variable is a setting."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.lower().replace("-", "_") in SETTINGS:
            monkeypatch.delenv(name)
