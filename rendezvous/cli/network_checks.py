"""What the doctor tries on the network: ports, names, relays, and what is in front."""

import contextlib
import errno
import socket
import threading
from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import urlsplit

from rendezvous.admin.values import Listening, for_clients, listening
from rendezvous.cli.findings import Finding, Patient, note, ok, wrong
from rendezvous.config_values import split_host_port
from rendezvous.own_address import families, own_address
from rendezvous.wire.messages import MalformedMessage, decode, encode
from rendezvous.wire.rendezvous_pb2 import TestNatRequest, TestNatResponse

_PATIENCE = 3.0
"""Seconds for a connection, an answer or a name."""
_TRIES = 2
_RELAY_PORT = 21117
_IN_USE = "is in use."
_NEWEST = 2**31 - 1
"""A serial that no server has more to tell than."""


def ports(patient: Patient) -> Iterator[Finding]:
    """A running server answers on its ports; those of one that does not run are free."""
    problems = [
        finding
        for port in listening(patient.settings)
        if (finding := (_free(port) if patient.status is None else _answering(port))) is not None
    ]
    yield from problems
    if patient.status is None and any(finding.text.endswith(_IN_USE) for finding in problems):
        yield note(
            "ports",
            f"A server with another data folder than {patient.data}, or with --control no, may have them.",
            "name the folder of the server that is meant: rendezvous doctor --data FOLDER",
        )
    if not problems:
        state = "are free" if patient.status is None else "answer"
        numbers = sorted({port.port for port in listening(patient.settings)})
        yield ok("ports", f"Ports {', '.join(map(str, numbers))} {state}.")


def _answering(port: Listening) -> Finding | None:
    host = port.address or "127.0.0.1"
    if _answers_datagrams(host, port.port) if port.transport == "udp" else not _connects(host, port.port):
        return None
    return wrong(
        "ports",
        f"{port.transport.upper()} port {port.port} ({port.what}) does not answer at {host}.",
        "look at the server's log and at a firewall on this machine: nft list ruleset",
    )


def _free(port: Listening) -> Finding | None:
    kind = socket.SOCK_DGRAM if port.transport == "udp" else socket.SOCK_STREAM
    try:
        for family, host in families(port.address):
            _try_to_bind(family, kind, host, port.port)
    except OSError as error:
        what = f"{port.transport.upper()} port {port.port} ({port.what})"
        if error.errno == errno.EADDRINUSE:
            flags = "-lunp" if kind == socket.SOCK_DGRAM else "-ltnp"
            return wrong("ports", f"{what} {_IN_USE}", f"ss {flags} 'sport = :{port.port}'")
        return wrong("ports", f"{what} can't be opened: {error.strerror}.", "see --port and --bind")
    return None


def _try_to_bind(family: int, kind: int, host: str, port: int) -> None:
    """As the server would. Raises OSError."""
    with socket.socket(family, kind) as probe:
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


def _connects(host: str, port: int) -> str:
    """Why there is no connection; empty when there is."""
    try:
        socket.create_connection((host, port), _PATIENCE).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _answers_datagrams(host: str, port: int) -> bool:
    question = encode(TestNatRequest(serial=_NEWEST))
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(_PATIENCE / _TRIES)
        try:
            probe.connect((host, port))
        except OSError:
            return False
        for _ in range(_TRIES):
            try:
                probe.send(question)
                return isinstance(decode(probe.recv(65536))[1], TestNatResponse)
            except (OSError, MalformedMessage):
                continue
    return False


def host(patient: Patient) -> Iterator[Finding]:
    """The name that clients are told leads here, maybe through a router."""
    name, own = patient.settings.host, own_address()
    if not patient.settings.has_hbbs:
        return
    if not name:
        yield note(
            "host", f"Clients are told the address {own}, since there is no --host.", "start it with --host NAME"
        )
        return
    addresses = _resolved(name)
    if not addresses:
        yield wrong("host", f"{name} has no address.", f"getent ahosts {name}")
    elif all(ip_address(address).is_loopback for address in addresses):
        yield wrong(
            "host", f"{name} is this machine's own loopback, which no client reaches.", "start it with --host NAME"
        )
    elif any(_is_here(address) for address in addresses):
        yield ok("host", f"{name} is {', '.join(addresses)}, an address of this machine.")
    elif not ip_address(own).is_global and any(ip_address(address).is_global for address in addresses):
        tcp = sorted(port.port for port in for_clients(patient.settings) if port.transport == "tcp")
        yield note(
            "host",
            f"{name} is {', '.join(addresses)}, but this machine is {own}: there is a NAT in front.",
            f"let the router forward TCP {', '.join(map(str, tcp))} and UDP {patient.settings.port} to {own}",
        )
    else:
        yield note("host", f"{name} is {', '.join(addresses)}, which is another machine.", f"getent ahosts {name}")


def _resolved(name: str) -> list[str]:
    """Its addresses, as far as they are found in time."""
    found: list[str] = []

    def ask() -> None:
        with contextlib.suppress(OSError, UnicodeError):
            found.extend(sorted({str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(name, None)}))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_PATIENCE)
    return found


def _is_here(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def others(patient: Patient) -> Iterator[Finding]:
    """The relays that clients are told of, and the API server, take connections."""
    if not patient.settings.has_hbbs:
        return
    for name in patient.settings.relay_servers:
        yield _reached("relay", name, *split_host_port(name, _RELAY_PORT))
    if patient.settings.api_server:
        url = urlsplit(patient.settings.api_server)
        port = url.port or (443 if url.scheme == "https" else 80)
        yield _reached("API server", patient.settings.api_server, url.hostname or "", port)


def _reached(check: str, name: str, address: str, port: int) -> Finding:
    if not _resolved(address):
        return wrong(check, f"The {check} {name} has no address.", f"getent ahosts {address}")
    why = _connects(address, port)
    if why:
        return wrong(
            check, f"The {check} {name} can't be reached: {why}.", f"start it, or let TCP {port} through to it"
        )
    return ok(check, f"The {check} {name} is reached.")
