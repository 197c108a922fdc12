"""Online states: on every port and transport, one or thousands of ids."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.client.controlled import Identity
from tests.client.controlling import Controlling
from tests.client.links import Link, PlainLink, Server, connected_socket, dial
from tests.integration.support import NewControlled

PORTS: dict[str, Callable[[Server], Link]] = {
    "P-1": lambda view: PlainLink(connected_socket(view.second)),
    "P": lambda view: dial("tcp", view),
    "P secured": lambda view: dial("secured", view),
    "P+2": lambda view: dial("websocket", view),
}
every_port = pytest.mark.parametrize("port", PORTS)


@every_port
def test_states_in_the_order_asked_for(view: Server, new_controlled: NewControlled, port: str) -> None:
    """One bit for each id, the highest bit of a byte first, repeats included."""
    peers = [new_controlled(view, kind).id for kind in ("udp", "secured", "websocket")]
    unknown = [Identity.make().id for _ in range(8)]
    ids = [unknown[0], peers[0], *unknown[1:7], peers[1], unknown[7], peers[2], peers[0]]
    with PORTS[port](view) as link:
        states = Controlling(view).online(ids, link)
    assert states == [peer in peers for peer in ids]


@every_port
@pytest.mark.parametrize("number", [0, 1, 7, 8, 9, 4000])
def test_answer_has_a_bit_for_each_id(view: Server, new_controlled: NewControlled, port: str, number: int) -> None:
    """The answer is exactly as long as needed; the only one online is the last one."""
    ids = [str(200_000_000 + n) for n in range(number)]
    if ids:
        ids[-1] = new_controlled(view).id
    with PORTS[port](view) as link:
        states = Controlling(view).online(ids, link)
    assert states == [False] * (number - 1) + [True] * (number > 0)


@every_port
def test_odd_ids_are_offline(view: Server, port: str) -> None:
    """Empty, long and strange ids are offline, not an error."""
    ids = ["", "x" * 300, "a'b\"; drop table peer", "\N{SNOWMAN}" * 20, "%", "_"]
    with PORTS[port](view) as link:
        assert Controlling(view).online(ids, link) == [False] * len(ids)
