"""A server in a process of its own: systemd is told of it, and a second signal to end is the last."""

import signal
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall

from rendezvous.composed import Composed
from rendezvous.logs import logger
from rendezvous.notify import Notifier
from rendezvous.process import on_signal

_LAST = 2
"""Seconds from a second signal to the end, whatever hangs."""


class Running(MultiService):
    """`service`, and what `notifier` tells of it: that it is ready, alive, stopping."""

    log = logger()

    def __init__(self, service: Composed, notifier: Notifier, reactor: Any) -> None:
        super().__init__()
        self.addService(service)
        self._service = service
        self._notifier = notifier
        self._reactor = reactor
        self._alive = LoopingCall(notifier.tell, WATCHDOG=1)
        self._alive.clock = reactor

    def startService(self) -> None:
        """Starts; it is ready once the reactor runs."""
        super().startService()
        self._reactor.callWhenRunning(self._ready)

    def _ready(self) -> None:
        self._notifier.tell(READY=1, STATUS="serving")
        if self._notifier.watchdog:
            self._alive.start(self._notifier.watchdog)

    def stopService(self) -> "Deferred[None]":
        """Fires when everything has ended; until then the watchdog is told that it is alive."""
        self._notifier.tell(STOPPING=1, STATUS="stopping")
        for number in (signal.SIGTERM, signal.SIGINT):
            on_signal(number, self._end_at_once, self._reactor)
        return maybeDeferred(super().stopService).addBoth(self._stopped)

    def _end_at_once(self) -> None:
        signal.alarm(_LAST)  # nobody handles that signal, so it ends the process
        self.log.info("a second signal: the server ends at once")
        self._service.hasten()

    def _stopped(self, result: Any) -> Any:
        if self._alive.running:
            self._alive.stop()
        return result
