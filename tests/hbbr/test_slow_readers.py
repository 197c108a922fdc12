"""Readers that take little but steadily keep their sessions, however much the kernel holds for them."""

from __future__ import annotations

import pytest

from rendezvous.lingering import LONGEST_LINGER
from tests.hbbr.driven import DrivenRelay, SocketClient
from tests.hbbr.relay_fixture import MemoryRelay, say
from tests.hbbr.test_splice_errors import BULK, hold_back, pass_bulk


def take(relay: DrivenRelay, reader: SocketClient, wanted: int) -> None:
    """The reader gets so many bytes in all, if the end does not come before, in a second of the relay's."""

    def read() -> bool:
        reader.piece = wanted - len(reader.received)
        if reader.piece:
            reader.read()
        return len(reader.received) >= wanted or reader.ended

    relay.until(read, "the bytes have come")
    relay.clock.advance(1.0)


def filled(relay: DrivenRelay) -> tuple[SocketClient, SocketClient]:
    """A session whose reader has stopped with the buffers of the relay, grown to their usual size, full."""
    sender, reader = relay.joined(buffer=200_000)
    for _ in range(4):
        pass_bulk(relay, sender, reader)
    reader.stalled = True
    hold_back(relay, sender)
    return sender, reader


@pytest.mark.parametrize("spliced", [False, True])
def test_a_slow_reader_of_full_buffers_is_not_idle(spliced: bool) -> None:
    """Megabytes in the kernel take a slow reader longer than the idle timeout, and it is not cut meanwhile."""
    with DrivenRelay(spliced=spliced, idle=30.0) as relay:
        sender, reader = filled(relay)
        sent = (sender.moved + len(sender.unsent)) // len(BULK) * len(BULK)
        while len(reader.received) < sent:
            take(relay, reader, min(len(reader.received) + 30_000, sent))
            assert relay.usages == []
        assert relay.clock.seconds() > 30


@pytest.mark.parametrize("spliced", [False, True])
def test_a_reader_that_takes_nothing_is_idle(spliced: bool) -> None:
    """Full buffers that nobody takes from are silence."""
    with DrivenRelay(spliced=spliced, idle=30.0) as relay:
        filled(relay)
        relay.until(lambda: len(relay.usages) == 1, "the session is over", pass_time=1.0)
        assert [usage.why for usage in relay.usages] == ["idle"]


@pytest.mark.parametrize("kinds", ["tw", "wt", "ww"])
def test_a_slow_reader_of_one_large_message_is_not_idle(kinds: str) -> None:
    """A message that takes a slow reader longer than the idle timeout arrives whole."""
    relay = MemoryRelay(idle=30.0)
    sender, reader = relay.joined(kinds)
    say(sender, bytes(8 << 20))
    relay.settle()
    for _ in range(90):
        relay.advance(1)
        reader.take(200_000)
    assert relay.dropped == {}
    assert len(reader.received) >= 8 << 20


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("spliced", [False, True])
def test_a_slow_reader_gets_the_end(spliced: bool, end: str) -> None:
    """What is on its way when the sender is gone arrives, however long a steady reader takes for it."""
    with DrivenRelay(spliced=spliced, idle=30.0) as relay:
        sender, reader = filled(relay)
        sender.unsent.clear()
        getattr(sender, end)()
        relay.settle()
        for _ in range(200):
            take(relay, reader, len(reader.received) + 50_000)
            if reader.ended:
                break
        assert not reader.broken
        reader.finish()
        relay.until(lambda: len(relay.usages) == 1, "the session is over")
        assert relay.usages[0].bytes_from_first == len(reader.received)
        assert len(reader.received) > 4 * len(BULK)


def test_a_reader_that_takes_no_end_is_cut_off() -> None:
    """A reader that takes nothing of the last bytes has its connection for the time to linger, and no longer."""
    with DrivenRelay(idle=30.0) as relay:
        sender, reader = filled(relay)
        sender.unsent.clear()
        sender.reset()
        relay.until(lambda: relay.admission.connections == 0, "the reader is cut off", pass_time=1.0)
        reader.stalled = False
        relay.until(lambda: reader.ended, "the reader has seen the end")
        assert reader.broken


@pytest.mark.parametrize("kinds", ["tw", "wt", "ww"])
def test_a_slow_reader_of_one_large_message_gets_its_end(kinds: str) -> None:
    """What is left of a long message when its session ends arrives, while its reader takes some now and then."""
    relay = MemoryRelay()
    sender, reader = relay.joined(kinds)
    say(sender, bytes(8 << 20))
    relay.settle()
    relay.relay.end_all()
    while not reader.closed:
        relay.advance(9)
        assert reader.take(500_000)
        relay.settle()
    assert len(reader.received) >= 8 << 20
    assert not reader.connection.aborted
    sender.reset()
    relay.settle()
    relay.check_nothing_left()


@pytest.mark.parametrize("kinds", ["tt", "tw", "wt", "ww"])
def test_a_reader_that_sips_of_the_end_is_cut_off_in_the_end(kinds: str) -> None:
    """A reader that takes a byte now and then has an hour for the last bytes, and no longer."""
    relay = MemoryRelay()
    sender, reader = relay.joined(kinds)
    say(sender, bytes(1 << 20))
    relay.settle()
    relay.relay.end_all()
    started = relay.reactor.seconds()
    while not reader.closed and relay.reactor.seconds() < 2 * LONGEST_LINGER:
        relay.advance(9)
        reader.take(1)
    sender.reset()
    relay.settle()
    assert LONGEST_LINGER <= relay.reactor.seconds() - started <= LONGEST_LINGER + 20
    assert reader.connection.aborted
    relay.check_nothing_left()
