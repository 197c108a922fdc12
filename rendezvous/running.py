"""A server in a process of its own: systemd is told of it, the second signal is the last, another may take over."""

import os
import signal
import sys
import time
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall

from rendezvous.composed import Composed
from rendezvous.handover import Handover, Predecessor
from rendezvous.logs import logger
from rendezvous.notify import Notifier
from rendezvous.peers.store import StoreError
from rendezvous.process import on_signal

_LAST = 2
"""Seconds from a second signal to the end, whatever hangs."""


class Running(MultiService):
    """`service`, and what `notifier` tells of it: that it is ready, alive, stopping.

    It begins when `predecessor` serves no more. Once another process has taken over, its relay sessions
    and API calls have `restart_timeout` seconds to end.
    """

    log = logger()

    def __init__(
        self,
        service: Composed,
        notifier: Notifier,
        reactor: Any,
        restart_timeout: float,
        predecessor: Predecessor | None = None,
    ) -> None:
        super().__init__()
        self.addService(service)
        self._service = service
        self._notifier = notifier
        self._reactor = reactor
        self._restart_timeout = restart_timeout
        self._predecessor = predecessor
        self._start = [sys.executable, *sys.orig_argv[1:]], os.getcwd()  # before twistd changes the folder
        self._handover: Handover | None = None
        self._ending = False
        self._alive = LoopingCall(notifier.tell, WATCHDOG=1)
        self._alive.clock = reactor

    def startService(self) -> None:
        """Starts, and takes over if there is something to take over; it is ready once the reactor runs."""
        if self._predecessor is not None:
            self._predecessor.wait_for_turn()
            try:
                self._service.refresh()
            except StoreError as error:
                self._predecessor.refuse(str(error))
                raise SystemExit(str(error)) from None
        on_signal(signal.SIGUSR2, self.restart, self._reactor)  # before anybody is told that it is ready
        super().startService()
        self._reactor.callWhenRunning(self._ready)

    def _ready(self) -> None:
        if self._predecessor is not None:
            self._predecessor.serving()
        self._notifier.tell(READY=1, STATUS="serving")
        if self._notifier.watchdog:
            self._alive.start(self._notifier.watchdog)

    # Another process takes over ------------------------------------------------------------------

    def restart(self) -> None:
        """Starts a new process, which takes over."""
        if self._handover is not None or not self.running:
            self.log.info("there is a new process already")
            return
        self.log.info("a new process is started, which takes over")
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._notifier.tell(RELOADING=1, MONOTONIC_USEC=now, STATUS="starting a new process")
        self._handover = Handover(self._service, self._taken_over, self._not_taken_over, self._reactor)
        self._handover.begin(*self._start)

    def _not_taken_over(self, why: str) -> None:
        self._handover = None
        self.log.error("the new process does not take over, and this one goes on: {reason}", reason=why)
        self._notifier.tell(READY=1, STATUS=f"serving; the new process did not: {why}")

    def _taken_over(self, process: int) -> None:
        self._notifier.tell(MAINPID=process, READY=1, STATUS="serving")
        self._notifier = Notifier({})  # all else is told by the new one
        self._stop_alive()
        self.log.info(
            "process {process} has taken over; {count} relay sessions and {calls} API calls go on here",
            process=process,
            count=self._service.sessions,
            calls=self._service.calls,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            on_signal(number, self._end, self._reactor)
        self._service.retire(self._restart_timeout).addBoth(self._retired)

    def _retired(self, _: object) -> None:
        self._service.hasten()
        self._end()

    def _end(self) -> None:
        """Ends once, whether a signal comes or the last session ends first."""
        if not self._ending and self.running:
            self._ending = True
            self._reactor.stop()

    # The end -------------------------------------------------------------------------------------

    def stopService(self) -> "Deferred[None]":
        """Fires when everything has ended; until then the watchdog is told that it is alive."""
        self.running = 0
        self._notifier.tell(STOPPING=1, STATUS="stopping")
        for number in (signal.SIGTERM, signal.SIGINT):
            on_signal(number, self._end_at_once, self._reactor)
        if self._handover is not None:
            self._handover.fail("this one is told to end")
        return maybeDeferred(super().stopService).addBoth(self._stopped)

    def _end_at_once(self) -> None:
        signal.alarm(_LAST)  # nobody handles that signal, so it ends the process
        self.log.info("a second signal: the server ends at once")
        self._service.hasten()

    def _stopped(self, result: Any) -> Any:
        self._stop_alive()
        return result

    def _stop_alive(self) -> None:
        if self._alive.running:
            self._alive.stop()
