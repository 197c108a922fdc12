"""Several relays: sessions go to them in turn, and to none that doesn't answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from tests.evidence import Evidence
from tests.integration.server import ServerProcess
from tests.network.lab import PORT, Lab, Peer, public_v4
from tests.network.meetings import Meetings, reach

PROMISE = "Several relays share the sessions, and one that is gone gets none"
CHOOSING, FIRST, SECOND = 2, 3, 4


@dataclass(frozen=True)
class Choice:
    """An ID server that chooses between relays, by name, and two clients that need one."""

    server: ServerProcess
    relays: Mapping[str, ServerProcess]
    asking: Peer
    answering: Peer

    def relays_of(self, sessions: int) -> set[str]:
        """The relays of some sessions, one after the other; all must have been proven."""
        results = [reach(self.asking, self.answering) for _ in range(sessions)]
        assert all(set(result["ways"]) == {"relay"} for result in results), results
        return {result["relay"] for result in results}


@pytest.fixture(scope="module")
def choice(lab: Lab) -> Choice:
    """Two relays, and an ID server that knows of both."""
    relays = {
        f"{public_v4(number)}:{PORT + 1}": lab.serve(f"relay {number}", number, part="hbbr")
        for number in (FIRST, SECOND)
    }
    meetings = Meetings(lab, CHOOSING, "-r", ",".join(relays), part="hbbs")
    return Choice(meetings.server, relays, meetings.asking("symmetric"), meetings.answering("port restricted"))


def test_relays_share_the_sessions(choice: Choice, evidence: Evidence) -> None:
    """Sessions of clients that ask for UDP punching as well are carried by both relays."""
    assert choice.relays_of(4) == set(choice.relays)
    evidence(PROMISE, sessions=4)


def test_relay_that_has_gone_is_not_chosen(choice: Choice, evidence: Evidence) -> None:
    """When one relay is gone the other one carries everything."""
    gone = choice.relays_of(1).pop()
    choice.relays[gone].stop()
    choice.server.wait_line(f"relay {gone} does not answer")
    assert choice.relays_of(3) == set(choice.relays) - {gone}
    evidence(PROMISE, sessions=4)
