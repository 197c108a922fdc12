"""Command lines of ``twistd rendezvous``."""

import os
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from rendezvous.setting import Server
from rendezvous.settings import SETTINGS, Settings
from rendezvous.tap import HbbrOptions, HbbsOptions, Options

OPTIONS: dict[Server, type[Options | HbbsOptions | HbbrOptions]] = {
    "both": Options,
    "hbbs": HbbsOptions,
    "hbbr": HbbrOptions,
}
URL = "https://example.org/rustdesk-1.2.0.exe"


@pytest.fixture(autouse=True)
def _nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory is empty, and no variable is a setting."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.lower().replace("-", "_") in SETTINGS:
            monkeypatch.delenv(name)


def parsed(server: Server, *arguments: str) -> Settings:
    """The settings that a command line means."""
    options = OPTIONS[server]()
    options.parseOptions(list(arguments))
    return options.settings


def value_of(settings: Settings, name: str) -> Any:
    """The value of the setting that users call `name`."""
    return getattr(settings, name.lower().replace("-", "_"))


def sentence(server: Server, *arguments: str) -> str:
    """The one sentence with which a command line ends the process."""
    with pytest.raises(SystemExit) as ended:
        parsed(server, *arguments)
    assert isinstance(ended.value.code, str)
    assert "\n" not in ended.value.code
    return ended.value.code


# Options of twistd -----------------------------------------------------------------------------------

VARIABLES_ONLY = [
    "always-use-relay",
    "db-url",
    "max-database-connections",
    "test-hbbs",
    "local-ip",
    "single-bandwidth",
    "total-bandwidth",
    "limit-speed",
    "downgrade-threshold",
    "downgrade-start-check",
]
HBBS_FLAGS: list[tuple[str | None, str, str, Any]] = [
    ("-b", "--bind", "127.0.0.1", "127.0.0.1"),
    ("-p", "--port", "22000", 22000),
    ("-s", "--serial", "7", 7),
    ("-R", "--rendezvous-servers", "a.example,b.example", ("a.example", "b.example")),
    ("-u", "--software-url", URL, URL),
    (
        "-r",
        "--relay-servers",
        "a.example:1,[2001:db8::1]:2,10.1.2.3",
        ("a.example:1", "[2001:db8::1]:2", "10.1.2.3"),
    ),
    ("-M", "--rmem", "1000000", 1000000),
    (None, "--mask", "192.168.0.0/16", IPv4Network("192.168.0.0/16")),
    ("-k", "--key", "_", "_"),
]
HBBR_FLAGS: list[tuple[str | None, str, str, Any]] = [
    ("-b", "--bind", "127.0.0.1", "127.0.0.1"),
    ("-p", "--port", "22000", 22000),
    ("-k", "--key", "_", "_"),
]
FLAGS: list[tuple[Server, str | None, str, str, Any]] = [
    *(("hbbs", *flag) for flag in HBBS_FLAGS),
    *(("both", *flag) for flag in HBBS_FLAGS),
    *(("hbbr", *flag) for flag in HBBR_FLAGS),
]


@pytest.mark.parametrize(("server", "short", "long", "value", "meaning"), FLAGS)
def test_flags_of_the_rust_server(server: Server, short: str | None, long: str, value: str, meaning: Any) -> None:
    """Every flag is taken, short and long, in each of the usual ways to write one."""
    name = "relay-port" if (server, long) == ("hbbr", "--port") else long[2:]
    lines = [[long, value], [f"{long}={value}"]]
    lines += [[short, value], [short + value]] if short else []
    for line in lines:
        assert value_of(parsed(server, *line), name) == meaning
        if server != "both":
            options = Options()
            options.parseOptions([server, *line])
            assert options.settings.server == server
            assert value_of(options.settings, name) == meaning


@pytest.mark.parametrize("flag", [["-c", "server.ini"], ["--config", "server.ini"], ["--config=server.ini"]])
@pytest.mark.parametrize("server", ["hbbs", "both"])
def test_config_flag(server: Server, flag: list[str]) -> None:
    """The INI file is named with -c or --config."""
    Path("server.ini").write_text("serial = 9\n", "utf-8")
    assert parsed(server, *flag).serial == 9


def test_all_flags_together() -> None:
    """A whole command line of the Rust server means what its parts mean."""
    arguments = [part for short, long, value, _ in HBBS_FLAGS for part in (short or long, value)]
    settings = parsed("hbbs", *arguments)
    assert [value_of(settings, long[2:]) for _, long, _, _ in HBBS_FLAGS] == [flag[3] for flag in HBBS_FLAGS]


def test_repeatable_flags() -> None:
    """What may be given several times is separated by commas elsewhere."""
    settings = parsed("both", "--relay-for", "10.0.0.0/8=10.0.0.1", "--relay-for", "192.168.0.0/16=192.168.0.1")
    Path(".env").write_text("RELAY_FOR=10.0.0.0/8=10.0.0.1,192.168.0.0/16=192.168.0.1\n", "utf-8")
    assert len(settings.relay_for) == 2
    assert settings.relay_for == parsed("both").relay_for


@pytest.mark.parametrize("server", OPTIONS)
@pytest.mark.parametrize("value", ["99999", "2111x"])
def test_wrong_port_variable(server: Server, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong PORT is named as it was given, for a relay too, which listens on the next one."""
    monkeypatch.setenv("PORT", value)
    said = sentence(server)
    assert "port" in said
    assert repr(value) in said


def test_wrong_command_lines_end_with_a_sentence() -> None:
    """An option that is not there, or is in front of the sub-command, is named."""
    assert "nonsense" in sentence("both", "--nonsense")
    assert "hbbs" in sentence("both", "-p", "22000", "hbbs")
    assert "more" in sentence("hbbr", "more") or "argument" in sentence("hbbr", "more")


@pytest.mark.parametrize("name", VARIABLES_ONLY)
def test_variables_have_no_flag(name: str) -> None:
    """What is only a variable in the Rust server is no option here."""
    for server in OPTIONS:
        assert name in sentence(server, f"--{name}", "1")
