"""docs/protocol.md against the dispatch tables."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from rendezvous.hbbs.dispatch import IGNORED
from rendezvous.hbbs.request import Transport
from rendezvous.wire.messages import KINDS
from rendezvous.wire.rendezvous_pb2 import RendezvousMessage
from tests.network.document import documented, ways
from tests.test_architecture import TABLES

DOCUMENT = Path(__file__).parent.parent / "docs" / "protocol.md"
OVER = {"UDP": [Transport.UDP], "TCP P": [Transport.TCP], "WebSocket": [Transport.WEBSOCKET]}


class Row(NamedTuple):
    """One row of the table of messages."""

    number: int
    kind: str
    over: str
    function: str


def rows() -> list[Row]:
    """The table of messages, as the document has it."""
    found = []
    for line in DOCUMENT.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 6 and cells[0].isdecimal():
            found.append(Row(int(cells[0]), cells[1].strip("`"), cells[3], cells[5].strip("`")))
    return found


def transports(over: str) -> set[Transport]:
    """The transports that a cell names."""
    if over == "every port":
        return set(Transport)
    return {transport for word, found in OVER.items() if word in over for transport in found}


def test_every_message_is_documented() -> None:
    """Each variant of the schema has a row, with its number, and there are no others."""
    fields = RendezvousMessage.DESCRIPTOR.fields_by_name
    assert {row.kind for row in rows()} == set(KINDS)
    assert [row for row in rows() if fields[row.kind].number != row.number] == []


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row.kind}-{row.over}")
def test_rows_name_what_is_done(row: Row) -> None:
    """A row names the very function that the tables have, or none where the message is ignored."""
    if not row.function or row.kind == "peer_discovery":
        assert row.kind in IGNORED
        return
    for transport in transports(row.over):
        assert TABLES[transport][row.kind].function.__qualname__ == row.function.removeprefix("secured.")


@pytest.mark.parametrize("transport", Transport)
def test_tables_are_documented(transport: Transport) -> None:
    """What a table has over a transport, a row names with it."""
    documented = {row.kind for row in rows() if transport in transports(row.over)}
    assert documented >= set(TABLES[transport])


def test_ignored_messages_are_told_to_be() -> None:
    """A row says that a message is ignored exactly when it is."""
    text = DOCUMENT.read_text("utf-8")
    told = set(re.findall(r"^\| \d+ \| `(\w+)` .*\| ignored", text, re.MULTILINE))
    assert told == IGNORED


def test_ways_are_those_that_are_asserted() -> None:
    """The ways from network to network are what the laboratory expects; python -m tests.network.document."""
    assert documented() == ways()
