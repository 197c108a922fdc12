"""The relay for an administrator: its sessions, to be seen and cut."""

import heapq
from typing import Any

from rendezvous.admin.audit import Audit, By
from rendezvous.admin.values import NotThere, RelayedSession, RelayStatus, Sessions
from rendezvous.hbbr.service import HbbrService
from rendezvous.hbbr.session import Session, Side

MOST_LISTED = 1000


class RelayOperations:
    """What there is to see and do at `hbbr`."""

    def __init__(self, hbbr: HbbrService, audit: Audit, reactor: Any) -> None:
        self._hbbr = hbbr
        self._relay = hbbr.relay
        self._audit = audit
        self._reactor = reactor

    def status(self) -> RelayStatus:
        """The relay at this moment."""
        sessions = self._relay.sessions
        return RelayStatus(
            sessions=len(sessions),
            waiting=self._relay.waiting,
            connections=self._hbbr.admission.connections,
            bytes=self._relay.relayed().total(),
            bytes_per_second=sum(session.usage.now for session in sessions),
        )

    def sessions(self, limit: int = 100, *, search: str = "") -> Sessions:
        """The running sessions that have relayed most, at most `limit` of those with `search` in an address."""
        running = [session for session in self._relay.sessions if _matches(session, search.lower())]
        biggest = heapq.nlargest(min(limit, MOST_LISTED), running, key=lambda session: session.usage.transferred)
        return Sessions(len(running), tuple(map(self._told, biggest)))

    def session(self, number: int) -> RelayedSession:
        """One running session. Raises NotThere."""
        return self._told(self._numbered(number))

    def cut(self, number: int, by: By) -> RelayedSession:
        """Ends a session at once. Raises NotThere."""
        session = self._numbered(number)
        told = self._told(session)
        first, second = (side.source for side in session.sides)
        what = "cut session {number} of {first} and {second}"
        self._audit.note(by, what, number=number, first=first, second=second)
        session.end("cut", cut=True)
        return told

    def _numbered(self, number: int) -> Session:
        for session in self._relay.sessions:
            if session.number == number:
                return session
        raise NotThere(f"There is no session {number}; it may have ended.")

    def _told(self, session: Session) -> RelayedSession:
        first, second = session.sides
        usage = session.usage
        return RelayedSession(
            number=session.number,
            first=str(first.source),
            first_transport=_transport(first),
            second=str(second.source),
            second_transport=_transport(second),
            age=self._reactor.seconds() - usage.started,
            sent=(usage.sent[0], usage.sent[1]),
            bytes_per_second=usage.now,
            peak=usage.peak,
        )


def _matches(session: Session, search: str) -> bool:
    return not search or any(search in str(side.source) for side in session.sides)


def _transport(side: Side) -> str:
    return "tcp" if side.stream else "websocket"
