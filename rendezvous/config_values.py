"""What the values of settings may be: each parser returns the value, or raises ValueError with what is allowed."""

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address
from typing import Literal, NamedTuple

from rendezvous.wire.address import plain_network


class ConfigError(Exception):
    """One sentence that names the setting, the value and what is allowed."""


def text(value: str) -> str:
    return value


def integer(low: int, high: int, unit: str = "") -> Callable[[str], int]:
    allowed = f"a whole number from {low} to {high}{unit}"

    def parse(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", value) or not low <= int(value) <= high:
            raise ValueError(allowed)
        return int(value)

    return parse


def decimal(low: float, high: float, unit: str = "") -> Callable[[str], float]:
    allowed = f"a number from {low:.12g} to {high:.12g}{unit}"

    def parse(value: str) -> float:
        if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,12})?|\.[0-9]{1,12}", value) or not low <= float(value) <= high:
            raise ValueError(allowed)
        return float(value)

    return parse


def yes_no(value: str) -> bool:
    lowered = value.lower()
    if lowered in ("y", "yes", "true", "1", "on"):
        return True
    if lowered in ("n", "no", "false", "0", "off"):
        return False
    raise ValueError("yes or no")


def host_list(value: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    for name in names:
        split_host_port(name, 1)
    return names


_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_LONGEST_NAME = 253


def host_name(value: str) -> str:
    """A name, or an IP address in its one spelling."""
    labels = value.removesuffix(".").split(".")
    named = len(value) <= _LONGEST_NAME and all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit()
    if not value or named:
        return value
    try:
        return str(ip_address(value.replace("%", " ")))  # a zone means nothing to others
    except ValueError:
        raise ValueError("a name or an IP address, with no port, no scheme and no blanks") from None


def bind_address(value: str) -> str:
    if not value:
        return value
    try:
        return str(ip_address(value))
    except ValueError:
        raise ValueError("an IP address of this machine, or nothing for all") from None


def ipv4_network(value: str) -> IPv4Network | None:
    if not value:
        return None
    try:
        return IPv4Network(value, strict=False)
    except ValueError:
        raise ValueError("an IPv4 network such as 192.168.0.0/16") from None


def local_address(value: str) -> str:
    if not value:
        return value
    host, colon, port = value.partition(":")
    try:
        split_host_port(value, 1)
        return f"{IPv4Address(host)}{colon}{port}"
    except ValueError:
        raise ValueError("an IPv4 address such as 192.168.1.5, with :PORT where the relay's is not 21117") from None


def software_url(value: str) -> str:
    if value and not re.fullmatch(r"https?://\S+", value):
        raise ValueError("an http or https address whose last part ends in -VERSION")
    return value


def database_file(value: str) -> str:
    path = value.removeprefix("sqlite://")
    if "://" in path or not path:
        raise ValueError("the path of a SQLite file")
    return path


def networks(value: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """IP networks, or single addresses, separated by commas."""
    try:
        return tuple(plain_network(word.strip()) for word in value.split(",") if word.strip())
    except ValueError:
        raise ValueError("networks such as 10.0.0.0/8 or addresses, separated by commas") from None


def origins(value: str) -> tuple[str, ...]:
    """Origins of web pages, as browsers write them (RFC 6454, section 6.2), separated by commas."""
    found = []
    for word in filter(None, (word.strip().lower() for word in value.split(","))):
        match = re.fullmatch(r"([a-z][a-z0-9+.-]*)://(\[[^]]+\]|[a-z0-9_.-]+)(?::([0-9]{1,5}))?", word)
        try:
            if match is None:
                raise ValueError
            split_host_port(f"{match[2]}:{match[3] or 1}", 1)
        except ValueError:
            raise ValueError("origins such as https://web.example.org, separated by commas") from None
        if match[3] is None or int(match[3]) == {"http": 80, "https": 443}.get(match[1]):
            found.append(f"{match[1]}://{match[2]}")
        else:
            found.append(f"{match[1]}://{match[2]}:{int(match[3])}")
    return tuple(found)


def relays_for(value: str) -> tuple[tuple[IPv4Network | IPv6Network, str], ...]:
    """``NETWORK=RELAY`` pairs, separated by commas."""
    pairs = []
    for word in filter(None, (word.strip() for word in value.split(","))):
        network, _, relay = word.partition("=")
        try:
            split_host_port(relay, 1)
            pairs.append((plain_network(network), relay))
        except ValueError:
            raise ValueError("NETWORK=RELAY such as 192.168.0.0/16=192.168.1.5, separated by commas") from None
    return tuple(pairs)


def one_of(*words: str) -> Callable[[str], str]:
    """One of `words`, in any case of letters."""

    def parse(value: str) -> str:
        if value.lower() not in words:
            raise ValueError(" or ".join((", ".join(words[:-1]), words[-1])))
        return value.lower()

    return parse


LEVELS = ("debug", "info", "warn", "error", "critical")
SUBSYSTEMS = (
    *("hbbs", "hbbs.http_proxy", "hbbs.punching", "hbbs.registration", "hbbs.relays", "hbbs.settings"),
    *("hbbr", "peers", "web", "tls", "lists", "admin"),
)
"""Whose events the log tells apart."""


def log_levels(value: str) -> tuple[tuple[str, str], ...]:
    """Pairs of a subsystem and the least level that is logged of it; that of the empty one comes first."""
    levels = {"": "info"}
    for word in filter(None, (word.strip() for word in value.lower().split(","))):
        subsystem, _, level = word.rpartition("=")
        if level not in LEVELS or (subsystem and subsystem not in SUBSYSTEMS) or word.startswith("="):
            raise ValueError(
                "a level, with others for subsystems, such as info,hbbs=debug; levels are "
                f"{', '.join(LEVELS)}; subsystems are {', '.join(SUBSYSTEMS)}"
            )
        levels[subsystem] = level
    return tuple(levels.items())


API_SERVER_PORT = 21114
"""Where clients look for an API server: nothing of ours is served there."""


def own_listener(value: str) -> "HostPort | Literal['https'] | None":
    """``PORT`` on loopback, ``ADDRESS:PORT`` or ``[ADDRESS]:PORT``; ``https`` for that port; nothing for none."""
    if not value:
        return None
    if value.lower() == "https":
        return "https"
    host, _, port = value.rpartition(":")
    if not host:
        host, port = "127.0.0.1", value
    try:
        number = integer(1, 65535)(port)
        address = str(ip_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host))
        if number == API_SERVER_PORT or (":" in address) != host.startswith("["):
            raise ValueError
    except ValueError:
        raise ValueError(
            f"https, PORT, ADDRESS:PORT or [ADDRESS]:PORT, a port from 1 to 65535 but not {API_SERVER_PORT}, "
            "where clients look for an API server"
        ) from None
    return HostPort(address, number)


LONGEST_PASSWORD = 1024
"""Bytes that are compared."""


def password_hash(value: str) -> str:
    """A hash as argon2 encodes it, whose check takes at most 1 GiB of memory and 100 rounds."""
    match = re.fullmatch(
        r"\$argon2(?:id|i|d)\$v=19\$m=(\d{1,7}),t=(\d{1,3}),p=\d{1,2}(?:\$[A-Za-z0-9+/]{10,100}){2}", value
    )
    if value and (match is None or int(match[1]) > 2**20 or int(match[2]) > 100):
        raise ValueError("an argon2 hash, which begins with $argon2id$")
    return value


class Place(NamedTuple):
    """Where something stands, in degrees."""

    latitude: float
    longitude: float


def relay_places(value: str) -> tuple[tuple[str, Place], ...]:
    """``RELAY=LATITUDE/LONGITUDE`` pairs, separated by commas."""
    places = []
    for word in filter(None, (word.strip() for word in value.split(","))):
        try:
            relay, _, degrees = word.rpartition("=")
            latitude, longitude = map(float, degrees.split("/"))
            split_host_port(relay, 1)
            if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
                raise ValueError
        except ValueError:
            raise ValueError("RELAY=LATITUDE/LONGITUDE in degrees, separated by commas") from None
        places.append((relay, Place(latitude, longitude)))
    return tuple(places)


def api_server(value: str) -> str:
    """The base URL of an API server, without a slash at its end."""
    if value and not re.fullmatch(r"https?://[^/?#@\s]+/?", value):
        raise ValueError("http://HOST[:PORT] or https://HOST[:PORT]")
    return value.rstrip("/")


class HostPort(NamedTuple):
    """A host name or address, and a port."""

    host: str
    port: int


def split_host_port(text: str, default_port: int) -> HostPort:
    """The parts of ``host``, ``host:port``, ``[v6]:port`` or a bare IPv6 address.

    Raises ValueError, saying what is allowed.
    """
    match = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::([0-9]{1,5}))?", text) or re.fullmatch(
        r"([A-Za-z0-9_.-]+)(?::([0-9]{1,5}))?", text
    )
    host, port = (match[1], int(match[2] or default_port)) if match else (text, default_port)
    if (":" in host and not _is_address(host)) or (not match and ":" not in host) or not 1 <= port <= 65535:
        raise ValueError("names or addresses, each with :PORT or without, separated by commas")
    return HostPort(host, port)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
