"""Handing over to processes that fail, whenever they do."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from rendezvous.composed import Composed
from rendezvous.config import load
from rendezvous.handover import Handover, Predecessor
from rendezvous.peers.store import PeerRecord, SQLitePeerStore
from rendezvous.tap import compose
from tests.client.controlled import Identity
from tests.client.controlling import Controlling
from tests.client.links import Server
from tests.client.udp import UdpLink
from tests.hbbr.real import on_reactor, reactor
from tests.integration.server import free_port
from tests.integration.support import unique_source
from tests.integration.test_restart import OK

PREPARED = """
import os, pathlib
says = 4 + int(os.environ["RENDEZVOUS_HANDED_OVER"].partition(":")[2])
os.write(says, b"prepared\\n")
pathlib.Path("went").write_bytes(os.read(says - 1, 16))
"""
"""A new process that ends when it is its turn."""
REFUSING = """
import os
from rendezvous.handover import Predecessor
Predecessor.of(os.environ).refuse("one\\ntwo")
"""


@contextmanager
def serving(folder: Path) -> Iterator[tuple[Composed, int]]:
    """Both servers, and their main port."""
    port = free_port()
    service = compose(load("both", {"port": str(port)}, directory=folder, environ={}), reactor, 20_000)
    service.startService()
    try:
        yield service, port
    finally:
        service.stopService()


async def why_not(service: Composed, command: list[str], folder: Path) -> str:
    """Why such a new process does not take over."""
    failed: Deferred[str] = Deferred()
    handover = Handover(service, lambda process: pytest.fail("taken over"), failed.callback, reactor)
    handover.begin(command, str(folder))
    return await failed


def register(port: int) -> int:
    """What a new peer hears."""
    with UdpLink(("127.0.0.1", port), (unique_source(), 0)) as udp:
        return udp.ask(Identity.make().register_pk()).register_pk_response.result


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ([sys.executable, "-c", PREPARED], "it has ended; what it wrote tells why"),
        ([sys.executable, "-c", REFUSING], "one two"),
        (["/nowhere/python"], ""),
    ],
    ids=["ends when it is its turn", "refuses", "is not there"],
)
@on_reactor
async def test_failures(tmp_path: Path, command: list[str], why: str) -> None:
    """The old process serves as before, and the next try fails in the same way."""
    with serving(tmp_path) as (service, port):
        for _ in range(2):
            assert why in await why_not(service, command, tmp_path)
            assert await deferToThread(register, port) == OK


@on_reactor
async def test_conversations_after_a_failure(tmp_path: Path) -> None:
    """Connections are served again."""
    with serving(tmp_path) as (service, port):
        await why_not(service, [sys.executable, "-c", PREPARED], tmp_path)
        assert (tmp_path / "went").read_text() == "go\n"
        asker = Controlling(Server("127.0.0.1", port, 0, "", b""), source=unique_source())
        assert await deferToThread(asker.online, ["nobody"]) == [False]


@on_reactor
async def test_what_was_written_meanwhile(tmp_path: Path) -> None:
    """Peers and settings that the old process has stored since the new one was prepared are known to it."""
    with serving(tmp_path) as (service, _):
        hbbs = service.hbbs
        assert hbbs is not None
        other = SQLitePeerStore(tmp_path / "db_v2.sqlite3", reactor)
        await other.save([PeerRecord("123456789", b"uuid", b"pk", "127.0.0.1")])
        await other.save_client_settings(7, ["a.example"])
        await other.close()
        assert hbbs.directory.is_unknown("123456789")
        service.refresh()
        assert not hbbs.directory.is_unknown("nobody")  # it is not known yet whose ids there are
        await hbbs.patience.until(lambda: hbbs.directory.is_unknown("nobody"), 20)
        assert hbbs.directory.is_unknown("nobody")
        assert not hbbs.directory.is_unknown("123456789")
        assert hbbs.directory.stored == 1
        assert hbbs.spoken.client_settings.serial == 7


def test_no_predecessor() -> None:
    """What another process than the parent left in the environment means nothing."""
    assert Predecessor.of({"RENDEZVOUS_HANDED_OVER": "0:3"}) is None
    assert Predecessor.of({"RENDEZVOUS_HANDED_OVER": f"{os.getppid()}:all"}) is None
    assert Predecessor.of({}) is None
