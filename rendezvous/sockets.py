"""Listening sockets, made by hand so that a second server fails, and says on which port.

IPv4 and IPv6 have a socket each (the latter v6only), so that no address looks like ``::ffff:1.2.3.4``.
"""

import errno
import os
import socket
from collections.abc import Callable, Sequence
from typing import Protocol as Interface

from twisted.application.service import Service
from twisted.internet.interfaces import IConsumer, IPushProducer, ISSLTransport, ITLSTransport
from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Connection
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import Attribute

from rendezvous.config_values import ConfigError
from rendezvous.inherited import inherited
from rendezvous.own_address import families

LINGER = 10.0
"""Seconds that a client has to take the last bytes and to close."""
_BACKLOG = 1024
_SO_RCVBUFFORCE = 33
_UDP_BUFFER = 8 << 20
"""Bytes asked for when the setting is 0; the kernel gives what it allows."""


def listen_tcp(bind: str, port: int, what: str, where: str = "bind") -> list[socket.socket]:
    """Listening TCP sockets on `port`, one for each address family.

    Raises ConfigError, which names the port and its setting `what`, or the setting `where` of its address.
    """
    return _listen_all(bind, port, socket.SOCK_STREAM, what, where)


def listen_udp(bind: str, port: int, what: str, receive_buffer: int) -> list[socket.socket]:
    """UDP sockets on `port`, one for each address family, with `receive_buffer` bytes (0: plenty)."""
    sockets = _listen_all(bind, port, socket.SOCK_DGRAM, what, "bind")
    for sock in sockets:
        _set_receive_buffer(sock, receive_buffer or _UDP_BUFFER)
    return sockets


def _listen_all(bind: str, port: int, kind: int, what: str, where: str) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        for family, host in families(bind):
            sockets.append(_listen(family, host, port, kind, what, where))
    except ConfigError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _set_receive_buffer(sock: socket.socket, size: int) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
    except OSError:  # only root may exceed net.core.rmem_max
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def _listen(family: int, host: str, port: int, kind: int, what: str, where: str) -> socket.socket:
    taken_over = inherited.take(family, kind, host, port)
    if taken_over is not None:
        return taken_over
    transport = "UDP" if kind == socket.SOCK_DGRAM else "TCP"
    sock = socket.socket(family, kind)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # for all that are accepted on it
        sock.setblocking(False)
        sock.bind((host, port))
        if kind == socket.SOCK_STREAM:
            sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise ConfigError(_why_not(error, host, port, transport, what, where)) from None
    return sock


def _why_not(error: OSError, host: str, port: int, transport: str, what: str, where: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{what}: {transport} port {port} is in use; stop its process, or choose another port."
    if error.errno == errno.EACCES:
        return f"{what}: {transport} port {port} takes root's rights; it takes a port above 1023."
    if error.errno == errno.EADDRNOTAVAIL:
        otherwise = ", or nothing for all" if where == "bind" else ""
        return f"{where}: {host!r} is no address of this machine; it takes one that is{otherwise}."
    return f"{what}: {transport} port {port} can't be opened: {os.strerror(error.errno or 0)}."


class IStreamTransport(ITLSTransport, IConsumer, IPushProducer):
    """What Twisted's TCP transports provide, also those that have started TLS."""

    protocol = Attribute("What gets the bytes that come: that of TLS once it has started.")


def hand_over(transport: Connection, protocol: Protocol | None, received: bytes) -> None:
    """Makes `protocol` the one of `transport`, which has `received` already; closes when there is none.

    A transport that has started TLS goes on with it, and `received` is what came over it.
    """
    if protocol is None:
        transport.loseConnection()
        return
    tls = transport.protocol
    if isinstance(tls, TLSMemoryBIOProtocol):
        tls.wrappedProtocol = protocol
    else:
        transport.protocol = protocol
    protocol.makeConnection(transport)
    if received:
        receiver = protocol if isinstance(tls, TLSMemoryBIOProtocol) else transport.protocol
        receiver.dataReceived(received)


def end_writing(transport: IStreamTransport | Connection) -> None:
    """Tells the other end that nothing more comes, and goes on reading as long as that one sends.

    TLS has its own way to say so: the connection ends once the other end has answered.
    """
    if ISSLTransport.providedBy(transport):
        transport.loseConnection()
    else:
        transport.loseWriteConnection()


class Port(Interface):
    """A listening port."""

    socket: socket.socket

    def startListening(self) -> None:
        """Begins, or goes on."""

    def pauseListening(self) -> None:
        """Takes nothing for now; what comes waits in the socket."""

    def stopListening(self) -> None:
        """Ends, and closes the socket."""


class PortService(Service):
    """Listens on ports while the service runs; what was accepted goes on, and `ended` is told when that is all."""

    def __init__(self, ports: Sequence[Port], ended: Callable[[], None] = lambda: None) -> None:
        self.ports = ports
        self._ended = ended

    def startService(self) -> None:
        """Begins to listen."""
        super().startService()
        for port in self.ports:
            port.startListening()

    def pause(self) -> None:
        """Takes nothing for now; what comes waits in the sockets."""
        for port in self.ports:
            port.pauseListening()

    def resume(self) -> None:
        """Goes on."""
        for port in self.ports:
            port.startListening()

    def stopService(self) -> None:
        """Ends listening, for good."""
        super().stopService()
        ports, self.ports = self.ports, ()
        for port in ports:
            port.stopListening()
        self._ended()
