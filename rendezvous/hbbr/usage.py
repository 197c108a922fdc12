"""What relayed sessions used: told to recorders when a session ends (docs/operations.md)."""

import os
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.enterprise.adbapi import ConnectionPool, Transaction
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from rendezvous.config_values import ConfigError
from rendezvous.logs import logger
from rendezvous.trouble import Trouble
from rendezvous.wire.address import Address

_DAY = 86400
_PURGE_EVERY = 3600.0
_MOST_WAITING = 10000
"""Records that may wait to be written; when the disk is that slow, more are dropped."""
_SCHEMA = """
create table if not exists session (
    ended_at integer not null,           -- seconds since the epoch
    seconds real not null,
    first text not null,                 -- address:port of the side that came first
    first_transport text not null,       -- tcp or websocket
    second text not null,
    second_transport text not null,
    bytes_from_first integer not null,
    bytes_from_second integer not null,
    peak integer not null,               -- bytes in the busiest second, both ways
    why text not null
);
create index if not exists index_session_ended_at on session (ended_at);
"""


@dataclass(frozen=True)
class SessionUsage:
    """One ended session; bytes are those that each side sent, `peak` the most of both in a second."""

    ended_at: float
    """Seconds since the epoch."""
    seconds: float
    first: Address
    first_transport: str
    second: Address
    second_transport: str
    bytes_from_first: int
    bytes_from_second: int
    peak: int
    why: str


class IUsageRecorder(Interface):
    """Is told of every session that has ended."""

    def ended(usage: SessionUsage) -> None:
        """Takes note of it and returns at once; what it raises is logged."""


@implementer(IUsageRecorder)
class UsageLog:
    """Writes a line to the log."""

    log = logger("hbbr")

    def ended(self, usage: SessionUsage) -> None:
        """See IUsageRecorder."""
        self.log.info(
            "{first} ({first_transport}) and {second} ({second_transport}) relayed {bytes_from_first} and "
            "{bytes_from_second} bytes in {seconds:.0f} s, at most {peak} in a second: {reason}",
            bytes=usage.bytes_from_first + usage.bytes_from_second,
            reason=usage.why,
            **{name: value for name, value in vars(usage).items() if name not in ("ended_at", "why")},
        )


@implementer(IUsageRecorder)
class UsageTable(Service):
    """Writes a row to a SQLite file, and deletes those older than `days`. Raises ConfigError."""

    log = logger("hbbr")

    def __init__(self, path: Path, days: int, reactor: Any) -> None:
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            with sqlite3.connect(path) as connection:
                connection.executescript(_SCHEMA)
            connection.close()
        except (sqlite3.Error, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise ConfigError(f"usage-db: {str(path)!r} can't be used: {why}; it takes a SQLite file.") from None
        self._days = days
        self._waiting: list[tuple[Any, ...]] = []
        self._writing = False
        self._trouble = Trouble("writing usage", self.log, reactor)
        self._pool = ConnectionPool(
            "sqlite3", str(path), check_same_thread=False, cp_min=1, cp_max=1, cp_noisy=False, cp_reactor=reactor
        )
        self._purge = LoopingCall(self.purge)
        self._purge.clock = reactor

    def startService(self) -> None:
        """Begins to delete old rows."""
        super().startService()
        self._purge.start(_PURGE_EVERY)

    def stopService(self) -> "Deferred[None]":
        """Fires when everything is written and the file closed."""
        super().stopService()
        self._purge.stop()
        rest, self._waiting = self._waiting, []
        written: Deferred[None] = self._pool.runInteraction(_write, rest)
        return written.addErrback(self._failed).addBoth(lambda _: self._pool.close())

    def ended(self, usage: SessionUsage) -> None:
        """See IUsageRecorder; rows that come while others are written share the next transaction."""
        if len(self._waiting) < _MOST_WAITING:
            self._waiting.append(
                (
                    int(usage.ended_at),
                    usage.seconds,
                    str(usage.first),
                    usage.first_transport,
                    str(usage.second),
                    usage.second_transport,
                    usage.bytes_from_first,
                    usage.bytes_from_second,
                    usage.peak,
                    usage.why,
                )
            )
        if not self._writing:
            self._write()

    def purge(self) -> "Deferred[None]":
        """Deletes the rows that are too old."""
        oldest = int(time.time()) - self._days * _DAY
        purged: Deferred[None] = self._pool.runOperation("delete from session where ended_at < ?", (oldest,))
        return purged.addErrback(self._failed)

    def _write(self) -> None:
        rows, self._waiting = self._waiting, []
        self._writing = True
        self._pool.runInteraction(_write, rows).addCallbacks(self._written, self._keep, errbackArgs=(rows,))

    def _written(self, _: None) -> None:
        self._trouble.worked()
        self._writing = False
        if self._waiting and self.running:
            self._write()

    def _keep(self, reason: Failure, rows: list[tuple[Any, ...]]) -> None:
        """The rows are written with those of the next session that ends, as far as there is room."""
        self._failed(reason)
        self._writing = False
        self._waiting = (rows + self._waiting)[:_MOST_WAITING]

    def _failed(self, reason: Failure) -> None:
        self._trouble.failed(reason.getErrorMessage())


def _write(transaction: Transaction, rows: list[tuple[Any, ...]]) -> None:
    transaction.executemany("insert into session values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
