"""The commit under test, and samples that change with it."""

from __future__ import annotations

import subprocess
from datetime import date
from pathlib import Path

ROOT = Path(__file__).parents[1]


def seed() -> str:
    """The hash of the commit under test; the date outside of a repository."""
    return _git("rev-parse", "HEAD") or date.today().isoformat()


def name() -> str:
    """The commit's short name, which tells when files differ from it; empty outside of a repository."""
    return _git("describe", "--always", "--dirty", "--exclude=*")


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()
