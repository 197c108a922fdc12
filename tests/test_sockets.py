"""Listening sockets: one for each family, and never two servers on a port."""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from rendezvous.config_values import ConfigError
from rendezvous.sockets import listen_tcp, listen_udp

KINDS = ["TCP", "UDP"]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is to be closed at the end."""
    with ExitStack() as opened:
        yield opened


def listen(stack: ExitStack, kind: str, bind: str, port: int) -> list[socket.socket]:
    """Listens, and closes at the end."""
    sockets = listen_tcp(bind, port, "port") if kind == "TCP" else listen_udp(bind, port, "port", 0)
    for sock in sockets:
        stack.enter_context(closing(sock))
    return sockets


def port_of(sock: socket.socket) -> int:
    """The port that a socket is bound to."""
    port: int = sock.getsockname()[1]
    return port


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("second", ["127.0.0.1", ""])
def test_a_second_server_on_the_port_fails(stack: ExitStack, kind: str, second: str) -> None:
    """The second one gets one sentence that names the setting, the port and its kind."""
    port = port_of(listen(stack, kind, "127.0.0.1", 0)[0])
    with pytest.raises(ConfigError) as caught:
        listen(stack, kind, second, port)
    text = str(caught.value)
    assert text.startswith("port: ")
    assert f"{kind} port {port} " in text
    assert "\n" not in text


@pytest.mark.parametrize("kind", KINDS)
def test_a_port_taken_on_ipv6_alone_fails_and_lets_go_of_the_other(stack: ExitStack, kind: str) -> None:
    """When only one family's port is taken, neither stays open."""
    taken = listen(stack, kind, "::1", 0)[0]
    port = port_of(taken)
    taken.close()
    blocker = stack.enter_context(
        closing(socket.socket(socket.AF_INET6, socket.SOCK_STREAM if kind == "TCP" else socket.SOCK_DGRAM))
    )
    blocker.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    blocker.bind(("::", port))
    if kind == "TCP":
        blocker.listen()
    with pytest.raises(ConfigError, match=str(port)):
        listen(stack, kind, "", port)
    gc.collect()
    assert port_of(listen(stack, kind, "0.0.0.0", port)[0]) == port


@pytest.mark.parametrize("kind", KINDS)
def test_without_an_address_there_is_a_socket_for_each_family(stack: ExitStack, kind: str) -> None:
    """IPv4 and IPv6 are apart: the IPv6 socket takes no IPv4."""
    port = port_of(listen(stack, kind, "127.0.0.1", 0)[0])
    stack.close()
    sockets = listen(stack, kind, "", port)
    assert [(sock.family, sock.getsockname()[0]) for sock in sockets] == [
        (socket.AF_INET, "0.0.0.0"),
        (socket.AF_INET6, "::"),
    ]
    assert sockets[1].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
    assert {port_of(sock) for sock in sockets} == {port}


@pytest.mark.parametrize("kind", KINDS)
def test_an_ipv6_address_alone_takes_no_ipv4(stack: ExitStack, kind: str) -> None:
    """A server bound to :: leaves the IPv4 port to others."""
    port = port_of(listen(stack, kind, "::", 0)[0])
    assert port_of(listen(stack, kind, "0.0.0.0", port)[0]) == port


@pytest.mark.parametrize("kind", KINDS)
def test_an_address_of_another_machine_is_refused(stack: ExitStack, kind: str) -> None:
    """An address that is not this machine's is named, with the setting."""
    with pytest.raises(ConfigError, match=r"^bind: '192\.0\.2\.1' "):
        listen(stack, kind, "192.0.2.1", 0)


def test_sockets_share_no_port() -> None:
    """Neither SO_REUSEPORT on any, nor SO_REUSEADDR on UDP: with them a second server would start."""
    with ExitStack() as stack:
        for kind in KINDS:
            for sock in listen(stack, kind, "127.0.0.1", 0):
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 0
                if kind == "UDP":
                    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0


def test_a_port_can_be_taken_again_at_once(stack: ExitStack) -> None:
    """A server that stopped with connections open can start again on its port."""
    listener = listen(stack, "TCP", "127.0.0.1", 0)[0]
    port = port_of(listener)
    listener.setblocking(True)
    client = stack.enter_context(closing(socket.create_connection(("127.0.0.1", port))))
    accepted, _ = listener.accept()
    accepted.close()
    listener.close()
    assert client.recv(1) == b""
    assert port_of(listen(stack, "TCP", "127.0.0.1", port)[0]) == port


@pytest.mark.parametrize("size", [4096, 100_000])
def test_the_receive_buffer_is_what_wasasked_for(stack: ExitStack, size: int) -> None:
    """A number of bytes is the buffer's size (Linux doubles it); 0 takes no less than the system's default."""
    asked, default = listen_udp("127.0.0.1", 0, "port", size)[0], listen_udp("127.0.0.1", 0, "port", 0)[0]
    plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for sock in (asked, default, plain):
        stack.enter_context(closing(sock))
    assert asked.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * size
    sizes = [sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) for sock in (default, plain)]
    assert sizes[0] >= sizes[1]
