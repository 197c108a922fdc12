"""A test client as a process of its own: ``python -m tests.network.peer asking|answering SETTINGS``.

SETTINGS is the JSON of `Settings`. The client says hello with a line of JSON. The asking one answers each
line of its input, which names a peer, with the ways in which it was reached. The end of input ends both.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import asdict, dataclass
from typing import Any

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlling import Controlling
from tests.client.links import Server
from tests.client.wire import Address

NAME = "rendezvous.test"


class NamedServer(Server):
    """A server that clients know by name, so that each reaches its relay by the addresses it has."""

    @property
    def relay(self) -> Address:
        return NAME, self.relay_port or self.port + 1

    def relay_named(self, name: str) -> Address:
        host, port = super().relay_named(name)
        return (self.host, port) if host == NAME else (host, port)


@dataclass(frozen=True)
class Settings:
    """What a client in the laboratory is told."""

    host: str
    port: int
    key: str
    public_key: str
    v6_server: str = ""
    """The server's IPv6 address where the client's own network has IPv6, else empty."""
    over_tcp: bool = False
    """Register over TCP, and don't ask over UDP."""
    certificate: str = ""
    """Dial nothing but port 443, and trust this file's certificate there; empty for all others."""
    patience: float = 2.5
    """Seconds after which a way counts as closed."""

    def server(self) -> NamedServer:
        """The server as the test clients want it."""
        return NamedServer(self.host, self.port, 0, self.key, bytes.fromhex(self.public_key))

    def as_dict(self) -> dict[str, object]:
        """The content of the command line."""
        return asdict(self)


def say(content: dict[str, Any]) -> None:
    """Write one line of JSON, also from several threads."""
    with _lock:
        print(json.dumps(content), flush=True)


_lock = threading.Lock()


def nat_type(settings: Settings) -> pb.NatType:
    """What the NAT test on two ports tells about this client's network; clients on WebSocket make none."""
    if settings.certificate:
        return pb.UNKNOWN_NAT
    first, second = Controlling(settings.server()).nat_test()
    return pb.ASYMMETRIC if first.port == second.port else pb.SYMMETRIC


def main(role: str, text: str) -> None:
    """Run one role until the end of input."""
    from tests.network.answering import Answering
    from tests.network.asking import Asking
    from tests.network.https import AnsweringByHttps

    settings = Settings(**json.loads(text))
    kind = nat_type(settings)
    if role == "answering":
        client = AnsweringByHttps if settings.certificate else Answering
        with client(settings, kind) as answering:
            say({"id": answering.id, "nat": pb.NatType.Name(kind)})
            sys.stdin.read()
            os._exit(0)  # without waiting for what is still open
    asking = Asking(settings, kind)
    say({"nat": pb.NatType.Name(kind)})
    for line in sys.stdin:
        threading.Thread(target=_answer, args=(asking, json.loads(line)), daemon=True).start()
    os._exit(0)


def _answer(asking: Any, request: dict[str, Any]) -> None:
    number = request.pop("request")
    try:
        result = asking.reach(**request).as_dict()
    except Exception as error:  # whatever it was, the test shows it
        result = {"ways": {}, "closed": {"error": repr(error)}, "relay": ""}
    say({"request": number} | result)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
