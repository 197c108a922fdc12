"""Every setting: its name, default, allowed values and effect (docs/configuration.md)."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Literal

from rendezvous.config_values import (
    HostPort,
    Place,
    api_server,
    bind_address,
    database_file,
    decimal,
    host_list,
    host_name,
    integer,
    ipv4_network,
    local_address,
    log_levels,
    networks,
    one_of,
    origins,
    own_listener,
    password_hash,
    relay_places,
    relays_for,
    software_url,
    text,
    yes_no,
)
from rendezvous.setting import Server, Setting, declared

HBBS_DEFAULT_KEY = "-"
NO_EFFECT = ("max_database_connections", "test_hbbs")
"""Settings of the Rust server that are accepted and change nothing here."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every setting of both servers, validated; durations are seconds, sizes bytes."""

    server: Server
    sources: Mapping[str, str]
    """Setting's name -> where its value came from; those at their default are missing."""
    warnings: tuple[str, ...]

    data: str = declared(".", text, "folder of the keys, the database and the address lists")
    host: str = declared(
        "", host_name, "name or address by which clients reach this server, for what is shown at start"
    )
    bind: str = declared("", bind_address, "IP address to listen on; all of them when empty", short="b")
    port: int = declared("21116", integer(2, 65532), "main port P; P-1, P+2 go with it", servers="hbbs", short="p")
    relay_port: int = declared(
        "", integer(1, 65533), "relay port Q, P+1 when not given; Q+2 goes with it", servers="hbbr", short="p"
    )
    key: str = declared(
        "",
        text,
        "key: - or _ loads or makes a pair; empty asks clients for none; else see docs",
        short="k",
        keeps_empty=True,
    )
    consoles: bool = declared("yes", yes_no, "text consoles and ConfigUpdate from loopback")
    control: bool = declared("yes", yes_no, "a socket in the data folder for the rendezvous command")
    stop_timeout: int = declared(
        "5", integer(0, 3600, " seconds"), "how long relay sessions and pending requests may go on after SIGTERM"
    )
    restart_timeout: int = declared(
        "3600", integer(0, 604800, " seconds"), "how long they may go on in the old process after SIGUSR2"
    )
    serial: int = declared(
        "0", integer(0, 2**31 - 1), "serial of the settings sent to clients", servers="hbbs", short="s"
    )
    rendezvous_servers: tuple[str, ...] = declared(
        "", host_list, "ID servers that clients are told of, separated by commas", servers="hbbs", short="R"
    )
    software_url: str = declared(
        "",
        software_url,
        "download address that older clients are told of, ending in -VERSION",
        servers="hbbs",
        short="u",
    )
    relay_servers: tuple[str, ...] = declared(
        "", host_list, "relay servers to choose from, separated by commas", servers="hbbs", short="r"
    )
    rmem: int = declared(
        "0",
        integer(0, 2**31 - 1, " bytes"),
        "UDP receive buffer in bytes; 0: as large as is useful",
        servers="hbbs",
        short="M",
    )
    mask: IPv4Network | None = declared(
        "", ipv4_network, "IPv4 network whose members reach each other directly", servers="hbbs"
    )
    keep_alive: int = declared(
        "60",
        integer(1, 3600, " seconds"),
        "seconds that a TCP or WebSocket registration may be silent",
        servers="hbbs",
    )
    always_use_relay: bool = declared("no", yes_no, "never punch", servers="hbbs", flag=False)
    local_ip: str = declared(
        "",
        local_address,
        "this machine's address inside --mask; found out when not given",
        servers="hbbs",
        flag=False,
    )
    db_url: str = declared(
        "db_v2.sqlite3", database_file, "SQLite file, relative to --data", servers="hbbs", flag=False
    )
    max_database_connections: str = declared("", text, "accepted, without effect", servers="hbbs", flag=False)
    test_hbbs: str = declared("", text, "accepted, without effect", servers="hbbs", flag=False)

    registrations_per_address: int = declared(
        "32",
        integer(1, 10**6),
        "RegisterPk accepted from an address without a pause of 61 seconds",
        servers="hbbs",
    )
    ids_per_address: int = declared(
        "300", integer(1, 10**6), "different ids registered from an address in a day", servers="hbbs"
    )
    registrations_per_id: int = declared(
        "3", integer(1, 10**6), "RegisterPk accepted for an id without a pause of 7 seconds", servers="hbbs"
    )
    max_lookups: int = declared(
        "20000", integer(1, 10**7), "ids being looked up in the database at a time", servers="hbbs"
    )
    max_writes: int = declared(
        "20000", integer(1, 10**7), "registrations waiting to be written at a time", servers="hbbs"
    )
    max_tracked: int = declared(
        "100000", integer(100, 10**7), "addresses and ids whose rates are remembered at a time", servers="hbbs"
    )
    max_exchanges: int = declared(
        "20000", integer(1, 10**7), "punch and relay requests waiting for an answer at a time", servers="hbbs"
    )
    max_exchanges_per_address: int = declared(
        "256", integer(1, 10**6), "the same for one asking address", servers="hbbs"
    )
    max_exchanges_per_target: int = declared(
        "64", integer(1, 10**6), "the same for one client asked for", servers="hbbs"
    )
    max_exchanges_per_pair: int = declared(
        "8", integer(1, 10**6), "the same for one client asked for by one address", servers="hbbs"
    )
    exchange_timeout: int = declared(
        "30", integer(1, 600, " seconds"), "how long the other client may take to answer", servers="hbbs"
    )
    max_frame: int = declared(
        "65536", integer(1024, 2**24, " bytes"), "longest message from a TCP or WebSocket client", servers="hbbs"
    )
    max_connections: int = declared(
        "12000", integer(1, 10**6), "TCP and WebSocket connections of hbbs at a time", servers="hbbs"
    )
    max_health_checks: int = declared(
        "2000", integer(1, 10**6), "connections held by clients for as long as a session lasts", servers="hbbs"
    )
    max_connections_per_address: int = declared(
        "1000", integer(1, 10**6), "the same for one address", servers="hbbs"
    )
    first_frame_timeout: int = declared(
        "30", integer(1, 600, " seconds"), "how long a connection may go without a whole message"
    )

    relay_for: tuple[tuple[IPv4Network | IPv6Network, str], ...] = declared(
        "",
        relays_for,
        "NETWORK=RELAY: the name by which clients in a network reach this server's relay; repeatable",
        servers="hbbs",
        repeatable=True,
    )
    geoip: str = declared(
        "", text, "MaxMind DB file; clients get the healthy relay nearest to both of them", servers="hbbs"
    )
    relay_places: tuple[tuple[str, Place], ...] = declared(
        "",
        relay_places,
        "RELAY=LATITUDE/LONGITUDE: where a relay stands, when the MaxMind DB does not know; repeatable",
        servers="hbbs",
        repeatable=True,
    )
    api_server: str = declared("", api_server, "API server that HttpProxyRequest is forwarded to", servers="hbbs")
    api_timeout: int = declared(
        "30", integer(1, 600, " seconds"), "how long the API server may take to answer", servers="hbbs"
    )
    max_api_message: int = declared(
        "4194304",
        integer(1024, 2**28, " bytes"),
        "longest request to and answer from the API server",
        servers="hbbs",
    )
    max_api_calls: int = declared(
        "100", integer(1, 10**6), "requests forwarded to the API server at a time", servers="hbbs"
    )
    max_api_calls_per_address: int = declared("20", integer(1, 10**6), "the same for one address", servers="hbbs")
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = declared(
        "", networks, "networks whose X-Forwarded-For and X-Real-IP are believed on WebSocket"
    )
    proxy_protocol: tuple[IPv4Network | IPv6Network, ...] = declared(
        "", networks, "networks whose TCP connections must begin with PROXY protocol"
    )
    websocket_origins: tuple[str, ...] = declared("", origins, "origins whose pages may use WebSocket; empty: any")
    known_only: bool = declared("no", yes_no, "register no ids that are not stored already", servers="hbbs")
    max_peers: int = declared(
        "10000000", integer(1, 10**9), "peers stored; when that many are, new ones are refused", servers="hbbs"
    )
    must_login: bool = declared(
        "no", yes_no, "punch and relay requests need a token signed with the --token-secret", servers="hbbs"
    )
    token_secret: str = declared("", text, "file with the HS256 secret of the API server's tokens", servers="hbbs")

    https: int = declared("0", integer(0, 65535), "port for WebSocket and API calls over TLS; 0: none")
    http: int = declared("0", integer(0, 65535), "port for the same without TLS; 0: none")
    certificate: str = declared("", text, "PEM file with the certificate and its chain, for TLS")
    private_key: str = declared("", text, "PEM file with its private key; the same file when not given")
    certificates: str = declared("", text, "folder with more certificates and keys, chosen by the name asked for")
    acme_webroot: str = declared("", text, "folder whose .well-known/acme-challenge is served on --http")
    max_web_connections: int = declared("1000", integer(1, 10**6), "HTTP connections at a time")
    max_web_connections_per_address: int = declared("200", integer(1, 10**6), "the same for one address")

    metrics: HostPort | Literal["https"] | None = declared(
        "", own_listener, "PORT or ADDRESS:PORT for Prometheus, loopback without an address; https: on that port"
    )

    status: HostPort | Literal["https"] | None = declared(
        "", own_listener, "PORT or ADDRESS:PORT for the status page, loopback without one; https: on that port"
    )
    status_password: str = declared(
        "", password_hash, "argon2 hash of the password that the status page asks for", flag=False, secret=True
    )

    log_format: str = declared(
        "auto", one_of("auto", "text", "json"), "how twistd writes the log; auto: text on a terminal, else json"
    )
    log_level: tuple[tuple[str, str], ...] = declared(
        "info", log_levels, "least level that is logged, also for subsystems: info,hbbs=debug"
    )
    log_privacy: bool = declared("no", yes_no, "shorten addresses and ids in the log")

    single_bandwidth: float = declared(
        "128",
        decimal(0.001, 1e6, " Mbit/s"),
        "most that one relayed connection may use, in Mbit/s",
        servers="hbbr",
        flag=False,
    )
    total_bandwidth: float = declared(
        "1024",
        decimal(0.001, 1e6, " Mbit/s"),
        "most that all of them together may use, in Mbit/s",
        servers="hbbr",
        flag=False,
    )
    limit_speed: float = declared(
        "32",
        decimal(0.001, 1e6, " Mbit/s"),
        "most for a blacklisted or downgraded one, in Mbit/s",
        servers="hbbr",
        flag=False,
    )
    downgrade_threshold: float = declared(
        "0.66",
        decimal(0, 1),
        "share of the single bandwidth above which a long connection is downgraded",
        servers="hbbr",
        flag=False,
    )
    downgrade_start_check: float = declared(
        "1800",
        decimal(1, 1e9, " seconds"),
        "age at which a connection is checked for that, in seconds",
        servers="hbbr",
        flag=False,
    )
    usage_db: str = declared(
        "",
        text,
        "SQLite file, relative to --data, for a row of each relayed session; none when empty",
        servers="hbbr",
    )
    usage_days: int = declared(
        "90", integer(1, 36500, " days"), "how long those rows are kept, in days", servers="hbbr"
    )
    max_relay_connections: int = declared("2500", integer(2, 10**6), "relay connections at a time", servers="hbbr")
    max_relay_connections_per_address: int = declared(
        "1000", integer(2, 10**6), "the same for one address", servers="hbbr"
    )
    max_waiting: int = declared(
        "1250", integer(1, 10**6), "relay connections that wait for their other side at a time", servers="hbbr"
    )
    max_waiting_per_address: int = declared("256", integer(1, 10**6), "the same for one address", servers="hbbr")
    pairing_timeout: int = declared(
        "30",
        integer(1, 600, " seconds"),
        "how long a relay connection waits for its other side",
        servers="hbbr",
    )
    idle_timeout: int = declared(
        "30", integer(1, 86400, " seconds"), "how long a relayed connection may be silent", servers="hbbr"
    )
    max_relay_message: int = declared(
        "16777216", integer(65536, 2**30, " bytes"), "longest message over a WebSocket relay", servers="hbbr"
    )
    max_unfinished: int = declared(
        "268435456", integer(65536, 2**40, " bytes"), "bytes of unfinished messages at the relay", servers="hbbr"
    )
    max_unfinished_per_address: int = declared(
        "67108864", integer(65536, 2**40, " bytes"), "the same for one address", servers="hbbr"
    )

    @property
    def nat_port(self) -> int:
        """P-1: the second port of the NAT test."""
        return self.port - 1

    @property
    def websocket_port(self) -> int:
        """P+2."""
        return self.port + 2

    @property
    def relay_websocket_port(self) -> int:
        """Q+2."""
        return self.relay_port + 2

    @property
    def told_relays(self) -> tuple[str, ...]:
        """The relays that clients are told of: those given, or this process's own where they can't find it."""
        if self.relay_servers or not self.host or self.relay_port == self.port + 1 or not self.has_hbbr:
            return self.relay_servers
        return (f"[{self.host}]:{self.relay_port}" if ":" in self.host else f"{self.host}:{self.relay_port}",)

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return Path(self.data, self.db_url)

    @property
    def trusts_loopback(self) -> bool:
        """Whether loopback means the administrator, and not whoever comes through a proxy there."""
        loopback = (ip_address("127.0.0.1"), ip_address("::1"))
        proxies = (*self.trusted_proxies, *self.proxy_protocol)
        return self.consoles and not any(address in network for address in loopback for network in proxies)

    @property
    def has_tls(self) -> bool:
        """Whether there are certificates."""
        return bool(self.certificate or self.certificates)

    @property
    def has_web(self) -> bool:
        """Whether there is a web port."""
        return bool(self.https or self.http)

    @property
    def has_hbbs(self) -> bool:
        """Whether this process is an ID server."""
        return self.server != "hbbr"

    @property
    def has_hbbr(self) -> bool:
        """Whether this process is a relay."""
        return self.server != "hbbs"


SETTINGS: Mapping[str, Setting] = {
    f.name: Setting(f.name, *f.metadata["setting"]) for f in fields(Settings) if "setting" in f.metadata
}
"""Every setting by name, in the order of the documentation."""


def settings_of(server: Server) -> list[Setting]:
    """What the sub-command of `server` takes."""
    return [setting for setting in SETTINGS.values() if server in setting.servers]
