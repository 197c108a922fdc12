"""TLS for clients that use threads: one thread alone touches a connection's TLS, and others a plain socket."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from contextlib import suppress

_CHUNK = 1 << 16
_MOST_WAITING = 1 << 18


def through_tls(made: socket.socket, context: ssl.SSLContext, name: str) -> socket.socket:
    """A socket whose bytes go over TLS on `made`; ssl.SSLError when the certificate is none to trust for `name`."""
    try:
        secure = context.wrap_socket(made, server_hostname=name)
    except (ssl.SSLError, OSError):
        made.close()
        raise
    near, far = socket.socketpair()
    threading.Thread(target=_Passing(secure, far).run, name=f"TLS to {name}", daemon=True).start()
    return near


class _Passing:
    """Passes on between a TLS connection and a plain one, which is closed by its other end and not before.

    When the TLS connection has ended, the plain one reads to its end, and what is written to it is lost, as
    with any TCP connection whose other end has closed.
    """

    def __init__(self, secure: ssl.SSLSocket, plain: socket.socket) -> None:
        self._secure = secure
        self._plain = plain
        self._outgoing = bytearray()
        self._incoming = bytearray()
        self._secure_open = self._plain_open = True
        self._wants_to_write = False
        for each in (secure, plain):
            each.setblocking(False)

    def run(self) -> None:
        """The thread."""
        with self._secure, self._plain:
            with suppress(OSError):
                while self._secure_open and (self._plain_open or self._outgoing):
                    self._wait()
                    self._pass_out()
                    self._pass_in()
            with suppress(OSError):
                self._end()

    def _wait(self) -> None:
        poller = select.poll()
        incoming = len(self._incoming) < _MOST_WAITING
        if incoming and self._secure.pending():
            return
        outgoing = self._plain_open and len(self._outgoing) < _MOST_WAITING
        for each, reads, writes in (
            (self._secure, incoming, bool(self._outgoing) or self._wants_to_write),
            (self._plain, outgoing, bool(self._incoming)),
        ):
            if reads or writes:
                poller.register(each, (reads and select.POLLIN) | (writes and select.POLLOUT))
        poller.poll()

    def _pass_out(self) -> None:
        if self._plain_open and len(self._outgoing) < _MOST_WAITING:
            with suppress(BlockingIOError):
                data = self._plain.recv(_CHUNK)
                self._outgoing += data
                self._plain_open = bool(data)
        with suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            while self._outgoing:
                del self._outgoing[: self._secure.send(self._outgoing)]

    def _pass_in(self) -> None:
        self._wants_to_write = False
        if len(self._incoming) < _MOST_WAITING:
            try:
                data = self._secure.recv(_CHUNK)
                self._incoming += data
                self._secure_open = bool(data)
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLWantWriteError:
                self._wants_to_write = True
            except OSError:
                self._secure_open = False
        with suppress(BlockingIOError):
            while self._incoming:
                del self._incoming[: self._plain.send(self._incoming)]

    def _end(self) -> None:
        if self._secure_open:
            with suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                self._secure.unwrap()
            return
        self._secure.close()
        self._plain.settimeout(30)
        self._plain.sendall(self._incoming)
        self._plain.shutdown(socket.SHUT_WR)
        while self._plain.recv(_CHUNK):
            pass
