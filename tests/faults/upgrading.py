"""Prepares copies of a database again and again, killed at one change of its files later each time.

``python -m tests.faults.upgrading ORIGINAL COPIES SCRIPT`` with the shim preloaded. The copies are COPIES/1,
COPIES/2 and so on; the last one was prepared without being killed.
"""

from __future__ import annotations

import os
import shutil
import sys
from itertools import count
from pathlib import Path

from rendezvous.peers.store import prepare
from tests.faults.databases import NAME


def killed_at(change: int, copy: Path, script: Path) -> bool:
    """Whether a process that prepares the copy reaches that change, at which it is killed."""
    script.write_text(f"die={change}", encoding="ascii")
    process = os.fork()
    if not process:
        prepare(copy / NAME)
        os._exit(0)
    _, status = os.waitpid(process, 0)
    script.unlink()
    assert os.WIFSIGNALED(status) or not status, status
    return os.WIFSIGNALED(status)


def main(original: Path, copies: Path, script: Path) -> None:
    """Go on until a copy is prepared."""
    for change in count(1):
        shutil.copytree(original, copies / str(change))
        if not killed_at(change, copies / str(change), script):
            return


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
