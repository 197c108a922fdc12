"""A UDP socket that talks to the server, and to other peers when it punches."""

from __future__ import annotations

import contextlib
import socket
import time

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.links import bound_socket, endpoint, family, readable
from tests.client.wire import Address


class UdpLink:
    """One local port; messages of the server and datagrams of anybody."""

    def __init__(self, server: Address, source: Address | None = None) -> None:
        self.server = server
        any_address = ("::" if family(server) is socket.AF_INET6 else "0.0.0.0", 0)
        self.socket = bound_socket(socket.SOCK_DGRAM, server, source or any_address, reuse=False)
        self.local = endpoint(self.socket.getsockname())

    def send(self, message: pb.RendezvousMessage) -> None:
        """Send one message to the server."""
        self.send_to(message.SerializeToString(), self.server)

    def send_to(self, data: bytes, address: Address) -> None:
        """Send one datagram to anybody."""
        self.socket.sendto(data, address)

    def receive_from(self, timeout: float = 10.0) -> tuple[bytes, Address]:
        """The next datagram and who sent it."""
        if not readable(self.socket, timeout):
            raise TimeoutError(f"no datagram for {self.local} within {timeout:.1f} s")
        data, sender = self.socket.recvfrom(65535)
        return data, endpoint(sender)

    def receive(self, timeout: float = 10.0) -> pb.RendezvousMessage:
        """The next message of the server; datagrams of others are dropped."""
        deadline = time.monotonic() + timeout
        while True:
            data, sender = self.receive_from(max(0.0, deadline - time.monotonic()))
            if sender == self.server:
                return pb.RendezvousMessage.FromString(data)

    def ask(self, message: pb.RendezvousMessage, tries: int = 3, timeout: float = 2.0) -> pb.RendezvousMessage:
        """Send until an answer comes."""
        for _ in range(tries - 1):
            self.send(message)
            with contextlib.suppress(TimeoutError):
                return self.receive(timeout)
        self.send(message)
        return self.receive(timeout)

    def close(self) -> None:
        """Give the port back."""
        self.socket.close()

    def __enter__(self) -> UdpLink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
