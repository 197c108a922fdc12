"""How twistd writes the log: lines for people on a terminal, else JSON; files that can be reopened.

Only ``twistd rendezvous`` comes here. Whoever runs the service otherwise has a log of their own.
"""

import fcntl
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import IO, Any

from twisted.application.service import IService, MultiService
from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    formatEvent,
    formatEventAsClassicLogText,
)
from twisted.python.components import Componentized
from twisted.python.logfile import LogFile
from zope.interface import implementer

from rendezvous.logs import ROOT, gate, logger, plain_fields
from rendezvous.process import on_signal

_DEFAULT_FILE = "twistd.log"
"""What twistd calls its log when it is told no name."""


def as_json(event: LogEvent) -> str:
    """One line: an object with ``time``, ``level``, ``subsystem`` and ``message``, then the event's own fields."""
    failure = event.get("log_failure")
    told = {
        "time": datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds"),
        "level": event.get("log_level", LogLevel.info).name,
        "subsystem": event.get("log_namespace", "").removeprefix(f"{ROOT}."),
        "message": formatEvent(event),
    }
    if failure is not None:
        told["traceback"] = failure.getTraceback()
    fields = {
        name: value
        for name, value in plain_fields(event).items()
        if name not in told and value != told["message"]  # which some consist of
    }
    return json.dumps(told | fields) + "\n"


@implementer(ILogObserver)
class Output:
    """Writes to `file`, as JSON or for people, what the gate allows."""

    def __init__(self, file: IO[str] | LogFile, *, json: bool) -> None:
        self.file = file
        self._write = FileLogObserver(file, as_json if json else formatEventAsClassicLogText)  # type: ignore[arg-type]

    def __call__(self, event: LogEvent) -> None:
        """See ILogObserver."""
        if gate.allows(event):
            self._write(event)


class SharedLogFile(LogFile):
    """A log file that another process, which has taken over from this one, may write to as well."""

    def _openFile(self) -> None:
        super()._openFile()
        descriptor = self._file.fileno()
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_APPEND)


def open_output(twistd: Mapping[str, Any], format: str) -> Output | None:
    """What the options of `twistd` ask for; None where these leave it to something else than a file.

    `format` is ``text``, ``json``, or ``auto`` for the one that suits what is written to.
    """
    name = twistd["logfile"]
    if twistd.get("syslog") or twistd.get("logger") or (name == "-" and not twistd["nodaemon"]):
        return None
    if name == "-" or (twistd["nodaemon"] and not name):
        return Output(sys.stdout, json=format == "json" or (format == "auto" and not sys.stdout.isatty()))
    return Output(SharedLogFile.fromFullPath(name or _DEFAULT_FILE), json=format != "text")


def twistd_options(options: Any) -> Mapping[str, Any] | None:
    """The options of the twistd that runs the service with `options`; None when something else does."""
    while getattr(options, "parent", None) is not None:
        options = options.parent
    return options if "nodaemon" in options and "logfile" in options else None


class Logged(MultiService):
    """`service`, and the log of its process: `output` makes it, unless there is another one already.

    SIGHUP reopens a file that something else has moved away, and SIGUSR1 begins a new one, as with any twistd.
    """

    log = logger()

    def __init__(self, service: IService, output: Callable[[], Output | None], reactor: Any) -> None:
        super().__init__()
        self.addService(service)
        self._make_output = output
        self._reactor = reactor
        self._file: LogFile | None = None

    def setServiceParent(self, parent: Any) -> None:
        """See IService. An application that has no observer yet gets ours, before its log begins."""
        super().setServiceParent(parent)
        if isinstance(parent, Componentized) and parent.getComponent(ILogObserver, None) is None:
            output = self._make_output()
            if output is not None:
                parent.setComponent(ILogObserver, output)
                self._file = output.file if isinstance(output.file, LogFile) else None

    def startService(self) -> None:
        """Listens to signals, and starts."""
        on_signal(signal.SIGHUP, self.reopen, self._reactor)
        if self._file is not None and signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:
            on_signal(signal.SIGUSR1, self._file.rotate, self._reactor)
        super().startService()

    def reopen(self) -> None:
        """Goes on in a new file when the log's was moved away."""
        if self._file is None:
            self.log.info("there is no log file to reopen")
            return
        try:
            os.close(os.open(self._file.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666))
        except OSError as error:
            self.log.error("{path} can't be reopened: {reason}", path=self._file.path, reason=error.strerror)
            return
        self._file.reopen()
        self.log.info("{path} was reopened", path=self._file.path)
