"""The laboratory's networks are what they are called: which mapping they make, what they let in and out."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from tests.client.links import endpoint, readable
from tests.client.wire import Address
from tests.network.lab import Lab, public_v4
from tests.network.nat import Kind, Nat
from tests.network.networks import NETWORKS, Network, build
from tests.network.wire import enter

TIMEOUT = 10.0


class Nature(NamedTuple):
    """One mapping for every target; strangers let in from another port, and from another address."""

    one_mapping: bool
    other_port: bool
    other_address: bool


NATURES: Mapping[Kind, Nature] = {
    "full cone": Nature(one_mapping=True, other_port=True, other_address=True),
    "address restricted": Nature(one_mapping=True, other_port=True, other_address=False),
    "port restricted": Nature(one_mapping=True, other_port=False, other_address=False),
    "symmetric": Nature(one_mapping=False, other_port=False, other_address=False),
}


@pytest.fixture(scope="module")
def outside(lab: Lab) -> list[str]:
    """Two hosts on the internet."""
    return [build(lab, f"outside {number}", Network()) for number in (1, 2)]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is to be closed at the end."""
    with ExitStack() as made:
        yield made


@pytest.mark.parametrize("kind", NATURES)
def test_nature(lab: Lab, outside: list[str], stack: ExitStack, kind: Kind) -> None:
    """Datagrams of strangers arrive exactly where this kind of NAT lets them in."""
    inside = stack.enter_context(socket_in(build(lab, kind, Network((Nat(kind),)))))
    known, second = (stack.enter_context(socket_in(outside[0])) for _ in range(2))
    stranger = stack.enter_context(socket_in(outside[1]))
    mapping = seen_by(inside, known)
    nature = Nature(
        one_mapping=False,
        other_port=arrives(second, known, mapping, inside),
        other_address=arrives(stranger, known, mapping, inside),
    )
    assert nature._replace(one_mapping=seen_by(inside, second) == mapping) == NATURES[kind]


@pytest.mark.parametrize("kind", NATURES)
def test_nature_of_tcp(lab: Lab, outside: list[str], stack: ExitStack, kind: Kind) -> None:
    """Connections of strangers are let in exactly where datagrams are."""
    inside = build(lab, f"TCP {kind}", Network((Nat(kind),)))
    known, second = (stack.enter_context(listening_in(outside[0])) for _ in range(2))
    own, mapping = connected(stack, inside, known)
    port = own[0].getsockname()[1]
    _, other_mapping = connected(stack, inside, second, port)
    listener = stack.enter_context(listening_in(inside, port))
    callers = [stack.enter_context(socket_in(host, socket.SOCK_STREAM)) for host in outside]
    nature = Nature(other_mapping == mapping, *(gets_in(caller, mapping, listener, own) for caller in callers))
    assert nature == NATURES[kind]


def listening_in(netns: str, port: int = 0) -> socket.socket:
    """A TCP socket in a namespace that listens."""
    made = socket_in(netns, socket.SOCK_STREAM, port)
    made.listen()
    return made


Pair = tuple[socket.socket, socket.socket]


def connected(stack: ExitStack, inside: str, target: socket.socket, port: int = 0) -> tuple[Pair, Address]:
    """A connection from a port inside, both of its ends, and where it comes from as the target sees it."""
    near = stack.enter_context(socket_in(inside, socket.SOCK_STREAM, port))
    near.connect(reachable_at(target))
    far, seen = target.accept()
    far.settimeout(TIMEOUT)
    return (near, stack.enter_context(far)), endpoint(seen)


def gets_in(caller: socket.socket, mapping: Address, listener: socket.socket, own: Pair) -> bool:
    """Whether a stranger's connection comes in while three round trips are made on one that is there."""
    caller.setblocking(False)
    caller.connect_ex(mapping)
    for _ in range(3):
        for near, far in (own, own[::-1]):
            near.sendall(b"x")
            assert far.recv(1) == b"x"
    if not readable(listener, 0):
        return False
    listener.accept()[0].close()
    return True


LETS_OUT: Mapping[str, set[tuple[str, int]]] = {
    "port restricted": {("TCP", 443), ("TCP", 444), ("UDP", 443), ("UDP", 444)},
    "UDP blocked": {("TCP", 443), ("TCP", 444)},
    "only 443": {("TCP", 443), ("UDP", 443)},
}


@pytest.mark.parametrize("name", LETS_OUT)
def test_what_gets_out(lab: Lab, outside: list[str], stack: ExitStack, name: str) -> None:
    """Networks that block something block exactly that; TCP to 443 is open in all of them and goes last."""
    inside = build(lab, f"out of {name}", NETWORKS[name])
    out = set()
    tries: dict[tuple[str, int], tuple[socket.socket, socket.socket]] = {}
    for port in (444, 443):
        receiver = stack.enter_context(socket_in(outside[0], port=port))
        sender = stack.enter_context(socket_in(inside))
        sender.sendto(b"out", reachable_at(receiver))
        tries["UDP", port] = sender, receiver
        listener = stack.enter_context(socket_in(outside[0], socket.SOCK_STREAM, port))
        listener.listen()
        client = stack.enter_context(socket_in(inside, socket.SOCK_STREAM))
        client.setblocking(False)
        client.connect_ex(reachable_at(listener))
        tries["TCP", port] = client, listener
    with tries["TCP", 443][1].accept()[0]:
        for way, (_, receiver) in tries.items():
            if way == ("TCP", 443) or readable(receiver, 0):
                out.add(way)
    assert out == LETS_OUT[name]


def socket_in(netns: str, kind: socket.SocketKind = socket.SOCK_DGRAM, port: int = 0) -> socket.socket:
    """A socket in a namespace, bound to its address towards the internet."""

    def make() -> socket.socket:
        enter(netns)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((public_v4(0), 9))
            address = probe.getsockname()[0]
        made = socket.socket(socket.AF_INET, kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        made.settimeout(TIMEOUT)
        return made

    with ThreadPoolExecutor(1) as thread:  # a thread that has entered a namespace must not do anything else
        return thread.submit(make).result()


def seen_by(inside: socket.socket, outside: socket.socket) -> Address:
    """The address that a datagram from inside comes from."""
    inside.sendto(b"out", reachable_at(outside))
    return endpoint(outside.recvfrom(100)[1])


def reachable_at(outside: socket.socket) -> Address:
    """Where a socket on the internet is reached."""
    return endpoint(outside.getsockname())


def arrives(sender: socket.socket, known: socket.socket, mapping: Address, inside: socket.socket) -> bool:
    """Whether a datagram comes in; one that is known to come in follows, so that nothing is waited for."""
    sender.sendto(b"stranger", mapping)
    known.sendto(b"known", mapping)
    first = inside.recv(100)
    if first == b"stranger":
        assert inside.recv(100) == b"known"
    return first == b"stranger"
