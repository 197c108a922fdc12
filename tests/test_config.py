"""Settings: where they are taken from, what is allowed, and what is said about the rest."""

import os
import re
from collections.abc import Mapping
from ipaddress import IPv4Network
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from rendezvous.config import load
from rendezvous.config_values import ConfigError, text
from rendezvous.identity import Identity
from rendezvous.setting import Server
from rendezvous.settings import SETTINGS, Settings
from rendezvous.start_report import StartReport
from rendezvous.tap import HbbrOptions, HbbsOptions, Options

OPTIONS = {"both": Options, "hbbs": HbbsOptions, "hbbr": HbbrOptions}
SERVERS: tuple[Server, ...] = ("both", "hbbs", "hbbr")
IDENTITY = Identity(SigningKey(bytes(32)), "key")
NO_SETTINGS = Path(__file__).parent / "vectors"
"""A folder that has no .env file."""
URL = "https://example.org/rustdesk-1.{}.0.exe"

PRECEDENCE: list[tuple[Server, str, list[str], list[Any]]] = [
    ("hbbs", "port", ["22001", "22002"], [22001, 22002]),
    ("hbbs", "serial", ["1", "2"], [1, 2]),
    (
        "hbbs",
        "rendezvous-servers",
        ["a.example,b.example", "c.example"],
        [("a.example", "b.example"), ("c.example",)],
    ),
    ("hbbs", "software-url", [URL.format(1), URL.format(2)], [URL.format(1), URL.format(2)]),
    (
        "hbbs",
        "relay-servers",
        ["a.example:2,b.example", "c.example"],
        [("a.example:2", "b.example"), ("c.example",)],
    ),
    ("hbbs", "rmem", ["65536", "131072"], [65536, 131072]),
    ("hbbs", "mask", ["10.0.0.0/8", "192.168.0.0/16"], [IPv4Network("10.0.0.0/8"), IPv4Network("192.168.0.0/16")]),
    ("hbbs", "key", ["first", "second"], ["first", "second"]),
    ("hbbs", "bind", ["127.0.0.1", "::1"], ["127.0.0.1", "::1"]),
    ("hbbr", "bind", ["127.0.0.1", "::1"], ["127.0.0.1", "::1"]),
    ("hbbr", "key", ["first", "second"], ["first", "second"]),
    ("both", "port", ["22001", "22002"], [22001, 22002]),
    ("both", "relay-port", ["23001", "23002"], [23001, 23002]),
    ("both", "consoles", ["no", "yes"], [False, True]),
]
VARIABLES_ONLY: list[tuple[Server, str, list[str], list[Any]]] = [
    ("hbbs", "ALWAYS_USE_RELAY", ["Y", "N"], [True, False]),
    ("hbbs", "DB_URL", ["a.sqlite3", "b.sqlite3"], ["a.sqlite3", "b.sqlite3"]),
    ("hbbs", "LOCAL_IP", ["192.168.1.5", "192.168.1.6"], ["192.168.1.5", "192.168.1.6"]),
    ("hbbr", "SINGLE_BANDWIDTH", ["16", "64"], [16, 64]),
    ("hbbr", "TOTAL_BANDWIDTH", ["2048", "512"], [2048, 512]),
    ("hbbr", "LIMIT_SPEED", ["8", "4"], [8, 4]),
    ("hbbr", "DOWNGRADE_THRESHOLD", ["0.5", "0.75"], [0.5, 0.75]),
    ("both", "DOWNGRADE_START_CHECK", ["60", "600"], [60, 600]),
]
PAIRS = [*combinations(["flag", "ini", "dotenv", "environment"], 2)]


@pytest.fixture(autouse=True)
def _nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory is empty, and no variable is a setting."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.lower().replace("-", "_") in SETTINGS:
            monkeypatch.delenv(name)


def loaded(
    server: Server, flags: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """The settings of `server` in the working directory, with no variables but `environ`."""
    return load(server, flags or {}, environ=environ or {})


def parsed(server: Server, *arguments: str) -> Settings:
    """The settings that a command line means."""
    options = OPTIONS[server]()
    options.parseOptions(list(arguments))
    return options.settings


def put(place: str, name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Sets `name` in one place; returns the arguments that it takes."""
    if place == "flag":
        return [f"--{name}", value]
    if place == "ini":
        Path("server.ini").write_text(f"{name}={value}\n", "utf-8")
        return ["--config", "server.ini"]
    variable = name.upper().replace("-", "_")
    if place == "dotenv":
        Path(".env").write_text(f"{variable}={value}\n", "utf-8")
    else:
        monkeypatch.setenv(variable, value)
    return []


def value_of(settings: Settings, name: str) -> Any:
    """The value of the setting that users call `name`."""
    return getattr(settings, name.lower().replace("-", "_"))


# Where a setting is taken from -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "server", "name", "raw", "values"),
    [
        *((*pair, *case) for pair in PAIRS for case in PRECEDENCE),
        *((*pair, *case) for pair in PAIRS if "flag" not in pair for case in VARIABLES_ONLY),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_precedence(
    first: str,
    second: str,
    server: Server,
    name: str,
    raw: list[str],
    values: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The flag wins, then the INI file, then .env, then the environment; each counts where it is alone."""
    lower = put(second, name, raw[1], monkeypatch)
    assert value_of(parsed(server, *lower), name) == values[1]
    higher = put(first, name, raw[0], monkeypatch)
    assert value_of(parsed(server, *lower, *higher), name) == values[0]


@pytest.mark.parametrize(
    "spelling", ["RELAY_SERVERS", "relay-servers", "Relay_Servers", "relay_servers", "RELAY-servers"]
)
@pytest.mark.parametrize("place", ["ini", "dotenv", "environment"])
def test_names_ignore_case_and_hyphens(spelling: str, place: str) -> None:
    """Every spelling of a name means the same, wherever it stands."""
    flags, environ = {}, {}
    if place == "ini":
        Path("server.ini").write_text(f"{spelling} = a.example\n", "utf-8")
        flags = {"config": "server.ini"}
    elif place == "dotenv":
        Path(".env").write_text(f"{spelling}=a.example\n", "utf-8")
    else:
        environ = {spelling: "a.example"}
    assert loaded("hbbs", flags, environ).relay_servers == ("a.example",)


@pytest.mark.parametrize(("server", "default"), [("hbbs", "-"), ("both", "-"), ("hbbr", "")])
def test_empty_key_is_not_no_key(server: Server, default: str) -> None:
    """Without KEY the default counts; an empty KEY in a file means no check, and hides those behind it."""
    assert loaded(server).key == default
    assert loaded(server, environ={"KEY": "text"}).key == "text"
    Path(".env").write_text("KEY=\n", "utf-8")
    assert loaded(server, environ={"KEY": "text"}).key == ""
    Path(".env").write_text("KEY=text\n", "utf-8")
    Path("server.ini").write_text("key=\n", "utf-8")
    assert loaded(server, {"config": "server.ini"}).key == ""
    assert loaded(server, {"config": "server.ini", "key": "flag"}).key == "flag"
    assert parsed(server, "-k", "").key == ""


@pytest.mark.parametrize(
    ("dotenv", "environ"), [("", "23000"), ("PORT=23000\n", "24000"), ("port=23000\n", "24000")]
)
def test_port_variable_of_a_relay(dotenv: str, environ: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PORT is hbbs's; hbbr alone listens on the next port, unless it has a flag."""
    Path(".env").write_text(dotenv, "utf-8")
    monkeypatch.setenv("PORT", environ)
    assert parsed("hbbs").port == 23000
    assert parsed("hbbr").relay_port == 23001
    assert parsed("hbbr", "-p", "25000").relay_port == 25000
    assert (parsed("both").port, parsed("both").relay_port) == (23000, 23001)


def test_paths() -> None:
    """The data folder and the INI file count from the working directory, the database from the data folder."""
    Path("folder").mkdir()
    Path("server.ini").write_text("DB_URL=./other.sqlite3\n", "utf-8")
    Path("folder", ".env").write_text("PORT=23000\n", "utf-8")
    settings = parsed("hbbs", "--data", "folder", "--config", "server.ini")
    assert settings.data == str(Path.cwd() / "folder")
    assert settings.database == Path.cwd() / "folder" / "other.sqlite3"
    assert settings.port == 21116
    assert parsed("both").database == Path.cwd() / "db_v2.sqlite3"
    assert loaded("hbbs", environ={"DB_URL": "/srv/peers.sqlite3"}).database == Path("/srv/peers.sqlite3")


# Values ------------------------------------------------------------------------------------------

DEFAULTS: dict[Server, dict[str, Any]] = {
    "hbbs": {
        "port": 21116,
        "nat_port": 21115,
        "websocket_port": 21118,
        "bind": "",
        "serial": 0,
        "rendezvous_servers": (),
        "software_url": "",
        "relay_servers": (),
        "rmem": 0,
        "mask": None,
        "key": "-",
        "always_use_relay": False,
        "consoles": True,
    },
    "hbbr": {
        "relay_port": 21117,
        "relay_websocket_port": 21119,
        "key": "",
        "single_bandwidth": 128,
        "total_bandwidth": 1024,
        "limit_speed": 32,
        "downgrade_threshold": 0.66,
        "downgrade_start_check": 1800,
        "consoles": True,
    },
    "both": {"port": 21116, "relay_port": 21117, "relay_websocket_port": 21119, "key": "-"},
}


@pytest.mark.parametrize("server", DEFAULTS)
def test_defaults(server: Server) -> None:
    """Without any setting the servers are what the Rust server is."""
    settings = loaded(server)
    assert {name: getattr(settings, name) for name in DEFAULTS[server]} == DEFAULTS[server]
    assert settings.warnings == ()


@pytest.mark.parametrize("name", [name for name, setting in SETTINGS.items() if setting.default and name != "data"])
def test_default_texts(name: str) -> None:
    """A default that is shown means the same when it is written down."""
    setting = SETTINGS[name]
    server: Server = "hbbs" if "hbbs" in setting.servers else "hbbr"
    assert value_of(loaded(server, environ={name: setting.default}), name) == value_of(loaded(server), name)


def allowed_by(name: str) -> str:
    """What the values of a setting may be, as it tells those who give a wrong one; empty when all are right."""
    try:
        SETTINGS[name].parse("!")
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", [name for name, setting in SETTINGS.items() if setting.parse is not text])
@pytest.mark.parametrize("server", SERVERS)
def test_wrong_values(name: str, server: Server) -> None:
    """A wrong value is refused with the setting's name, the value and what is allowed."""
    if server not in SETTINGS[name].servers:
        others = loaded(server, environ={name: "ftp://!"} if name != "port" else {})
        assert name not in others.sources
        return
    with pytest.raises(ConfigError) as raised:
        loaded(server, environ={name: "ftp://!"})
    said = str(raised.value)
    assert SETTINGS[name].flag_name(server) in said
    assert (repr("ftp://!") in said) != SETTINGS[name].secret
    assert said.count("\n") == 0
    assert len(said.partition(";")[2]) > 5
    assert allowed_by(name) in said


@pytest.mark.parametrize("name", [name for name in SETTINGS if "number" in allowed_by(name)])
def test_ranges_are_true(name: str) -> None:
    """Where a sentence tells from what to what a number may be, these two and nothing beyond are allowed."""
    server: Server = "hbbs" if "hbbs" in SETTINGS[name].servers else "hbbr"
    told = re.search(r"number from (\S+) to ([0-9.e+]+)", allowed_by(name))
    assert told is not None
    for limit, beyond in zip(told.groups(), (-1, 1), strict=True):
        shown = "{:.0f}" if "whole" in allowed_by(name) else "{!r}"
        number = float(limit)
        environ = {"certificate": "for-https.pem"}
        assert value_of(loaded(server, environ=environ | {name: shown.format(number)}), name) == number
        with pytest.raises(ConfigError):
            loaded(server, environ=environ | {name: shown.format(number + beyond)})


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999", "-1", "0x10", "1,5"])
def test_no_number_at_all(value: str) -> None:
    """What is no finite number within the range is none."""
    with pytest.raises(ConfigError, match="total-bandwidth"):
        loaded("hbbr", environ={"TOTAL_BANDWIDTH": value})


@pytest.mark.parametrize("name", ["trusted_proxies", "proxy_protocol", "relay_for"])
def test_mapped_networks_are_ipv4(name: str) -> None:
    """A network of IPv4-mapped addresses means the IPv4 network, as addresses are always written."""
    after = "=a.example" if name == "relay_for" else ""
    settings = [loaded("hbbs", environ={name: text + after}) for text in ("::ffff:192.0.2.0/120", "192.0.2.0/24")]
    assert getattr(settings[0], name) == getattr(settings[1], name)


def test_data_folder_must_exist() -> None:
    """A data folder that is none is named."""
    Path("file").write_text("", "utf-8")
    for name in ("missing", "file", "x" * 300):
        with pytest.raises(ConfigError, match=f"^data: .*{name}.*folder"):
            loaded("both", {"data": name})


# Ports -------------------------------------------------------------------------------------------


@hypothesis_settings(deadline=None)
@given(st.integers(2, 60000), st.integers(-6, 6) | st.integers(-60000, 60000))
def test_ports(port: int, distance: int) -> None:
    """-p moves all ports, --relay-port the relay's alone; no two of them may be the same."""
    alone = load("both", {"port": str(port)}, directory=NO_SETTINGS, environ={})
    assert (alone.nat_port, alone.websocket_port) == (port - 1, port + 2)
    assert (alone.relay_port, alone.relay_websocket_port) == (port + 1, port + 3)
    relay_port = min(max(port + distance, 1), 60000)
    flags = {"port": str(port), "relay_port": str(relay_port)}
    if {relay_port, relay_port + 2} & {port - 1, port, port + 2}:
        with pytest.raises(ConfigError, match=f"^relay-port: {relay_port} "):
            load("both", flags, directory=NO_SETTINGS, environ={})
    else:
        moved = load("both", flags, directory=NO_SETTINGS, environ={})
        assert (moved.nat_port, moved.port, moved.websocket_port) == (port - 1, port, port + 2)
        assert (moved.relay_port, moved.relay_websocket_port) == (relay_port, relay_port + 2)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"port": "31416", "status": "31416"}, "status: port 31416 "),
        ({"port": "31416", "metrics": "31418"}, "metrics: port 31418 "),
        ({"port": "31416", "status": "[::1]:31417"}, "status: port 31417 "),
        ({"metrics": "9116", "status": "9116"}, "status: port 9116 "),
        ({"http": "9116", "metrics": "0.0.0.0:9116"}, "metrics: port 9116 "),
        ({"bind": "127.0.0.1", "metrics": "0.0.0.0:21116"}, "metrics: port 21116 "),
    ],
)
def test_ports_that_are_named_twice(flags: dict[str, str], named: str) -> None:
    """Two settings with one port are told of before a socket is tried, which would blame another process."""
    with pytest.raises(ConfigError, match=f"^{re.escape(named)}.* already"):
        loaded("both", flags)


@pytest.mark.parametrize(
    "flags",
    [
        {"bind": "127.0.0.2", "status": "21116"},
        {"bind": "127.0.0.1", "status": "[::1]:21116"},
        {"metrics": "127.0.0.1:9116", "status": "[::1]:9116"},
        {"status": "9116", "metrics": "9117"},
    ],
)
def test_ports_that_only_look_the_same(flags: dict[str, str]) -> None:
    """A port of another address is another one."""
    assert loaded("both", flags).sources


def test_hbbs_alone_has_no_relay_port_to_clash_with() -> None:
    """A relay's port concerns a relay only."""
    assert loaded("hbbs", environ={"RELAY_PORT": "21116"}).port == 21116


# Files -------------------------------------------------------------------------------------------


def test_ini_file() -> None:
    """Settings stand outside any section, with comments, any case and a byte order mark."""
    lines = [
        "\ufeff# a comment",
        "PORT = 22000",
        "; another",
        "relay-servers=a.example , b.example:1",
        "Key==%(x)s",
    ]
    Path("server.ini").write_text("\r\n".join(lines), "utf-8")
    settings = loaded("hbbs", {"config": "server.ini"})
    assert (settings.port, settings.relay_servers) == (22000, ("a.example", "b.example:1"))
    assert settings.key == "=%(x)s"
    assert settings.warnings == ()


def test_unknown_names_in_an_ini_file_are_told() -> None:
    """A name that is no setting, and a section, are warned of; the rest counts."""
    Path("server.ini").write_text("prot = 1\nserial = 5\n[hbbs]\nport = 23000\n", "utf-8")
    settings = loaded("hbbs", {"config": "server.ini"})
    assert (settings.serial, settings.port) == (5, 21116)
    assert len(settings.warnings) == 2
    assert any("prot" in warning and "server.ini" in warning for warning in settings.warnings)
    assert any("[hbbs]" in warning and "server.ini" in warning for warning in settings.warnings)


def test_unknown_variables_are_no_concern() -> None:
    """An environment and a .env hold much that is somebody else's."""
    Path(".env").write_text("# comment\nexport SERIAL='5'\nEDITOR=vi\n", "utf-8")
    settings = loaded("hbbs", environ={"HOME": "/", "LANG": "C"})
    assert settings.serial == 5
    assert settings.warnings == ()


@pytest.mark.parametrize("content", [None, b"", b"port 22000\n", b"\xff\xfe\xfa = 1\n", b"[open\n"])
def test_unreadable_ini_file(content: bytes | None) -> None:
    """An INI file that is not there, is a folder or holds something else is named."""
    if content:
        Path("server.ini").write_bytes(content)
    elif content is not None:
        Path("server.ini").mkdir()
    with pytest.raises(ConfigError, match=r"^config: .*server\.ini"):
        loaded("hbbs", {"config": "server.ini"})


@pytest.mark.parametrize("setting", ["data", "db_url", "token_secret", "usage_db", "key"])
@pytest.mark.parametrize("name", ["server.ini", ".env"])
def test_no_value_holds_a_nul(setting: str, name: str) -> None:
    """A NUL, which no path can have, is refused wherever it is written."""
    Path(name).write_bytes(f"{setting}=a\0b\n".encode())
    with pytest.raises(ConfigError, match=f"^{setting.replace('_', '-')}: .*NUL"):
        loaded("both", {"config": name} if name == "server.ini" else {})


def test_unreadable_dotenv_file() -> None:
    """A .env that is no text is named."""
    Path(".env").write_bytes(b"PORT=\xff\xfe\n")
    with pytest.raises(ConfigError, match=r"\.env"):
        loaded("hbbs")


# Settings without effect -------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "value"), [("TEST_HBBS", "no"), ("MAX_DATABASE_CONNECTIONS", "5")])
@pytest.mark.parametrize("place", ["ini", "dotenv", "environment"])
def test_settings_without_effect(name: str, value: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only the Rust server needs is accepted, and said to have no effect."""
    settings = parsed("hbbs", *put(place, name, value, monkeypatch))
    told = [warning for warning in StartReport(settings, IDENTITY, None).warnings() if name in warning]
    assert len(told) == 1
    assert "no effect" in told[0]


def test_nothing_is_warned_of_without_need() -> None:
    """Both servers with a key and no settings give no warning."""
    assert list(StartReport(parsed("both"), IDENTITY, None).warnings()) == []
