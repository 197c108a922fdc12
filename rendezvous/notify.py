"""What systemd is told: ready, alive, stopping, which process is the main one (sd_notify(3))."""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress


class Notifier:
    """Sends to the socket that `environ` names in NOTIFY_SOCKET; nothing when it names none.

    `watchdog` is how many seconds may pass between two signs of life: half of what systemd allows, 0 when it
    watches another process, or none.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._name = environ.get("NOTIFY_SOCKET", "")
        self.watchdog = 0.0
        microseconds, process = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
        if self._name and microseconds.isdecimal() and process in ("", str(os.getpid())):
            self.watchdog = int(microseconds) / 2e6

    def tell(self, **values: str | int) -> None:
        """Sends ``NAME=value`` for each of `values`; it is lost when nobody is there."""
        if not self._name:
            return
        # "@" stands for the zero byte of Linux's names that are in no file system.
        address = self._name.replace("@", "\0", 1) if self._name.startswith("@") else self._name
        message = "\n".join(f"{name}={value}" for name, value in values.items())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, suppress(OSError):
            sock.setblocking(False)
            sock.sendto(message.encode(), address)
