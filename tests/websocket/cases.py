"""A case: what a client sends on an open connection, what must come back, and how the connection must end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import pytest

from tests.hbbr.ws_wire import BINARY, CLOSE, PING, client_frame
from tests.websocket.echo import MAX_MESSAGE, EchoPort
from tests.websocket.wire import ANSWER_TO_FAREWELL, FAREWELL, WAYS, Frame, chop

BEHIND = client_frame(b"behind") + client_frame(b"behind", PING)
"""Sent after everything that ends a connection; nothing of it may be answered."""


class Case(NamedTuple):
    """One case. `comes` has the messages and pongs that must come, each kind in order, and no close frame.

    `end` is the code that the server must fail the connection with, or the payload of the close frame that
    answers the client's own; with None the connection must still be well.
    """

    name: str
    sent: bytes
    comes: tuple[Frame, ...] = ()
    end: int | bytes | None = None


def message(payload: bytes) -> Frame:
    """A binary message."""
    return BINARY, payload


def close_payload(code: int, reason: bytes = b"") -> bytes:
    """What a close frame carries."""
    return code.to_bytes(2, "big") + reason


def each(cases: Iterable[Case], ways: list[str] = WAYS) -> Callable[[Any], Any]:
    """Runs a test with every case, sent in each of the ways."""

    def decorate(test: Any) -> Any:
        by_case = pytest.mark.parametrize("case", cases, ids=lambda case: case.name)
        return by_case(pytest.mark.parametrize("way", ways)(test))

    return decorate


async def check(case: Case, way: str, *, max_message: int = MAX_MESSAGE) -> None:
    """Plays one case."""
    async with EchoPort(max_message=max_message) as port:
        client = await port.open()
        await port.send(client, chop(case.sent + (FAREWELL if case.end is None else BEHIND), way))
        await client.until_lost()
        comes = [*case.comes, *(ANSWER_TO_FAREWELL[:-1] if case.end is None else [])]
        assert by_kind(client.frames[:-1]) == by_kind(comes)
        check_close(client.frames[-1], close_payload(1000) if case.end is None else case.end)
        assert client.clean
        assert port.dropped == ({"malformed_websocket": 1} if isinstance(case.end, int) else {})
        assert port.echoes[0].messages == [payload for opcode, payload in case.comes if opcode == BINARY]


def by_kind(frames: Iterable[Frame]) -> list[Frame]:
    """Messages, then pongs: how they mix is not laid down, and depends on what is read at a time."""
    return sorted(frames, key=lambda frame: frame[0])


def check_close(frame: Frame, end: int | bytes) -> None:
    """The server's close frame is what it must be; a reason of its own is text that fits."""
    opcode, payload = frame
    assert opcode == CLOSE
    if isinstance(end, bytes):
        assert payload == end
    else:
        assert int.from_bytes(payload[:2], "big") == end
        assert len(payload) <= 125
        payload[2:].decode("utf-8")
