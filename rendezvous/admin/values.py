"""What an administrator is told: values that JSON can carry, with seconds and bytes as units."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rendezvous.client_config import ClientConfig
from rendezvous.config_values import HostPort
from rendezvous.settings import Settings


class NotPossible(Exception):
    """One sentence for the administrator: what can't be done, and why."""


class NotThere(NotPossible):
    """What was asked for does not exist."""


@dataclass(frozen=True)
class Listening:
    """A port of the server; `address` is empty when it listens on all."""

    what: str
    transport: str
    port: int
    address: str


def listening(settings: Settings) -> Iterator[Listening]:
    """The ports that a server with these settings listens on."""
    yield from for_clients(settings)
    if isinstance(settings.metrics, HostPort):
        yield Listening("metrics", "tcp", settings.metrics.port, settings.metrics.host)
    if isinstance(settings.status, HostPort):
        yield Listening("status page", "tcp", settings.status.port, settings.status.host)


def for_clients(settings: Settings) -> Iterator[Listening]:
    """Those of them that clients need."""
    address = settings.bind
    if settings.has_hbbs:
        yield Listening("ID server", "udp", settings.port, address)
        yield Listening("ID server", "tcp", settings.port, address)
        yield Listening("NAT test", "tcp", settings.nat_port, address)
        yield Listening("ID server, WebSocket", "tcp", settings.websocket_port, address)
    if settings.has_hbbr:
        yield Listening("relay", "tcp", settings.relay_port, address)
        yield Listening("relay, WebSocket", "tcp", settings.relay_websocket_port, address)
    if settings.https:
        yield Listening("https", "tcp", settings.https, address)
    if settings.http:
        yield Listening("http", "tcp", settings.http, address)


@dataclass(frozen=True)
class DropCount:
    """How often input was dropped or refused since the start."""

    place: str
    reason: str
    count: int


@dataclass(frozen=True)
class RelayHealth:
    """A relay that clients are told of, and whether it answers."""

    name: str
    healthy: bool
    place: tuple[float, float] | None
    """Latitude and longitude in degrees."""


@dataclass(frozen=True)
class RecentPunch:
    """A request that has ended; `time` is seconds since the epoch, `seconds` what it took.

    `kind` is punch or relay.
    """

    time: float
    asker: str
    id: str
    outcome: str
    seconds: float
    kind: str


@dataclass(frozen=True)
class IdServerStatus:
    """The ID server; `online` has the number of peers for each of udp, tcp and websocket."""

    peers: int
    online: Mapping[str, int]
    connections: int
    pending: int
    """Punch and relay requests that wait for an answer."""
    relays: tuple[RelayHealth, ...]


@dataclass(frozen=True)
class RelayStatus:
    """The relay; `waiting` are connections that wait for their other side."""

    sessions: int
    waiting: int
    connections: int
    bytes: int
    """Relayed since the start, both ways."""
    bytes_per_second: float


@dataclass(frozen=True)
class Status:
    """The process; a server that it does not run is None. `server` is both, hbbs or hbbr."""

    version: str
    server: str
    pid: int
    uptime: float
    data: str
    fingerprint: str
    id_server: IdServerStatus | None
    relay: RelayStatus | None
    listening: tuple[Listening, ...]
    descriptors: int
    max_descriptors: int
    drops: tuple[DropCount, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class SettingValue:
    """A setting in force, in the spelling that settings are given in; `source` tells where it came from."""

    name: str
    value: str
    source: str
    hidden: bool
    """Whether the value is a secret, which is not told."""
    help: str


@dataclass(frozen=True)
class LogLevels:
    """What the process logs, in the spelling of --log-level. `server` is both, hbbs or hbbr."""

    server: str
    level: str


@dataclass(frozen=True)
class ClientStrings:
    """What to type, paste or scan into a client, and how to name its installer; empty where it needs nothing."""

    host: str
    relay: str
    api: str
    key: str
    json: str
    import_string: str
    qr: str
    installer: str


def client_strings(config: ClientConfig) -> ClientStrings:
    """`config` in every form that a client takes it in."""
    return ClientStrings(
        host=config.host,
        relay=config.relay,
        api=config.api,
        key=config.key,
        json=config.json(),
        import_string=config.import_string(),
        qr=config.qr_text(),
        installer=config.installer_name(),
    )


@dataclass(frozen=True)
class PeerInfo:
    """A peer. `address` is that of its last stored registration, empty when unknown.

    `online` is udp, tcp or websocket, empty when it is offline; `reached_at` is where it is online. Dates are
    UTC; `seen`, the day it was online last, is empty when that was before days were noted.
    """

    id: str
    address: str
    created: str
    seen: str
    key: str
    online: str
    reached_at: str


@dataclass(frozen=True)
class PeerPage:
    """Some peers, and how many match in all; None when they were not counted."""

    total: int | None
    peers: tuple[PeerInfo, ...]


@dataclass(frozen=True)
class PeerRow:
    """A peer as it is exported and imported: all that is stored of it. `uuid` and `pk` are base64."""

    id: str
    uuid: str
    pk: str
    address: str
    created: str
    seen: str


@dataclass(frozen=True)
class PeerChange:
    """What was done to peers: how many, of how many that were named."""

    named: int
    changed: int


@dataclass(frozen=True)
class Purge:
    """Peers that were not online for that many days, and whether they were deleted; some of their ids."""

    days: int
    peers: int
    deleted: bool
    some: tuple[str, ...]


@dataclass(frozen=True)
class Backup:
    """A copy of the database that was made."""

    path: str
    bytes: int


@dataclass(frozen=True)
class RelayedSession:
    """Two sides that the relay joined; `first` came first, `sent` are its bytes and those of `second`."""

    number: int
    first: str
    first_transport: str
    second: str
    second_transport: str
    age: float
    sent: tuple[int, int]
    bytes_per_second: float
    peak: float
    """Bytes in the busiest second, both ways."""


@dataclass(frozen=True)
class Sessions:
    """Some of the running sessions, and how many there are."""

    total: int
    sessions: tuple[RelayedSession, ...]


@dataclass(frozen=True)
class EntryList:
    """An address list and its entries in force; `path` is the file that keeps it."""

    name: str
    path: str
    entries: tuple[str, ...]
