"""What recorders are told, and the table of sessions."""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.logger import capturedLogs, formatEvent
from zope.interface import implementer
from zope.interface.verify import verifyObject

import rendezvous
from rendezvous.config_values import ConfigError
from rendezvous.hbbr.usage import IUsageRecorder, SessionUsage, UsageLog, UsageTable
from rendezvous.wire.address import Address
from rendezvous.wire.framing import encode_frame
from tests.hbbr.memory import FarEnd
from tests.hbbr.real import until
from tests.hbbr.relay_fixture import MemoryRelay, request, say
from tests.integration.server import free_port
from tests.peers.sqlite import on_reactor

A, B = Address("192.0.2.1", 1000), Address("2001:db8::1", 2000)


def usage(ended_at: float, why: str = "finished") -> SessionUsage:
    """A session that ended then."""
    return SessionUsage(ended_at, 2.5, A, "tcp", B, "websocket", 10, 20, 15, why)


def rows(path: Path) -> list[Any]:
    """What the file holds."""
    with sqlite3.connect(path) as connection:
        found = connection.execute("select * from session order by ended_at").fetchall()
    connection.close()
    return found


def test_recorders_are_recorders(tmp_path: Path) -> None:
    """Both provide the interface."""
    assert verifyObject(IUsageRecorder, UsageLog())
    assert verifyObject(IUsageRecorder, UsageTable(tmp_path / "usage.sqlite3", 1, reactor))


@on_reactor
async def test_recorders_of_an_application(tmp_path: Path) -> None:
    """An application's own recorders are told of a session once, when it has ended."""
    seen: list[SessionUsage] = []

    @implementer(IUsageRecorder)
    class Recorder:
        def ended(self, usage: SessionUsage) -> None:
            seen.append(usage)

    port = free_port()
    service: Any = rendezvous.makeHbbr(data=tmp_path, relay_port=port, consoles=False, recorders=[Recorder()])
    service.startService()
    try:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        first, second = [await connectProtocol(endpoint, Protocol()) for _ in range(2)]
        for side, said in ((first, b"hello"), (second, b"")):
            side.transport.write(encode_frame(request("u")) + said)
            await until(lambda: bool(service.hbbr.relay.waiting or service.hbbr.relay.sessions), "a side")
        await until(lambda: bool(service.hbbr.relay.sessions), "the session")
        first.transport.loseConnection()
        second.transport.loseConnection()
        await until(lambda: bool(seen), "the session's end")
    finally:
        await service.stopService()
    [usage] = seen
    assert (usage.bytes_from_first, usage.bytes_from_second) == (5, 0)


def test_for_its_owner_alone(tmp_path: Path) -> None:
    """A new file is its owner's alone; one that is there stays as it is."""
    path, old = tmp_path / "usage.sqlite3", os.umask(0)
    try:
        UsageTable(path, 1, reactor)
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    UsageTable(path, 1, reactor)
    assert path.stat().st_mode & 0o777 == 0o640


@on_reactor
async def test_rows_are_written_and_old_ones_deleted(tmp_path: Path) -> None:
    """Each session is a row; rows older than the days to keep are gone, also with the last ones unwritten."""
    path = tmp_path / "usage.sqlite3"
    table = UsageTable(path, 2, reactor)
    table.startService()
    now = time.time()
    for age in (0, 1, 3):
        table.ended(usage(now - age * 86400))
    await table.purge()
    await table.stopService()
    table = UsageTable(path, 2, reactor)
    table.startService()
    await table.purge()
    await table.stopService()
    assert [row[0] for row in rows(path)] == [int(now - 86400), int(now)]
    assert rows(path)[0][1:] == (
        2.5, "192.0.2.1:1000", "tcp", "[2001:db8::1]:2000", "websocket", 10, 20, 15, "finished",
    )  # fmt: skip


@on_reactor
async def test_rows_wait_for_a_disk_that_fails(tmp_path: Path) -> None:
    """Rows that could not be written are written with the next ones."""
    path = tmp_path / "usage.sqlite3"
    table = UsageTable(path, 36500, reactor)
    with closing(sqlite3.connect(path)) as other:
        other.execute("alter table session rename to hidden")
        table.startService()
        table.ended(usage(1))
        await until(lambda: not table._writing, "the first row has failed")
        other.execute("alter table hidden rename to session")
    table.ended(usage(2))
    await table.stopService()
    assert [row[0] for row in rows(path)] == [1, 2]


def test_no_database_is_refused(tmp_path: Path) -> None:
    """A file that is no database ends the start with one sentence."""
    path = tmp_path / "usage.sqlite3"
    path.write_bytes(b"no database" * 100)
    with pytest.raises(ConfigError, match=r"usage-db: .* can't be used"):
        UsageTable(path, 1, reactor)


@pytest.mark.parametrize(("kinds", "transports"), [("tt", ("tcp", "tcp")), ("wt", ("websocket", "tcp"))])
def test_a_session_is_told_once(kinds: str, transports: tuple[str, str]) -> None:
    """When a session has ended, a recorder is told of it once: bytes each way, transports, why."""
    told: list[SessionUsage] = []
    relay = MemoryRelay(recorders=[_Told(told)])
    first, second = relay.joined(kinds)
    say(first, b"12345")
    relay.drain()
    say(second, b"1234567")
    relay.drain()
    first.reset()
    relay.drain()
    assert len(told) == 1
    plain = kinds == "tt"
    assert (told[0].first_transport, told[0].second_transport) == transports
    assert (told[0].bytes_from_first, told[0].bytes_from_second) == ((6, 8) if plain else (5, 7))
    assert told[0].peak == sum((6, 8) if plain else (5, 7))
    assert told[0].why == "closed"


def at_age(age: float, kinds: str = "tt") -> tuple[MemoryRelay, list[SessionUsage], FarEnd, FarEnd]:
    """A session whose first look at it comes when it is so old, and what recorders are told."""
    told: list[SessionUsage] = []
    relay = MemoryRelay(recorders=[_Told(told)])
    relay.joined("tt", uuid="other", hosts=("192.0.2.50", "192.0.2.51"))  # whose beginning sets the looks
    relay.advance(1 - age)
    return relay, told, *relay.joined(kinds, uuid="new")


@pytest.mark.parametrize("age", [0.001, 0.4, 0.8])
def test_a_new_session_is_no_faster_than_it_is(age: float) -> None:
    """A burst right before the first look counts as bytes of a second, not of the moment since the beginning."""
    relay, _, first, _ = at_age(age)
    first.send(bytes(100_000))
    relay.settle()
    for _ in range(12):
        relay.advance(0.25)
        relay.drain()
        (session,) = [session for session in relay.relay.sessions if session.usage.transferred]
        assert session.usage.now <= 100_000
        assert session.usage.peak <= 100_000
    assert session.usage.peak >= 50_000
    assert session.usage.now == 0


@pytest.mark.parametrize("seconds", [0.001, 0.3, 2.5])
def test_the_peak_of_a_session_that_ends_early(seconds: float) -> None:
    """A session that ends before its first whole second has its bytes as its peak; a later end inflates none."""
    relay, told, first, _ = at_age(0.001)
    first.send(bytes(50_000))
    relay.advance(seconds)
    relay.drain()
    first.send(bytes(1000))
    first.reset()
    relay.drain()
    assert 25_000 <= told[0].peak <= 51_000
    assert seconds > 1 or told[0].peak == told[0].bytes_from_first


def test_the_console_averages_over_a_second_at_least() -> None:
    """`usage` shows a session that has just begun with no more than its bytes in a second."""
    relay = MemoryRelay()
    first, _ = relay.joined("tt")
    first.send(bytes(1024))
    relay.drain()
    relay.advance(0.001)
    assert relay.type("u").endswith(" 0kb/s 8kb/s 0kb/s\n")


@implementer(IUsageRecorder)
class _Told:
    def __init__(self, told: list[SessionUsage]) -> None:
        self._told = told

    def ended(self, usage: SessionUsage) -> None:
        self._told.append(usage)


def test_a_recorder_that_fails_is_told_in_the_log() -> None:
    """A recorder that raises stops neither the end of the session nor the recorders behind it."""

    @implementer(IUsageRecorder)
    class Broken:
        def ended(self, usage: SessionUsage) -> None:
            raise RuntimeError("a recorder of somebody else's")

    told: list[SessionUsage] = []
    relay = MemoryRelay(recorders=[Broken(), _Told(told)])
    first, second = relay.joined()
    with capturedLogs() as events:
        first.reset()
        relay.drain()
    assert [str(event["log_failure"].value) for event in events if "log_failure" in event] == [
        "a recorder of somebody else's"
    ]
    assert len(told) == 1
    assert second.closed
    relay.check_nothing_left()


def test_the_line_of_a_session() -> None:
    """The log has a line for each session: who, by which transports, bytes each way, the busiest second, why."""
    with capturedLogs() as events:
        UsageLog().ended(usage(1.0))
    assert formatEvent(events[-1]) == (
        "192.0.2.1:1000 (tcp) and [2001:db8::1]:2000 (websocket) relayed 10 and 20 bytes in 2 s, "
        "at most 15 in a second: finished"
    )
