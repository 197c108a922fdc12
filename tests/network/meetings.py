"""Clients in their networks, started when they are first needed, and who of them reaches whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

from rendezvous.self_signed import self_signed
from tests.integration.server import ServerProcess
from tests.network.lab import PORT, SERVER_NUMBER, START_TIMEOUT, Lab, Peer, public_v4, public_v6
from tests.network.networks import NETWORKS, Network, build
from tests.network.peer import NAME, Settings

REACH_TIMEOUT = 90.0
AT_ONCE = 24
Cell = tuple[str, str]
Pair = tuple[Peer, Peer]
K = TypeVar("K")


class Meetings:
    """One server, and at most one asking and one answering client in each kind of network."""

    def __init__(self, lab: Lab, number: int = SERVER_NUMBER, *flags: str, part: str = "") -> None:
        self.lab = lab
        self.number = number
        self.certificate = lab.folder / f"certificate-{number}.pem"
        self.certificate.write_bytes(b"".join(self_signed([NAME], days=1)))
        flags = (f"--host={NAME}", "--https=443", f"--certificate={self.certificate}", *flags)
        self.server: ServerProcess = lab.serve(f"server {number}", number, *flags, part=part)
        self.asking = cache(self._asking)
        self.answering = cache(self._answering)

    def client(self, namespace: str, role: str, network: Network) -> Peer:
        """Start a client in a namespace that sits in this kind of network."""
        view = self.server.view()
        settings = Settings(
            host=public_v4(self.number) if network.v4 else public_v6(self.number),
            port=PORT,
            key=view.key,
            public_key=view.public_key.hex(),
            v6_server=public_v6(self.number) if network.v6 else "",
            over_tcp=network.over_tcp,
            certificate=str(self.certificate) if network.over_https else "",
        )
        return self.lab.peer(namespace, role, settings.as_dict())

    def _asking(self, name: str) -> Peer:
        return self.client(build(self.lab, f"A {name}", NETWORKS[name]), "asking", NETWORKS[name])

    def _answering(self, name: str) -> Peer:
        return self.client(build(self.lab, f"B {name}", NETWORKS[name]), "answering", NETWORKS[name])

    def reach(self, cells: Iterable[Cell], at_once: int = AT_ONCE) -> dict[Cell, dict[str, Any]]:
        """What each asking client found out about its way to each answering one, several at the same time."""
        pairs = {cell: (self.asking(cell[0]), self.answering(cell[1])) for cell in cells}
        return reach_all(pairs, at_once)


def reach_all(pairs: Mapping[K, Pair], at_once: int = AT_ONCE, **how: Any) -> dict[K, dict[str, Any]]:
    """Let the first client of each pair reach the second one, several at the same time, when all have started."""
    for pair in pairs.values():
        for client in pair:
            client.hello.result(START_TIMEOUT)
    with ThreadPoolExecutor(at_once) as pool:
        return dict(zip(pairs, pool.map(lambda pair: reach(*pair, **how), pairs.values()), strict=True))


def reach(asking: Peer, answering: Peer, **how: Any) -> dict[str, Any]:
    """Let one client reach another one; the open ways and why others are closed. `how` is as in `asking.How`."""
    asking.hello.result(START_TIMEOUT)
    peer_id = answering.hello.result(START_TIMEOUT)["id"]
    return asking.ask(peer_id=peer_id, **how).result(REACH_TIMEOUT)
