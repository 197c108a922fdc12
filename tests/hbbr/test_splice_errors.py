"""What goes wrong while a session is spliced: cuts with bytes in a pipe, no pipes, no memory, urgent bytes."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest

from rendezvous.hbbr.splice import SplicedEnd
from tests.hbbr.driven import DrivenRelay, SocketClient, bytes_in, open_pipes

BULK = Random(3).randbytes(1_500_000)
BUFFER = 200_000
"""Bytes of each kernel buffer of the relay; more than those of a reader and a pipe together are soon held back."""


@contextmanager
def splicing_relay(**options: Any) -> Iterator[DrivenRelay]:
    """A relay that splices; all pipes of its sessions are closed at its end."""
    with DrivenRelay(spliced=True, buffer=BUFFER, **options) as relay:
        before = open_pipes()
        yield relay
        for client in relay.clients:
            client.close()
        relay.check_nothing_left()
        assert open_pipes() == before


def pass_bulk(relay: DrivenRelay, sender: SocketClient, reader: SocketClient) -> None:
    """What is spliced arrives."""
    start = len(reader.received)
    sender.send(BULK)
    relay.until(lambda: len(reader.received) >= start + len(BULK), "bulk has arrived")
    assert reader.received[start:] == BULK


def hold_back(relay: DrivenRelay, sender: SocketClient) -> None:
    """Sends more than all buffers hold."""
    while not sender.unsent:
        sender.send(BULK)
        relay.settle()


def fill_pipe(relay: DrivenRelay, sender: SocketClient, reader: SocketClient, least: int = 1) -> int:
    """The reader stalls in the middle of a stream until bytes are stuck in the pipe; returns how many."""
    stuck = 0
    while stuck < least:
        reader.stalled = False
        half = len(reader.received) + len(BULK) // 2
        sender.send(BULK)
        relay.until(lambda half=half: len(reader.received) > half, "half of it has arrived")  # type: ignore[misc]
        reader.stalled = True
        hold_back(relay, sender)
        stuck = sum(map(bytes_in, open_pipes())) // 2
    return stuck


def over(relay: DrivenRelay) -> str:
    """Waits for the end of the session; returns why."""
    relay.until(lambda: len(relay.usages) == 1, "the session is over")
    return relay.usages[0].why


def test_a_sender_that_resets_with_bytes_in_the_pipe() -> None:
    """What the relay has read of a sender that resets is delivered to the end, pipe and all."""
    with splicing_relay() as relay:
        sender, reader = relay.joined()
        stuck = fill_pipe(relay, sender, reader)
        arrived = len(reader.received)
        sender.reset()
        relay.settle()
        reader.stalled = False
        assert over(relay) == "closed"
        relay.until(lambda: reader.ended, "the reader has seen the end")
        assert len(reader.received) > arrived + stuck
        assert reader.received == (BULK * (len(reader.received) // len(BULK) + 1))[: len(reader.received)]
        assert relay.usages[0].bytes_from_first == len(reader.received)


def test_a_reader_that_resets_with_bytes_in_the_pipe() -> None:
    """A reader that resets ends the session; its sender is closed, and what was in the pipe is void."""
    with splicing_relay() as relay:
        sender, reader = relay.joined()
        fill_pipe(relay, sender, reader)
        reader.reset()
        assert over(relay) == "closed"
        relay.until(lambda: sender.ended, "the sender has seen the end")


def test_a_reader_that_closes_with_bytes_in_the_pipe() -> None:
    """A reader that only closes ends the session too, since nobody takes what is in the pipe (EPIPE)."""
    with splicing_relay() as relay:
        sender, reader = relay.joined()
        fill_pipe(relay, sender, reader)
        reader.close()
        assert over(relay) == "closed"
        relay.until(lambda: sender.ended, "the sender has seen the end")


def test_both_reset_with_bytes_in_both_pipes() -> None:
    """Two sides that take nothing and reset at the same moment end one session once."""
    with splicing_relay() as relay:
        first, second = relay.joined()
        fill_pipe(relay, first, second)
        second.send(BULK)
        relay.until(lambda: len(first.received) == len(BULK), "the other direction goes on")
        first.stalled = True
        hold_back(relay, second)
        first.reset()
        second.reset()
        assert over(relay) == "closed"


def test_a_session_that_is_blocked_with_bytes_in_the_pipe() -> None:
    """A cut from the console ends a stuck session at once, whatever is on its way."""
    with splicing_relay() as relay:
        sender, reader = relay.joined()
        fill_pipe(relay, sender, reader)
        relay.relay.blocklist.add("127.0.0.1")
        relay.relay.cut_blocked()
        assert over(relay) == "blocked"
        reader.stalled = False
        relay.until(lambda: reader.broken and sender.broken, "both sides are cut")


def test_a_stuck_session_costs_nothing() -> None:
    """While a reader takes nothing, the reactor waits for it to take something, and for bytes of its own."""
    with splicing_relay() as relay:
        sender, reader = relay.joined()
        fill_pipe(relay, sender, reader)
        (session,) = relay.relay.sessions
        sides = {end.side for end in watched(relay.reactor.getReaders())}
        assert sides == {session.sides[1]}
        assert {end.side for end in watched(relay.reactor.getWriters())} == sides


def test_a_session_that_passes_on_what_comes_keeps_no_pipe() -> None:
    """Sessions share one pipe as long as readers take what comes; each that is stuck keeps one of its own."""
    with splicing_relay() as relay:
        before, stuck, passing = open_pipes(), relay.joined(), relay.joined_too("u2")
        for sender, reader in (passing, stuck, stuck[::-1], passing[::-1]):
            pass_bulk(relay, sender, reader)
        assert len(open_pipes() - before) == 2
        for _ in range(3):
            fill_pipe(relay, *stuck)
            pass_bulk(relay, *passing)
            assert len(open_pipes() - before) == 4
            stuck[1].stalled = False
            relay.until(lambda: not stuck[0].unsent, "all is sent")
            relay.settle()
            assert sum(map(bytes_in, open_pipes() - before)) == 0


def test_free_pipes_are_few() -> None:
    """However many sessions were stuck at the same time, no more than 16 pipes are kept for others."""
    with splicing_relay() as relay:
        before = open_pipes()
        pairs = [relay.joined_too(f"u{number}") for number in range(20)]
        for _, reader in pairs:
            reader.stalled = True
        for sender, _ in pairs:
            hold_back(relay, sender)
        relay.settle()
        assert len(open_pipes() - before) == 2 * 20
        for _, reader in pairs:
            reader.stalled = False
        relay.until(lambda: not any(sender.unsent for sender, _ in pairs), "all is sent")
        relay.settle()
        assert len(open_pipes() - before) == 2 * 16


def test_a_session_above_its_bandwidth_is_not_read() -> None:
    """Above its bandwidth a session is not read until its time has come."""
    with splicing_relay(single=8.0) as relay:
        sender, reader = relay.joined()
        sender.send(BULK)
        relay.settle()
        assert len(reader.received) < len(BULK) // 10
        assert watched(relay.reactor.getReaders()) == []
        relay.clock.advance(0.5)
        assert len(watched(relay.reactor.getReaders())) == 2


def watched(descriptors: list[Any]) -> list[SplicedEnd]:
    """The ends of spliced sessions among what the reactor watches."""
    return [descriptor for descriptor in descriptors if isinstance(descriptor, SplicedEnd)]


@pytest.mark.parametrize("size", [100, 40_000, 200_000])
def test_a_reader_that_is_gone_when_bulk_comes(size: int) -> None:
    """The first bytes to a side that has reset at the same moment end the session, and leave no pipe."""
    with splicing_relay() as relay:
        sender, reader = relay.joined()
        sender.send(bytes(size))
        reader.reset()
        assert over(relay) == "closed"
        sender.close()
        relay.check_nothing_left()


def test_a_reset_before_the_relay_has_shut_down() -> None:
    """A side that has finished and resets has no say in how the other one finishes."""
    with splicing_relay() as relay:
        first, second = relay.joined()
        first.finish()
        relay.until(lambda: second.ended, "the end of the first one")
        first.reset()
        relay.settle()
        second.finish()
        assert over(relay) == "finished"


@pytest.mark.parametrize("spliced", [False, True])
def test_a_slow_reader_is_not_idle(spliced: bool) -> None:
    """A reader that takes a little every second keeps its session, however much is on its way."""
    with DrivenRelay(spliced=spliced, idle=30.0) as relay:
        sender, reader = relay.joined(buffer=20_000)
        (session,) = relay.relay.sessions
        handle: socket.socket = session.sides[1].transport.getHandle()  # type: ignore[attr-defined]
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 30_000)
        if spliced:
            fill_pipe(relay, sender, reader, 500_000)
        else:
            reader.stalled = True
            hold_back(relay, sender)
        reader.piece = 12_000
        for _ in range(60):
            taken = len(reader.received)
            reader.stalled = False
            relay.until(lambda taken=taken: len(reader.received) > taken, "more has arrived")  # type: ignore[misc]
            reader.stalled = True
            relay.clock.advance(1.0)
            assert relay.usages == []


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("behind", [0, 1000, 100_000])
@pytest.mark.parametrize("spliced", [False, True])
def test_urgent_bytes(spliced: bool, behind: int, at_once: bool) -> None:
    """An urgent byte, at which splicing stops, is left out as in copying; what comes behind it passes."""
    with DrivenRelay(spliced=spliced) as relay:
        sender, reader = relay.joined()
        pass_bulk(relay, sender, reader)
        sender.socket.send(b"!", socket.MSG_OOB)
        sender.send(bytes(behind))
        if not at_once:
            relay.until(lambda: len(reader.received) == len(BULK) + behind, "what is behind it has arrived")
        sender.finish()
        relay.until(lambda: reader.ended, "the end has come")
        assert reader.received == BULK + bytes(behind)


@contextmanager
def descriptors_exhausted() -> Iterator[None]:
    """No more descriptors than are open now may be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = os.open(os.devnull, os.O_RDONLY)
    os.close(spare)
    resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_no_descriptors_for_pipes() -> None:
    """Where the process has no descriptors left (EMFILE), bulk is copied; later it is spliced again."""
    with splicing_relay() as relay:
        sender, reader = relay.joined()
        before = open_pipes()
        with descriptors_exhausted():
            with pytest.raises(OSError, match="Too many open files"):
                os.pipe()
            pass_bulk(relay, sender, reader)
            pass_bulk(relay, reader, sender)
        assert open_pipes() == before
        pass_bulk(relay, sender, reader)
        assert len(open_pipes() - before) == 2
        assert relay.usages == []


@pytest.mark.parametrize("code", [errno.ENFILE, errno.ENOMEM, errno.ENOBUFS])
def test_no_pipes(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel has no pipes to give, bulk is copied."""
    with splicing_relay() as relay:
        sender, reader = relay.joined()
        monkeypatch.setattr(os, "pipe2", failing(os.pipe2, code))
        before = open_pipes()
        pass_bulk(relay, sender, reader)
        pass_bulk(relay, reader, sender)
        assert open_pipes() == before


def test_pipes_that_may_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a pipe may not be made larger (EPERM), one of the usual size does."""
    real = fcntl.fcntl

    def refusing(descriptor: int, command: int, argument: Any = 0) -> Any:
        if command == fcntl.F_SETPIPE_SZ:
            raise PermissionError(errno.EPERM, "refused")
        return real(descriptor, command, argument)

    monkeypatch.setattr(fcntl, "fcntl", refusing)
    with splicing_relay() as relay:
        sender, reader = relay.joined()
        before = open_pipes()
        pass_bulk(relay, sender, reader)
        assert len(open_pipes() - before) == 2
        assert {real(pipe, fcntl.F_GETPIPE_SZ) for pipe in open_pipes() - before} == {65536}


@pytest.mark.parametrize("code", [errno.ENOMEM, errno.ENOBUFS])
def test_no_memory_while_splicing(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel has no memory for a moment, into the pipe or out of it, nothing is lost."""
    with splicing_relay() as relay:
        sender, reader = relay.joined(buffer=50_000)
        pass_bulk(relay, sender, reader)
        monkeypatch.setattr(os, "splice", failing(os.splice, code, every=3))
        for _ in range(4):
            pass_bulk(relay, sender, reader)
        assert relay.usages == []


def failing(real: Callable[..., Any], code: int, every: int = 1) -> Callable[..., Any]:
    """A call to the system that fails each time, or now and then."""
    calls = 0

    def call(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls % every == 0:
            raise OSError(code, os.strerror(code))
        return real(*arguments, **options)

    return call
