"""The two C programs: the load, and the limit that servers are measured against."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
BINARIES = FOLDER / "bin"
COMPILE_TIMEOUT = 120


class BenchError(Exception):
    """One sentence: why something can't be measured."""


@dataclass(frozen=True)
class Programs:
    """Where the compiled programs are."""

    load: Path
    limit: Path


def compiler() -> str | None:
    """The C compiler of this machine."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def compiled() -> Programs:
    """Both programs, compiled anew when their source has changed."""
    return Programs(_compiled("load"), _compiled("limit"))


def _compiled(name: str) -> Path:
    source, program = FOLDER / f"{name}.c", BINARIES / name
    if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
        return program
    found = compiler()
    if found is None:
        raise BenchError("There is no C compiler; install gcc.")
    BINARIES.mkdir(exist_ok=True)
    fresh = BINARIES / f"{name}-{os.getpid()}"
    command = [found, "-O2", "-o", str(fresh), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_TIMEOUT, check=False)
    if done.returncode:
        raise BenchError(f"{source.name} can't be compiled: {done.stderr.strip()}")
    return fresh.replace(program)
