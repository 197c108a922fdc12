"""UDP port P: one message a datagram, answered to its source and nowhere else."""

from collections.abc import Container, Mapping
from socket import AF_INET, AF_INET6, AddressFamily
from typing import Any

from twisted.internet.error import MessageLengthError
from twisted.internet.interfaces import IReactorTime, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure

from rendezvous.admission import Refused
from rendezvous.hbbs.dispatch import Dispatcher
from rendezvous.hbbs.request import Replies, Request, Transport
from rendezvous.metrics import Drops
from rendezvous.wire.address import Address, is_ipv6, plain_host
from rendezvous.wire.messages import MalformedMessage, decode, encode


class RendezvousDatagrams(DatagramProtocol):
    """Receives on the socket of one address family."""

    noisy = False
    transport: IUDPTransport | None

    def __init__(self, dispatcher: Dispatcher, denied: Container[str], drops: Drops, clock: IReactorTime) -> None:
        self._dispatcher = dispatcher
        self._denied = denied
        self._drops = drops
        self._clock = clock

    def datagramReceived(self, datagram: bytes, addr: tuple[Any, ...]) -> None:
        """Decodes, dispatches, and answers."""
        try:
            kind, message = decode(datagram)
        except MalformedMessage:
            self._drops.count(Transport.UDP.value, "malformed")
            return
        source = Address(plain_host(addr[0]), addr[1])
        if source.host in self._denied:
            self._drops.count(Transport.UDP.value, "denied")
            return
        request = Request(message, source, Transport.UDP, self._clock.seconds())
        answer = self._dispatcher.dispatch(kind, request)
        answer.addCallbacks(self._answer, self._refused, callbackArgs=(addr,))

    def _answer(self, replies: Replies, addr: tuple[Any, ...]) -> None:
        for reply in replies:
            self.send(encode(reply), addr)

    def _refused(self, reason: Failure) -> None:
        reason.trap(Refused)

    def send(self, datagram: bytes, addr: tuple[Any, ...]) -> None:
        """Sends; what the network does not take is counted and gone, as a lost datagram would be."""
        if self.transport is None:
            return
        try:
            self.transport.write(datagram, addr)
        except (OSError, MessageLengthError):
            self._drops.count(Transport.UDP.value, "send_failed")


class DatagramSender:
    """Sends to registered peers from the socket of their address family."""

    def __init__(self, protocols: Mapping[AddressFamily, RendezvousDatagrams]) -> None:
        self._by_family = protocols

    def send(self, datagram: bytes, address: Address) -> None:
        """Sends `datagram`; a peer of a family without a socket can't have registered."""
        self._by_family[AF_INET6 if is_ipv6(address.host) else AF_INET].send(datagram, address)
