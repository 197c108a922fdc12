"""What holds for the whole process: its clock, how it asks for names, and its end without memory."""

import gc
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from threading import Thread
from types import FrameType
from typing import Any, Literal

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IReactorFromThreads,
    IResolutionReceiver,
)
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from rendezvous.logs import logger

_Question = tuple[str, int, int, int]
"""The first arguments of getaddrinfo."""
_FAMILIES = {IPv4Address: socket.AF_INET, IPv6Address: socket.AF_INET6}
_THRESHOLDS = (10_000, 3, 500)
"""New objects, and searches of each of the younger generations, before cycles of objects are searched for."""
_KINDS = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}


def prepare(reactor: Any) -> None:
    """Makes `reactor`, before it runs, and its process ready for a service that stays up."""
    use_monotonic_time(reactor)
    collect_seldom(reactor)
    reactor.installNameResolver(NameResolver(reactor))
    globalLogPublisher.addObserver(EndWithoutMemory())


def on_signal(number: int, act: Callable[[], object], reactor: Any) -> None:
    """Has `reactor` call `act` when the signal `number` comes."""

    def handle(number: int, frame: FrameType | None) -> None:
        reactor.callFromThread(act)

    signal.signal(number, handle)


def use_monotonic_time(reactor: Any) -> None:
    """Times everything by a clock that nobody can set."""
    # Twisted's reactors go by the wall clock: when that is set by hours, every timer would fire, or none, and
    # all clients be offline. Dates that are stored or shown come from time.time().
    if reactor.seconds is not time.time:
        return
    ahead = time.time() - time.monotonic()
    for call in reactor.getDelayedCalls():  # at the same moment by the new clock
        call.time -= ahead
        call.seconds = time.monotonic
    reactor.seconds = time.monotonic


def collect_seldom(reactor: Any) -> None:
    """Searches for cycles of objects seldom, in all of the memory hardly ever, and never in what a start makes."""
    # Everybody waits meanwhile: 2 ms for 10,000 new objects, 0.4 s for 200,000 peers. A commit's registrations are
    # many objects at once, and no growth. What clients leave has no cycles, or small ones.
    gc.set_threshold(*_THRESHOLDS)
    reactor.callWhenRunning(gc.freeze)


@implementer(IHostResolution)
class _Resolution:
    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """See IHostResolution; who asked has a deadline, and the answer is no secret."""


@implementer(IHostnameResolver)
class NameResolver:
    """Asks for a name in a thread of its own, which nobody waits for, and once however many want to know.

    So a resolver that hangs holds up neither other names nor the end of the process. Names are the
    administrator's, of relays and the API server: there are few.
    """

    def __init__(self, reactor: IReactorFromThreads) -> None:
        self._reactor = reactor
        self._waiting: dict[_Question, list[IResolutionReceiver]] = {}

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """See IHostnameResolver."""
        families = {_FAMILIES[kind] for kind in addressTypes or _FAMILIES}
        family = families.pop() if len(families) == 1 else socket.AF_UNSPEC
        question = (hostName, portNumber, int(family), int(_KINDS[transportSemantics]))
        resolution = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        waiting = self._waiting.setdefault(question, [])
        waiting.append(resolutionReceiver)
        if len(waiting) == 1:
            try:
                Thread(target=self._ask, args=(question,), daemon=True).start()
            except RuntimeError:  # there are no more threads
                self._answer(question, [])
        return resolution

    def _ask(self, question: _Question) -> None:
        try:
            found = [entry[4] for entry in socket.getaddrinfo(*question)]
        except (OSError, UnicodeError):
            found = []
        self._reactor.callFromThread(self._answer, question, found)

    def _answer(self, question: _Question, found: list[tuple[Any, ...]]) -> None:
        for receiver in self._waiting.pop(question):
            for address in found:
                receiver.addressResolved(_address(question[3], address))
            receiver.resolutionComplete()


def _address(kind: int, address: tuple[Any, ...]) -> IAddress:
    transport: Literal["TCP", "UDP"] = "TCP" if kind == socket.SOCK_STREAM else "UDP"
    return IPv4Address(transport, *address) if len(address) == 2 else IPv6Address(transport, *address)


@implementer(ILogObserver)
class EndWithoutMemory:
    """Ends the process when the log tells that there was no memory, or no thread could be started.

    A server that goes on serves some and fails others, and a thread pool of Twisted that could not start a
    thread never works again; one that is started anew serves all. What was acknowledged is on disk, so it
    ends at once.
    """

    log = logger()

    def __init__(self) -> None:
        self._spare = bytearray(1 << 20)
        """Room for the last words."""

    def __call__(self, event: LogEvent) -> None:
        """See ILogObserver."""
        failure = event.get("log_failure") or event.get("failure")  # of Twisted's newer and its older way to log
        if failure is None or not isinstance(failure.value, MemoryError | RuntimeError):
            return
        if isinstance(failure.value, RuntimeError) and str(failure.value) != "can't start new thread":
            return
        self._spare = bytearray()
        try:
            self.log.critical(
                "There is no memory or no thread left, so the server ends; give it more, or lower its limits."
            )
        finally:
            os._exit(1)
