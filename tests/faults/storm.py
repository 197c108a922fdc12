"""Many new ids that register at once, and what became of each."""

from __future__ import annotations

import os
import selectors
import socket
import time
from collections.abc import Callable, Iterable
from itertools import count

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import Identity
from tests.client.links import Server
from tests.client.wire import FrameReader, frame

OK = pb.RegisterPkResponse.OK
SERVER_ERROR = pb.RegisterPkResponse.SERVER_ERROR
PATIENCE = 15.0
"""Seconds after which an attempt is given up."""

_ids = count(200_000_000 + os.getpid() % 1000 * 100_000)


def new_peer() -> Identity:
    """A peer that nobody knows yet."""
    id = next(_ids)
    return Identity(str(id), b"machine of %d" % id, os.urandom(32))


class _Attempt:
    """One registration, over a socket of its own: an answer does not tell whom it is for."""

    def __init__(self, view: Server, peer: Identity, kind: socket.SocketKind) -> None:
        self.peer = peer
        self.deadline = time.monotonic() + PATIENCE
        self.socket = socket.socket(socket.AF_INET, kind)
        self.socket.setblocking(False)
        self._framed = kind is socket.SOCK_STREAM
        self._frames = FrameReader()
        self.unsent = peer.register_pk().SerializeToString()
        self.socket.connect_ex(view.main)

    def send(self) -> None:
        """The connection is made."""
        self.socket.send(frame(self.unsent) if self._framed else self.unsent)
        self.unsent = b""

    def receive(self) -> int | None:
        """The result that has come; ConnectionError when none will."""
        data = self.socket.recv(4096)
        if not data:
            raise ConnectionResetError
        if not self._framed:
            return _result(data)
        self._frames.feed(data)
        while (payload := self._frames.next()) is not None:
            if (result := _result(payload)) is not None:
                return result
        return None


def _result(payload: bytes) -> int | None:
    message = pb.RendezvousMessage.FromString(payload)
    return int(message.register_pk_response.result) if message.HasField("register_pk_response") else None


class Storm:
    """Registers peers over UDP and TCP, a window of them at a time. `results` are those that came, by id."""

    def __init__(self, view: Server, window: int = 48) -> None:
        self._view = view
        self._window = window
        self._selector = selectors.DefaultSelector()
        self.peers: dict[str, Identity] = {}
        self.results: dict[str, int] = {}

    def having(self, result: int) -> list[Identity]:
        """The peers with this result."""
        return [self.peers[id] for id, found in self.results.items() if found == result]

    def register(self, peers: Iterable[Identity]) -> Storm:
        """Register all of these."""
        waiting = list(peers)
        self.run(lambda: not waiting and not self.under_way, lambda: waiting.pop() if waiting else None)
        return self

    def run(self, over: Callable[[], bool], next_peer: Callable[[], Identity | None] = new_peer) -> None:
        """Go on with ever new peers until it is `over`; then take the answers that have been sent by then."""
        kinds = (socket.SOCK_DGRAM, socket.SOCK_DGRAM, socket.SOCK_STREAM)
        for number in count():
            while self.under_way < self._window and (peer := next_peer()) is not None:
                self._begin(peer, kinds[number % 3])
            self._turn(0.01)
            if over():
                break
        while self._turn(0.05):
            pass
        for key in list(self._selector.get_map().values()):
            self._end(key.data)

    @property
    def under_way(self) -> int:
        """How many wait for their answer."""
        return len(self._selector.get_map())

    def _begin(self, peer: Identity, kind: socket.SocketKind) -> None:
        self.peers[peer.id] = peer
        attempt = _Attempt(self._view, peer, kind)
        self._selector.register(attempt.socket, selectors.EVENT_WRITE, attempt)

    def _turn(self, timeout: float) -> int:
        ready = self._selector.select(timeout)
        for key, _ in ready:
            self._serve(key.data)
        now = time.monotonic()
        for key in list(self._selector.get_map().values()):
            if key.data.deadline < now:
                self._end(key.data)
        return len(ready)

    def _serve(self, attempt: _Attempt) -> None:
        try:
            if attempt.unsent:
                attempt.send()
                self._selector.modify(attempt.socket, selectors.EVENT_READ, attempt)
                return
            result = attempt.receive()
        except BlockingIOError:
            return
        except OSError:
            self._end(attempt)
            return
        if result is not None:
            self.results[attempt.peer.id] = result
            self._end(attempt)

    def _end(self, attempt: _Attempt) -> None:
        self._selector.unregister(attempt.socket)
        attempt.socket.close()
