"""How many connections the relay takes, in all, from one address, and while they wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rendezvous.admission import Admission, Refused
from tests.hbbr.relay_fixture import PROPERTY, MemoryRelay, ask

HOSTS = ["192.0.2.1", "192.0.2.2", "2001:db8::1"]


@PROPERTY
@given(st.lists(st.tuples(st.booleans(), st.sampled_from(HOSTS)), max_size=60))
def test_admission_counts_like_a_model(events: list[tuple[bool, str]]) -> None:
    """Whatever comes and goes, the limits in all and for each address hold exactly."""
    admission, present = Admission(6, 3), dict.fromkeys(HOSTS, 0)
    for comes, host in events:
        if comes:
            if sum(present.values()) >= 6:
                with pytest.raises(Refused, match=r"^too_many_connections$"):
                    admission.admit(host)
            elif present[host] >= 3:
                with pytest.raises(Refused, match=r"^too_many_connections_from_address$"):
                    admission.admit(host)
            else:
                admission.admit(host)
                present[host] += 1
        elif present[host]:
            admission.release(host)
            present[host] -= 1
        assert admission.connections == sum(present.values())


@pytest.mark.parametrize("kind", ["t", "w"])
def test_connections_in_all_are_limited(kind: str) -> None:
    """One connection too many is closed and counted; when one goes, another may come."""
    relay = MemoryRelay(max_connections=3)
    kept = [relay.stream(f"192.0.2.{n}") if n % 2 else relay.messages(f"192.0.2.{n}") for n in range(3)]
    factory = relay.tcp if kind == "t" else relay.websocket
    assert relay.reactor.connect(factory, "192.0.2.9", 1000).closed
    assert relay.dropped == {"too_many_connections": 1}
    kept[1].reset()
    relay.settle()
    assert not relay.reactor.connect(factory, "192.0.2.9", 1000).closed


@pytest.mark.parametrize("kind", ["t", "w"])
def test_connections_of_an_address_are_limited(kind: str) -> None:
    """Both ports and both spellings count together for an address, and no other address suffers."""
    relay = MemoryRelay(max_per_address=2)
    relay.stream("192.0.2.1")
    relay.messages("::ffff:192.0.2.1")
    factory = relay.tcp if kind == "t" else relay.websocket
    assert relay.reactor.connect(factory, "192.0.2.1", 1000).closed
    assert relay.reactor.connect(factory, "::ffff:192.0.2.1", 1000).closed
    assert relay.dropped == {"too_many_connections_from_address": 2}
    assert not relay.reactor.connect(factory, "192.0.2.2", 1000).closed


@pytest.mark.parametrize("kind", ["t", "w"])
def test_waiting_sides_are_limited(kind: str) -> None:
    """Who would wait above the limit is closed and counted; who is waited for is joined."""
    relay = MemoryRelay(max_waiting=2)
    for number in range(2):
        ask(relay.stream(f"192.0.2.{number}"), f"u{number}")
    relay.settle()
    late = relay.stream("192.0.2.9") if kind == "t" else relay.messages("192.0.2.9")
    ask(late, "u9")
    relay.drain()
    assert late.closed
    assert relay.dropped == {"too_many_waiting": 1}
    ask(relay.stream("192.0.2.9"), "u0")
    relay.settle()
    assert len(relay.relay.sessions) == 1


def test_waiting_sides_of_an_address_are_limited() -> None:
    """One address can't take all waiting places."""
    relay = MemoryRelay(max_waiting_per_address=2)
    clients = [relay.stream("192.0.2.1") for _ in range(3)]
    for number, client in enumerate(clients):
        ask(client, f"u{number}")
    relay.settle()
    assert [client.closed for client in clients] == [False, False, True]
    assert relay.dropped == {"too_many_waiting_from_address": 1}


def test_refused_connections_cost_nothing() -> None:
    """A thousand refused connections leave no count, no timer and no connection."""
    relay = MemoryRelay(max_connections=1)
    kept = relay.stream()
    for _ in range(500):
        assert relay.reactor.connect(relay.tcp, "192.0.2.9", 1000).closed
        assert relay.reactor.connect(relay.websocket, "192.0.2.9", 1000).closed
    kept.reset()
    relay.settle()
    relay.check_nothing_left()


def test_waiting_sides_of_an_ipv6_network_count_together() -> None:
    """Who has a whole /64, as everybody with IPv6 does, has the waiting places of one address."""
    relay = MemoryRelay(max_waiting_per_address=2)
    clients = [relay.stream(f"2001:db8::{n}") for n in (1, 2, 3)]
    for number, client in enumerate([*clients, other := relay.stream("2001:db8:0:1::1")]):
        ask(client, f"u{number}")
    relay.settle()
    assert [client.closed for client in clients] == [False, False, True]
    assert not other.closed
    assert relay.dropped == {"too_many_waiting_from_address": 1}
    clients[0].reset()
    relay.settle()
    ask(relay.stream("2001:db8::4"), "u4")
    relay.settle()
    assert len(relay.pairing) == 3
