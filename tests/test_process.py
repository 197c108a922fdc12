"""What holds for the whole process: its clock, how it asks for names, and its end without memory."""

from __future__ import annotations

import gc
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver
from zope.interface import implementer

from rendezvous.process import NameResolver, collect_seldom
from tests.hbbr.real import on_reactor, reactor

CLOCK = """
import sys, time
from twisted.application.reactors import installReactor
reactor = installReactor(sys.argv[1])
from rendezvous.process import use_monotonic_time

fired, begin = [], time.monotonic()
moved = reactor.callLater(60, fired.append, "moved")
reactor.callLater(0.2, fired.append, "before")
use_monotonic_time(reactor)
use_monotonic_time(reactor)
assert reactor.seconds is time.monotonic
assert abs(moved.getTime() - begin - 60) < 1
reactor.callLater(0.1, fired.append, "after")
moved.reset(0.3)
reactor.callLater(0.4, reactor.stop)
reactor.run()
assert fired == ["after", "before", "moved"], fired
assert 0.4 <= time.monotonic() - begin < 20
"""
MEMORY = """
from twisted.internet import reactor
from twisted.logger import globalLogBeginner, textFileLogObserver
import sys
from twisted.python import log
from rendezvous.process import prepare

def fail():
    try:
        raise {error}
    except Exception:
        {then}

prepare(reactor)
globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)])
reactor.callLater(0, fail)
reactor.callLater(0, print, "went on")
reactor.callLater(0, reactor.stop)
reactor.run()
"""


@pytest.mark.parametrize("name", ["epoll", "poll", "select", "asyncio"])
def test_monotonic_time(name: str) -> None:
    """Calls that were scheduled before fire at their time, and can be moved."""
    subprocess.run([sys.executable, "-c", CLOCK, name], check=True, timeout=60)


def run_into(error: str, then: str) -> subprocess.CompletedProcess[str]:
    """A process with a reactor that has this error, which reaches the log, and what it says."""
    program = MEMORY.format(error=error, then=then)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("then", ["raise", "log.err()"])
def test_other_errors_do_not_end_it(then: str) -> None:
    """An error in one call is logged, and the process goes on."""
    done = run_into("RuntimeError('another')", then)
    assert "another" in done.stdout
    assert done.returncode == 0
    assert "went on" in done.stdout


@pytest.mark.parametrize("then", ["raise", "log.err()"])
@pytest.mark.parametrize("error", ["MemoryError", 'RuntimeError("can\'t start new thread")'])
def test_end_without_memory(error: str, then: str) -> None:
    """Without memory or threads it ends at once, with one line and without a traceback."""
    done = run_into(error, then)
    assert done.returncode == 1
    assert "There is no memory or no thread left" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


class Starting:
    """A reactor that is about to run."""

    def __init__(self) -> None:
        self.run: list[Callable[[], object]] = []
        self.callWhenRunning = self.run.append


def test_full_collections_are_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches are rare, and short unless they are full; what the start has made is left out once it runs."""
    set_to: list[tuple[int, ...]] = []
    monkeypatch.setattr(gc, "set_threshold", lambda *thresholds: set_to.append(thresholds))
    starting, frozen = Starting(), gc.get_freeze_count()
    collect_seldom(starting)
    (young, middle, old), usual = set_to[0], gc.get_threshold()
    assert young > usual[0]
    assert young * middle < 100_000
    assert young * middle * old > 10_000_000
    assert gc.get_freeze_count() == frozen
    for call in starting.run:
        call()
    try:
        assert gc.get_freeze_count() > frozen
    finally:
        gc.unfreeze()


@implementer(IResolutionReceiver)
class Receiver:
    """Gathers the answer; `complete` fires with it."""

    def __init__(self) -> None:
        self.began: IHostResolution | None = None
        self._addresses: list[IAddress] = []
        self.complete: Deferred[list[IAddress]] = Deferred()

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """See IResolutionReceiver."""
        self.began = resolutionInProgress

    def addressResolved(self, address: IAddress) -> None:
        """See IResolutionReceiver."""
        self._addresses.append(address)

    def resolutionComplete(self) -> None:
        """See IResolutionReceiver."""
        self.complete.callback(self._addresses)


def asked(resolver: NameResolver, name: str, **question: Any) -> Receiver:
    """A question that has been asked."""
    receiver = Receiver()
    assert resolver.resolveHostName(receiver, name, **question) is receiver.began
    return receiver


@pytest.mark.parametrize(("name", "kind"), [("127.0.0.1", IPv4Address), ("::1", IPv6Address)])
@on_reactor
async def test_names_are_resolved(name: str, kind: type) -> None:
    """Addresses come with their port, as Twisted's own."""
    (address,) = await asked(NameResolver(reactor), name, portNumber=7).complete
    assert isinstance(address, kind)
    assert (address.type, address.host, address.port) == ("TCP", name, 7)  # type: ignore[attr-defined]


@on_reactor
async def test_only_the_types_asked_for() -> None:
    """Who wants IPv4 for UDP gets that."""
    found = await asked(
        NameResolver(reactor), "127.0.0.1", addressTypes=[IPv4Address], transportSemantics="UDP"
    ).complete
    assert found == [IPv4Address("UDP", "127.0.0.1", 0)]


@pytest.mark.parametrize("name", ["nobody.invalid", "a" * 70 + ".invalid", "a..b"])
@on_reactor
async def test_unknown_names(name: str) -> None:
    """A name that is unknown or malformed has no addresses."""
    assert await asked(NameResolver(reactor), name).complete == []


@on_reactor
async def test_a_name_is_asked_for_once_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """All who ask while a resolver thinks wait for the same answer; it holds up no other name."""
    answer, questions, real = threading.Event(), [], socket.getaddrinfo

    def slow(host: str, *rest: Any) -> Any:
        questions.append(host)
        if host == "slow":
            answer.wait(10)
        return real("127.0.0.1", *rest)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    resolver = NameResolver(reactor)
    waiting = [asked(resolver, "slow") for _ in range(100)]
    assert len(await asked(resolver, "quick").complete) == 1
    assert not any(receiver.complete.called for receiver in waiting)
    answer.set()
    for receiver in waiting:
        assert len(await receiver.complete) == 1
    assert sorted(questions) == ["quick", "slow"]
