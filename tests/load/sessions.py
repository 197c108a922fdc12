"""The crowd's relay sessions: numbered messages one way, and the same ones back."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable
from itertools import count

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.wire import Address, frame
from tests.load.connections import Connection, Loop
from tests.load.waiting import Waiting

LENGTH = 1400
PATIENCE = 18.0
"""Seconds after which a message is lost; TCP sends again what a busy machine dropped."""
SHORTEST, LONGEST = 10.0, 60.0
"""Seconds of a session."""


class Echo(Connection):
    """The side that sends everything back."""

    def received(self, data: bytes) -> None:
        """The same bytes; what can't be sent is lost and found out by the other side."""
        try:
            self.send(data)
        except OSError:
            self.close()


class Session(Connection):
    """The side that sends messages and checks what comes back."""

    def __init__(self, sessions: Sessions, number: int) -> None:
        request = pb.RequestRelay(uuid=str(uuid.uuid4()), licence_key=sessions.key)
        first = frame(pb.RendezvousMessage(request_relay=request).SerializeToString())
        self._sessions = sessions
        self._number = number
        self._messages = count()
        self._next_back = 0
        self._buffer = bytearray()
        self.ends = time.monotonic() + random.uniform(SHORTEST, LONGEST)
        super().__init__(sessions.loop, sessions.source(), sessions.server, first)
        self._echo = Echo(sessions.loop, sessions.source(), sessions.server, first)

    def message(self, number: int) -> bytes:
        """A message that no other session has."""
        return f"{self._number} {number} ".encode().ljust(LENGTH, b".")

    @property
    def waits(self) -> bool:
        """Whether a message is still on its way."""
        return (self._number, self._next_back) in self._sessions.waiting

    def speak(self) -> None:
        """Send the next message, when the connection is made."""
        if self._first:
            return
        number = next(self._messages)
        self._sessions.waiting.ask((self._number, number), time.monotonic())
        try:
            self.send(self.message(number))
        except OSError:
            self.stop()

    def received(self, data: bytes) -> None:
        """Messages must come back whole and in order; after a wrong one the session is given up."""
        self._buffer += data
        while len(self._buffer) >= LENGTH:
            key = self._number, self._next_back
            if self._buffer[:LENGTH] != self.message(self._next_back):
                self.stop()
                return
            self._sessions.waiting.answer(key, time.monotonic())
            self._next_back += 1
            del self._buffer[:LENGTH]

    def stop(self) -> None:
        """Close both sides; messages on their way are lost when their time is over."""
        self.close()
        self._echo.close()

    def ended(self) -> None:
        """Closed by the server before its time."""
        self.stop()


class Sessions:
    """So many sessions at once, each replaced when its time is over; they speak in turn, `groups` groups."""

    def __init__(self, loop: Loop, server: Address, key: str, source: Callable[[], str]) -> None:
        self.loop = loop
        self.server = server
        self.key = key
        self.source = source
        self.waiting = Waiting(PATIENCE)
        self.broken = 0
        """Sessions that have ended before their time, or could not begin."""
        self._numbers = count()
        self._sessions: list[Session] = []

    def __len__(self) -> int:
        return sum(session.open for session in self._sessions)

    @property
    def places(self) -> int:
        """Sessions that are kept up."""
        return len(self._sessions)

    def begin(self) -> None:
        """One more session."""
        self._sessions.append(Session(self, next(self._numbers)))

    def speak(self, group: int, groups: int, now: float) -> None:
        """The sessions of one group say something, or are replaced."""
        for i in range(group, len(self._sessions), groups):
            session = self._sessions[i]
            if session.open and now < session.ends:
                session.speak()
            elif not session.open or not session.waits:
                self.broken += not session.open
                session.stop()
                self._sessions[i] = Session(self, next(self._numbers))
