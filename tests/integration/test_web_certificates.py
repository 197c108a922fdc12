"""Certificates whose files change while sessions run over TLS."""

from __future__ import annotations

import hashlib
import random
import threading
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.links import Link, dial_web
from tests.client.threads import Workers, wait_until
from tests.integration.certificates import Issued, replace, serial_shown
from tests.integration.support import StartServer, unique_source
from tests.integration.web import DOMAIN, TRUST, WebServer, secure, secure_websocket, start_web

BLOCK = random.Random(5).randbytes(100_000)
SEEN_WITHIN = 20.0
"""Seconds; the server looks every two."""
KEPT = "stays as it was"


class Stream:
    """Two sides of a relayed session: one sends until told to end, the other compares."""

    def __init__(self, one: Link, other: Link, workers: Workers) -> None:
        self.received = 0
        self._links = (one, other)
        self._ending = threading.Event()
        self._sent = hashlib.sha256()
        self._sender = workers.start(self._send, "sender")
        self._receiver = workers.start(self._receive, "receiver")

    def _send(self) -> None:
        chance = random.Random(1)
        while not self._ending.is_set():
            payload = BLOCK[: chance.choice([1, 1400, 16_384, 65_536])]
            self._sent.update(payload)
            self._links[0].send_payload(payload)
        self._links[0].send_payload(b"end")

    def _receive(self) -> None:
        total = hashlib.sha256()
        while (payload := self._links[1].receive_payload(20)) != b"end":
            total.update(payload)
            self.received += len(payload)
        self._sender.join(10)
        assert total.digest() == self._sent.digest()

    def moves(self) -> None:
        """Return when more has arrived than at the call."""
        before = self.received
        wait_until(lambda: self.received > before, 20, "bytes through the relay")

    def end(self) -> None:
        """Stop sending; what was sent arrives and is compared."""
        self._ending.set()
        self._receiver.join(30)
        for link in self._links:
            link.close()


def stream(web: WebServer, dial: Callable[[], Link], workers: Workers) -> Stream:
    """A session between two clients that dial alike."""
    request = pb.RequestRelay(uuid=str(uuid.uuid4()), licence_key=web.view.key)
    links = [dial(), dial()]
    for link in links:
        link.send(pb.RendezvousMessage(request_relay=request))
    return Stream(links[0], links[1], workers)


def serial(port: int) -> int:
    """Of the certificate that a new connection is shown, which must be valid."""
    with secure(port) as tls:
        return serial_shown(tls)


class Files:
    """The files of the server's certificate, and what is put into them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.certificate, self.private_key = folder / "fullchain.pem", folder / "privkey.pem"

    def good(self) -> Issued:
        """A new certificate with a new key."""
        return TRUST.issue(DOMAIN).write(self.certificate, self.private_key)

    def garbage(self) -> str:
        """Neither is PEM; the word that the log must have."""
        replace(self.certificate, b"garbage")
        return "PEM"

    def other_key(self) -> str:
        """A good certificate, and the key of another one."""
        TRUST.issue(DOMAIN).write(self.certificate, self._folder / "unused.pem")
        return "is not the certificate of"

    def missing(self) -> str:
        """There is no key."""
        self.private_key.unlink()
        return "No such file"


def test_swap_under_load(start_server: StartServer, tmp_path: Path) -> None:
    """Sessions go on without loss, new connections get the new certificate, broken files change nothing."""
    web = start_web(start_server, tmp_path / "tls", http=False, env={"SINGLE_BANDWIDTH": "16"})
    files, lines = Files(tmp_path / "tls"), web.process.lines
    wss, workers = web.wss.web, Workers()
    assert wss is not None
    streams = [
        stream(web, lambda: dial_web(wss, "127.0.0.1", "/ws/relay", (unique_source(), 0)), workers),
        stream(web, lambda: dial_web(wss, "127.0.0.1", "/ws/relay", (unique_source(), 0)), workers),
        stream(web, lambda: secure_websocket(web.view.relay_websocket[1]), workers),
    ]
    ports = (web.https, web.view.websocket[1], web.view.relay_websocket[1])
    assert {serial(port) for port in ports} == {web.issued.serial}

    def told(times: int) -> bool:
        return sum(KEPT in line for line in lines) == times

    first = files.good()
    wait_until(lambda: serial(web.https) == first.serial, SEEN_WITHIN, "the new certificate")
    assert {serial(port) for port in ports} == {first.serial}
    for number, spoil in enumerate((files.garbage, files.other_key, files.missing), 1):
        word = spoil()
        wait_until(partial(told, number), SEEN_WITHIN, "a line in the log")
        assert word in [line for line in lines if KEPT in line][-1]
        assert {serial(port) for port in ports} == {first.serial}
    second = files.good()
    wait_until(lambda: serial(web.https) == second.serial, SEEN_WITHIN, "the new certificate")
    assert {serial(port) for port in ports} == {second.serial}
    assert told(3)

    for running in streams:
        running.moves()
        running.end()
    workers.join()
