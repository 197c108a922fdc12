"""Who changed what: a line in the log and in DATA/audit.log."""

import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

from twisted.internet.defer import DeferredLock
from twisted.python.failure import Failure

from rendezvous.admin.threads import in_thread
from rendezvous.logs import logger

LARGEST = 10_000_000
"""Bytes of the file, which is begun anew then; one older one is kept."""
log = logger("admin")


class By(NamedTuple):
    """Who does something, and from where: an address, or the control socket."""

    who: str
    address: str


class Audit:
    """Writes the lines, in a thread and in order. What can't be written is in the log at least."""

    def __init__(self, data: Path, reactor: Any) -> None:
        self._path = data / "audit.log"
        self._reactor = reactor
        self._one_at_a_time = DeferredLock()

    def note(self, by: By, what: str, **facts: object) -> None:
        """Somebody has done `what`, which names the `facts`. The file has them whole, whatever the log shortens."""
        log.info("{who} at {address}: " + what, **by._asdict(), **facts)
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = json.dumps({"time": now, **by._asdict(), "what": what.format(**facts)}) + "\n"
        written = self._one_at_a_time.run(in_thread, self._reactor, self._write, line)
        written.addErrback(self._not_written)

    def _write(self, line: str) -> None:
        if self._path.exists() and self._path.stat().st_size > LARGEST:
            self._path.replace(self._path.with_name("audit.log.1"))
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)

    def _not_written(self, reason: Failure) -> None:
        reason.trap(OSError)
        log.error("{path} can't be written: {why}", path=str(self._path), why=reason.getErrorMessage())
