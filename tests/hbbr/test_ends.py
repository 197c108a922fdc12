"""How sessions end: once, whatever happens on both sides, and nothing of them stays."""

from __future__ import annotations

import pytest

from rendezvous.wire.framing import encode_frame
from tests.hbbr.relay_fixture import MemoryRelay, WsEnd, ask, say
from tests.hbbr.ws_wire import CONT, PING, client_frame, close_frame

ALL_KINDS = ["tt", "tw", "wt", "ww"]
BIG = 4_000_000
"""Bytes that the kernel buffers of the tests can't hold."""


def test_one_side_may_finish_sending_and_still_receive() -> None:
    """The end of one direction is passed on, and the other direction goes on until its own end."""
    relay = MemoryRelay()
    first, second = relay.joined("tt")
    first.send(b"the last question")
    first.finish()
    relay.drain()
    assert bytes(second.received) == b"the last question"
    assert second.ended
    assert not first.ended
    for part in (b"a ", b"long ", b"answer"):
        second.send(part)
        relay.advance(20)
    relay.drain()
    assert bytes(first.received) == b"a long answer"
    second.finish()
    relay.drain()
    assert first.ended
    relay.check_nothing_left()


def test_the_end_of_a_direction_comes_after_its_bytes() -> None:
    """A reader that stalls gets every byte, then the end, and can still answer."""
    relay = MemoryRelay()
    first, second = relay.joined("tt", window=5000)
    first.send(bytes(BIG))
    first.finish()
    relay.settle()
    assert not second.connection.fin_sent
    relay.drain()
    assert len(second.received) == BIG
    assert second.ended
    second.send(b"answer")
    relay.drain()
    assert bytes(first.received) == b"answer"


@pytest.mark.parametrize("kinds", ALL_KINDS)
@pytest.mark.parametrize("which", [0, 1])
def test_a_reset_ends_both_sides(kinds: str, which: int) -> None:
    """A side that is cut ends the session; the other side is closed after what it was to get."""
    relay = MemoryRelay()
    pair = relay.joined(kinds)
    cut, other = pair[which], pair[1 - which]
    say(cut, b"last words")
    relay.settle()
    cut.reset()
    relay.drain(other)
    assert cut.closed
    assert other.closed
    if isinstance(other, WsEnd):
        assert other.inbox == [b"last words"]
    else:
        assert bytes(other.received) == encode_frame(b"last words")
    relay.check_nothing_left()


@pytest.mark.parametrize("kinds", ["wt", "ww", "tw"])
def test_the_end_of_either_side_ends_a_session_with_a_websocket(kinds: str) -> None:
    """A WebSocket has no half-close: when either side ends, both do, after what they were to get."""
    relay = MemoryRelay()
    first, second = relay.joined(kinds)
    say(first, b"last words")
    if isinstance(first, WsEnd):
        first.send(close_frame())
    else:
        first.finish()
    relay.drain()
    if isinstance(second, WsEnd):
        assert second.inbox == [b"last words"]
        assert second.reader.close_code == 1000
    else:
        assert bytes(second.received) == encode_frame(b"last words")
    assert first.closed
    assert second.closed
    relay.check_nothing_left()


@pytest.mark.parametrize("kinds", ALL_KINDS)
@pytest.mark.parametrize(
    "how", [("finish", "finish"), ("reset", "reset"), ("finish", "reset"), ("reset", "finish")]
)
def test_both_ends_at_the_same_moment(kinds: str, how: tuple[str, str]) -> None:
    """Both sides end before the relay has seen either: the session ends once, and nothing is left."""
    relay = MemoryRelay()
    pair = relay.joined(kinds)
    assert len(relay.relay.sessions) == 1
    for client, way in zip(pair, how, strict=True):
        getattr(client, way)()
    relay.drain()
    assert relay.relay.sessions == set()
    assert relay.dropped == {}
    relay.check_nothing_left()


@pytest.mark.parametrize("kinds", ALL_KINDS)
def test_both_close_frames_and_resets_around_a_cut(kinds: str) -> None:
    """A session that the administrator cuts while both sides end does so once."""
    relay = MemoryRelay()
    for client in relay.joined(kinds):
        if isinstance(client, WsEnd):
            client.send(close_frame())
        else:
            client.finish()
    relay.type("Ba 192.0.2.1|192.0.2.2")
    relay.drain()
    relay.advance(30)
    relay.check_nothing_left()


@pytest.mark.parametrize("kinds", ALL_KINDS)
def test_thirty_seconds_without_a_byte_end_a_session(kinds: str) -> None:
    """Silence of both sides ends a session after 30 s; a byte of either side begins the count anew."""
    relay = MemoryRelay()
    first, second = relay.joined(kinds)
    for client in (first, second, first):
        relay.advance(29)
        say(client, b"x")
        relay.drain()
    relay.advance(29)
    assert len(relay.relay.sessions) == 1
    relay.advance(2.5)
    relay.drain()
    assert relay.relay.sessions == set()
    assert relay.dropped == {"idle": 1}
    relay.check_nothing_left()


def test_a_frame_that_grows_slowly_is_no_silence() -> None:
    """Bytes of a frame that is not whole yet are bytes: a slow sender of a large frame is not silent."""
    relay = MemoryRelay()
    stream, messages = relay.joined("tw")
    frame = encode_frame(bytes(20_000))
    for start in range(0, len(frame), 2000):
        relay.advance(10)
        stream.send(frame[start : start + 2000])
        relay.drain()
    assert isinstance(messages, WsEnd)
    assert messages.inbox == [bytes(20_000)]


@pytest.mark.parametrize(
    "pieces",
    [
        [client_frame(bytes(9))[at : at + 1] for at in range(9)],
        [client_frame(b"x", fin=False), *[client_frame(b"x", CONT, fin=False)] * 8],
        [client_frame(b"x", PING)] * 9,
    ],
    ids=["octets", "fragments", "pings"],
)
def test_a_websocket_that_sends_no_whole_message_is_no_silence(pieces: list[bytes]) -> None:
    """Octets of a frame, fragments of a message and pings keep a session."""
    relay = MemoryRelay()
    messages, _ = relay.joined("wt")
    assert isinstance(messages, WsEnd)
    messages.pongs = False
    for piece in pieces:
        relay.advance(20)
        messages.send(piece)
        relay.drain()
    assert len(relay.relay.sessions) == 1
    relay.advance(32)
    assert relay.relay.sessions == set()
    assert relay.dropped == {"idle": 1}


def test_half_a_session_in_silence_ends_too() -> None:
    """A side that has finished does not keep a session open whose other side says nothing."""
    relay = MemoryRelay()
    first, _ = relay.joined("tt")
    first.finish()
    relay.drain()
    relay.advance(31)
    relay.drain()
    relay.check_nothing_left()


@pytest.mark.parametrize("kinds", ALL_KINDS)
def test_a_client_that_does_not_take_the_last_bytes_is_cut_off(kinds: str) -> None:
    """When a session is over, a side that takes nothing is cut off within a minute, and nothing is left."""
    relay = MemoryRelay()
    first, second = relay.joined(kinds, window=5000)
    say(first, bytes(50_000))
    relay.settle()
    first.reset()
    relay.settle()
    assert relay.relay.sessions == set()
    assert not second.closed
    relay.advance(60)
    assert second.closed
    assert second.connection.aborted
    relay.check_nothing_left()


@pytest.mark.parametrize("kinds", ALL_KINDS)
def test_a_client_that_takes_the_last_bytes_gets_them_all(kinds: str) -> None:
    """When a session is over, a side that is a little late still gets everything."""
    relay = MemoryRelay()
    first, second = relay.joined(kinds, window=5000)
    say(first, bytes(50_000))
    relay.settle()
    first.reset()
    relay.advance(3)
    relay.drain(second)
    if isinstance(second, WsEnd):
        assert second.inbox == [bytes(50_000)]
    else:
        assert bytes(second.received) == encode_frame(bytes(50_000))
    relay.check_nothing_left()


@pytest.mark.parametrize("kinds", ["ww", "wt"])
def test_a_websocket_that_closes_ends_its_session_at_once(kinds: str) -> None:
    """A close frame ends the session also when its sender takes nothing of what is on its way to it."""
    relay = MemoryRelay()
    first, second = relay.joined(kinds, window=5000)
    for _ in range(3):
        say(second, bytes(30_000))
    relay.settle()
    first.send(close_frame())
    relay.settle()
    assert relay.relay.sessions == set()
    relay.drain(second)
    assert second.closed
    relay.advance(60)
    relay.check_nothing_left()


@pytest.mark.parametrize("kinds", ALL_KINDS)
def test_a_thousand_sessions_leave_nothing(kinds: str) -> None:
    """Sessions that end in every way leave no connection, timer, wait or count behind."""
    relay = MemoryRelay()
    for number in range(250):
        pair = relay.joined(kinds, uuid=f"u{number}")
        say(pair[number % 2], b"x")
        pair[number // 2 % 2].reset() if number % 3 else pair[number // 2 % 2].finish()
        relay.drain(*pair)
        pair[1].reset()
        relay.drain(*pair)
        pair[0].reset()
        relay.drain(*pair)
    relay.advance(40)
    relay.check_nothing_left()


def test_a_waiting_side_that_has_ended_can_be_joined_and_ends() -> None:
    """Two sides that have both finished before they are joined exchange what they sent."""
    relay = MemoryRelay()
    first, second = relay.stream(), relay.stream()
    ask(first, behind=b"one")
    first.finish()
    relay.settle()
    ask(second, behind=b"two")
    second.finish()
    relay.drain()
    assert bytes(second.received) == b"one"
    assert bytes(first.received) == b"two"
    relay.check_nothing_left()


@pytest.mark.parametrize("kinds", ALL_KINDS)
@pytest.mark.parametrize("how", ["finish", "reset"])
def test_nothing_is_left_right_after_a_session(kinds: str, how: str) -> None:
    """When both connections of a session are gone, no timer of theirs runs on."""
    relay = MemoryRelay()
    for client in relay.joined(kinds):
        getattr(client, how)()
    relay.drain()
    assert all(client.closed for client in relay.clients)
    assert relay.reactor.getDelayedCalls() == []


def test_an_error_in_one_session_leaves_others_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions end when they are silent, also when another one can't be looked at."""
    relay = MemoryRelay()
    relay.joined(uuid="broken")
    [broken] = relay.relay.sessions
    monkeypatch.setattr(broken, "tick", lambda: 1 / 0)
    for number in range(5):
        relay.joined(uuid=f"silent {number}")
    relay.advance(40)
    assert relay.relay.sessions == {broken}
    assert relay.relay.ended == {"idle": 5}
