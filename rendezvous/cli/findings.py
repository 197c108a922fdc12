"""What the doctor finds, and what about."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rendezvous.settings import Settings


@dataclass(frozen=True)
class Finding:
    """A sentence on something that was checked, and the command or the step that mends it."""

    check: str
    level: Literal["ok", "note", "wrong"]
    text: str
    mend: str = ""


@dataclass(frozen=True)
class Patient:
    """A server: one that runs, with the `status` it tells and its user's id, or the one that would be started."""

    settings: Settings
    status: Mapping[str, Any] | None = None
    user: int | None = None

    @property
    def data(self) -> Path:
        """The data folder."""
        return Path(self.settings.data)


def ok(check: str, text: str) -> Finding:
    """It is as it should be."""
    return Finding(check, "ok", text)


def note(check: str, text: str, mend: str = "") -> Finding:
    """It may be as it should be, which can't be told from here."""
    return Finding(check, "note", text, mend)


def wrong(check: str, text: str, mend: str) -> Finding:
    """It is not as it should be."""
    return Finding(check, "wrong", text, mend)
