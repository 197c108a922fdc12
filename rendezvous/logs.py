"""What of the log is let through: levels for each subsystem, and how much of addresses and ids is told.

Every logger of ours sends its events through `gate` to Twisted's publisher, whoever may observe that.
"""

from collections.abc import Iterable
from ipaddress import ip_network
from typing import Any

from twisted.logger import (
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    PredicateResult,
    globalLogPublisher,
)
from zope.interface import implementer

from rendezvous.config_values import log_levels
from rendezvous.wire.address import Address, is_ipv6, plain_network

ROOT = "rendezvous"
_IDS = ("id", "old_id", "new_id")
"""Fields that hold an id of a client; `ids` holds several, and `entry` what is in a list of addresses or ids."""
_SHOWN_OF_AN_ADDRESS = {4: 24, 6: 48}
"""Bits, by the version of IP."""
_SHOWN_OF_AN_ID = 3
_OLDER = ("system", "format", "isError", "failure", "why")
"""Fields of Twisted's older way to log."""


@implementer(ILogObserver)
class Gate:
    """Passes on what is important enough; when `private`, with addresses and ids shortened.

    There is one in a process. It may be changed at any time, and what comes from then on is treated so.
    """

    def __init__(self) -> None:
        self.private = False
        self.verbose = False
        """Whether any debug events pass."""
        self.set_levels(log_levels("info"))

    def set_levels(self, levels: Iterable[tuple[str, str]]) -> None:
        """Changes the levels to what `config_values.log_levels` makes of a text."""
        self._levels = dict(levels)
        self._predicate = LogLevelFilterPredicate(LogLevel.levelWithName(self._levels[""]))
        for name, level in self._levels.items():
            if name:
                self._predicate.setLogLevelForNamespace(f"{ROOT}.{name}", LogLevel.levelWithName(level))
        self.verbose = "debug" in self._levels.values()

    @property
    def levels(self) -> str:
        """The levels as text."""
        return ",".join(f"{name}={level}" if name else level for name, level in self._levels.items())

    def allows(self, event: LogEvent) -> bool:
        """Whether an event, of ours or of others, is important enough."""
        return self._predicate(event) is not PredicateResult.no

    def __call__(self, event: LogEvent) -> None:
        """See ILogObserver."""
        if self.allows(event):
            if self.private:
                _shorten(event)
            globalLogPublisher(event)


gate = Gate()
"""The gate of this process."""


class _Logger(Logger):
    """A logger whose debug events cost next to nothing while nobody wants them."""

    def __get__(self, instance: object, owner: type | None = None) -> Logger:
        return self

    def debug(self, format: str | None = None, **kwargs: object) -> None:
        """See Logger."""
        if gate.verbose:
            super().debug(format, **kwargs)


def logger(subsystem: str = "") -> Logger:
    """The logger of a subsystem, one of `config_values.SUBSYSTEMS`, or of none in particular."""
    return _Logger(f"{ROOT}.{subsystem}" if subsystem else ROOT, observer=gate)


def _shorten(event: LogEvent) -> None:
    for name, value in event.items():
        if isinstance(value, Address):
            event[name] = network_of(value.host)
        elif name in _IDS:
            event[name] = _shortened(str(value))
        elif name == "address":
            event[name] = _shortened_host(str(value))
        elif name == "ids":
            event[name] = " ".join(map(_shortened, str(value).split()))
        elif name == "entry":
            event[name] = _shortened_entry(str(value))


def _shortened(id: str) -> str:
    return f"{id[:_SHOWN_OF_AN_ID]}..."


def _shortened_host(host: str) -> str:
    try:
        return network_of(host)
    except ValueError:  # an administrator's control socket
        return host


def _shortened_entry(entry: str) -> str:
    try:
        network = plain_network(entry)
    except ValueError:
        return _shortened(entry)
    shown = _SHOWN_OF_AN_ADDRESS[network.version]
    return str(network if network.prefixlen <= shown else network.supernet(new_prefix=shown))


def network_of(host: str) -> str:
    """What a numeric, plain `host` is told as: its /24, or with IPv6 its /48."""
    return str(ip_network((host, _SHOWN_OF_AN_ADDRESS[6 if is_ipv6(host) else 4]), strict=False))


def plain_fields(event: LogEvent) -> dict[str, Any]:
    """What an event tells besides its text: numbers and texts by name, without what logging itself put there."""
    return {
        name: value if isinstance(value, bool | int | float | None) else str(value)
        for name, value in event.items()
        if not (name.startswith("log_") or name in _OLDER)
    }
