"""A TCP port that drains its socket: its share of a turn, and what goes wrong in accepting."""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock

from rendezvous.accepting import AcceptingFactory, AcceptPolicy, Proxies
from rendezvous.admission import Admission
from rendezvous.metrics import Drops
from rendezvous.stream_port import StreamPort

FAULTS = ["ECONNABORTED", "EPROTO", "ENETDOWN", "ENOPROTOOPT", "EHOSTDOWN", "ENONET", "EHOSTUNREACH"]
FAULTS += ["EOPNOTSUPP", "ENETUNREACH", "EPERM", "ETIMEDOUT"]
"""Errors of a connection that waited, not of the port: see accept(2)."""


class Faulty(socket.socket):
    """Accepting fails with these errors first, once each."""

    def __init__(self, *faults: int) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_STREAM)
        self.bind(("127.0.0.1", 0))
        self.listen(200)
        self.setblocking(False)
        self.faults = list(faults)

    def _accept(self) -> tuple[int, tuple[Any, ...]]:
        """See socket."""
        if self.faults:
            raise OSError(self.faults.pop(0), "a connection that is gone")
        accepted: tuple[int, tuple[Any, ...]] = super()._accept()  # type: ignore[misc]
        return accepted


class CountingPort(StreamPort):
    """Counts the connections that it is given, and closes them."""

    count = 0

    def accepted(self, connection: socket.socket, peer: tuple[Any, ...]) -> None:
        """See StreamPort."""
        self.count += 1
        connection.close()


class Crowd:
    """A port on a socket whose accepting fails first, and clients that connect to it."""

    def __init__(self, stack: ExitStack, faults: list[int], clients: int) -> None:
        self.clock = MemoryReactorClock()
        self.drops = Drops()
        policy = AcceptPolicy(Admission(10, 10), (), Proxies(), self.drops, self.clock, 3.0)
        self.socket = stack.enter_context(Faulty(*faults))
        self.port = CountingPort(self.clock, self.socket, AcceptingFactory(policy, "tcp"))
        self.port.startListening()
        for _ in range(clients):
            stack.enter_context(socket.create_connection(self.socket.getsockname()))
        assert select.select([self.socket], [], [], 5)[0]

    @property
    def listens(self) -> bool:
        """Whether the reactor watches the port."""
        return self.port in self.clock.getReaders()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Closes what the test has opened."""
    with ExitStack() as opened:
        yield opened


def test_others_get_their_turn(stack: ExitStack) -> None:
    """However many connections wait, one turn of the reactor takes no more than its share."""
    crowd = Crowd(stack, [], 140)
    for count in (64, 128, 140):
        crowd.port.doRead()
        assert crowd.port.count == count


def test_errors_in_accepting_count_as_connections(stack: ExitStack) -> None:
    """A turn ends also when nothing but errors comes."""
    crowd = Crowd(stack, [errno.EPROTO] * 100, 1)
    crowd.port.doRead()
    assert (len(crowd.socket.faults), crowd.port.count) == (36, 0)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_connection_that_is_gone_is_skipped(stack: ExitStack, fault: str) -> None:
    """What is wrong with one connection is counted; those behind it are accepted in the same turn."""
    crowd = Crowd(stack, [getattr(errno, fault)], 2)
    crowd.port.doRead()
    assert crowd.port.count == 2
    assert crowd.listens
    assert crowd.drops.counts == {("tcp", "reset"): 1}


@pytest.mark.parametrize("fault", ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"])
def test_a_port_pauses_when_nothing_is_left(stack: ExitStack, fault: str) -> None:
    """Without descriptors or memory who connects waits in the kernel's queue, and is accepted a second later."""
    crowd = Crowd(stack, [getattr(errno, fault)], 2)
    crowd.port.doRead()
    assert crowd.port.count == 0
    assert not crowd.listens
    assert crowd.drops.counts == {("tcp", "accept_failed"): 1}
    crowd.clock.advance(1.0)
    assert crowd.listens
    crowd.port.doRead()
    assert crowd.port.count == 2
