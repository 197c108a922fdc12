"""Listening sockets that the process was started with: systemd's (sd_listen_fds(3)), or those of a predecessor.

A socket is known by what it is bound to, so that any name, order and number will do.
"""

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import count
from typing import Any

from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString

from rendezvous.config_values import ConfigError

FIRST = 3
"""The descriptor after those that every process has."""
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
HANDED_OVER = "RENDEZVOUS_HANDED_OVER"
"""``PID:COUNT``: the process that hands its sockets over, which can't tell LISTEN_PID beforehand, and how many."""
_Bound = tuple[int, int, str, int]
"""Family, kind, host and port."""


class InheritedSockets:
    """Those that nobody has taken yet."""

    def __init__(self) -> None:
        self._left: dict[_Bound, socket.socket] = {}

    def receive(self, environ: Mapping[str, str], reactor: Any) -> None:
        """Takes over what the process was started with; its children don't.

        Raises ConfigError for what can't be listened on.
        """
        count = handed_over(environ)
        descriptors = list(_systemds(reactor)) if count is None else range(FIRST, FIRST + count)
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
            self._add(descriptor)

    def _add(self, descriptor: int) -> None:
        try:
            sock = socket.socket(fileno=descriptor)
        except OSError:
            raise ConfigError(f"LISTEN_FDS: descriptor {descriptor} is no socket; see the socket unit.") from None
        name = sock.getsockname()
        if sock.family not in _FAMILIES:
            raise ConfigError(f"LISTEN_FDS: {name!r} has no port; it takes TCP and UDP sockets.")
        if sock.family == socket.AF_INET6 and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
            raise ConfigError(
                f"LISTEN_FDS: port {name[1]} takes IPv4 at its IPv6 socket; it takes BindIPv6Only=ipv6-only and "
                "a socket for each of them."
            )
        sock.setblocking(False)
        self._left[int(sock.family), int(sock.type), name[0], name[1]] = sock

    def take(self, family: int, kind: int, host: str, port: int) -> socket.socket | None:
        """The socket that is bound to this, for whoever wants to listen there; None when there is none."""
        return self._left.pop((int(family), int(kind), host, port), None)

    def close_rest(self) -> list[str]:
        """Closes those that nobody has taken; tells which, each as a warning."""
        left, self._left = self._left, {}
        warnings = []
        for (_, kind, host, port), sock in left.items():
            sock.close()
            transport = "UDP" if kind == socket.SOCK_DGRAM else "TCP"
            warnings.append(f"LISTEN_FDS: nothing listens on {transport} {host} port {port}, so it was closed.")
        return warnings


def _systemds(reactor: Any) -> Iterator[int]:
    """The descriptors of LISTEN_FDS, which Twisted has removed from the environment to have them itself."""
    with suppress(IndexError):
        for index in count():
            endpoint = serverFromString(reactor, f"systemd:domain=INET:index={index}")
            assert isinstance(endpoint, AdoptedStreamServerEndpoint)
            yield endpoint.fileno


def handed_over(environ: Mapping[str, str]) -> int | None:
    """How many sockets the process was handed over by the one that has started it; None when it was by another."""
    parent, _, count = environ.get(HANDED_OVER, "").partition(":")
    return int(count) if parent == str(os.getppid()) and count.isdecimal() else None


inherited = InheritedSockets()
"""Those of this process; empty unless it is a server's own."""
