"""A machine that fails when it is told to: shim.c, preloaded into servers, and what tells it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SOURCE = Path(__file__).with_name("shim.c")
HOLD: Literal["hold"] = "hold"
"""In the place of an errno: wait until the fault is over."""


def compiler() -> str | None:
    """The C compiler, if there is one."""
    return shutil.which("cc")


def build(library: Path) -> Path:
    """Compile the shim."""
    command = [compiler() or "cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", str(library)]
    subprocess.run([*command, str(SOURCE), "-ldl"], check=True)
    return library


@dataclass(frozen=True)
class Shim:
    """The faults of the servers that have `env` in their environment."""

    library: Path
    folder: Path

    @property
    def env(self) -> dict[str, str]:
        """What servers need in their environment."""
        return {
            "LD_PRELOAD": str(self.library),
            "FAULT_SCRIPT": str(self.folder / "script"),
            "FAULT_CLOCK": str(self.folder / "clock"),
        }

    @contextmanager
    def failing(self, suffix: str = "", /, **operations: int | Literal["hold"]) -> Iterator[None]:
        """Let operations on database files (whose names end in `suffix`), or name resolution, fail for a while."""
        self.script(suffix, **operations)
        try:
            yield
        finally:
            self.clear()

    def script(self, suffix: str = "", /, **operations: int | Literal["hold"]) -> None:
        """The same until told otherwise; ``die=N`` kills at the Nth change of a database file."""
        words = [f"{operation}={what}" for operation, what in operations.items()]
        self._write("script", " ".join([*words, *([f"suffix={suffix}"] if suffix else [])]))

    def clear(self) -> None:
        """Nothing fails any more."""
        (self.folder / "script").unlink(missing_ok=True)

    def set_clock(self, seconds: int) -> None:
        """The wall clock is wrong by so many seconds from now on."""
        self._write("clock", str(seconds))

    def _write(self, name: str, text: str) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / f"new-{name}").write_text(text, encoding="ascii")
        os.replace(self.folder / f"new-{name}", self.folder / name)
