"""UDP port P: one message a datagram, answered to its source and nowhere else."""

from collections.abc import Mapping
from socket import AF_INET, AF_INET6, AddressFamily
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from rendezvous.address_lists import AddressList
from rendezvous.admission import Refused
from rendezvous.datagram_port import QuickDatagramProtocol
from rendezvous.hbbs.dispatch import Dispatcher
from rendezvous.hbbs.heartbeat import ANSWER, Heartbeats
from rendezvous.hbbs.request import Replies, Request, Transport
from rendezvous.metrics import Drops
from rendezvous.wire.address import Address, is_ipv6, plain_host
from rendezvous.wire.messages import MalformedMessage, decode, encode


class RendezvousDatagrams(QuickDatagramProtocol):
    """Receives on the socket of one address family; `heartbeats` is the fast path."""

    usual_answer = ANSWER

    def __init__(
        self,
        dispatcher: Dispatcher,
        heartbeats: Heartbeats,
        denied: AddressList,
        drops: Drops,
        clock: IReactorTime,
    ) -> None:
        self._dispatcher = dispatcher
        self._denied = denied
        self._drops = drops
        self._clock = clock
        self.quick_answer = heartbeats.quick_answer(self)
        self.is_usual = heartbeats.usual()

    def datagramReceived(self, datagram: bytes, addr: tuple[Any, ...]) -> None:
        """Decodes, dispatches, and answers."""
        if self._denied.any and _host(addr) in self._denied:
            self._drops.count(Transport.UDP.value, "denied")
            return
        try:
            kind, message = decode(datagram)
        except MalformedMessage:
            self._drops.count(Transport.UDP.value, "malformed")
            return
        source = Address(_host(addr), addr[1])
        try:
            answer = self._dispatcher.dispatch(kind, Request(message, source, Transport.UDP, self._clock.seconds()))
        except Refused:
            return
        if isinstance(answer, Deferred):
            answer.addCallbacks(self._answer, self._refused, callbackArgs=(addr,))
        else:
            self._answer(answer, addr)

    def _answer(self, replies: Replies, addr: tuple[Any, ...]) -> None:
        for reply in replies:
            self.transport.write(encode(reply), addr)

    def _refused(self, reason: Failure) -> None:
        reason.trap(Refused)


def _host(addr: tuple[Any, ...]) -> str:
    """The host of a socket's address in its one spelling."""
    return plain_host(addr[0]) if ":" in addr[0] else str(addr[0])


class DatagramSender:
    """Sends to registered peers from the socket of their address family."""

    def __init__(self, protocols: Mapping[AddressFamily, RendezvousDatagrams]) -> None:
        self._by_family = protocols

    def send(self, datagram: bytes, address: Address) -> None:
        """Sends `datagram`; a peer of a family without a socket can't have registered."""
        protocol = self._by_family[AF_INET6 if is_ipv6(address.host) else AF_INET]
        protocol.transport.write(datagram, address)
