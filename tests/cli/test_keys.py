"""Command lines: the options of ``twistd rendezvous``, and the ``rendezvous`` command."""

import json
import os
import stat
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from rendezvous import __version__
from rendezvous.cli import main
from rendezvous.settings import SETTINGS, Server, Settings
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


# The rendezvous command ---------------------------------------------------------------------------


def run(*arguments: str) -> Result:
    """What ``rendezvous`` answers in the working directory."""
    return CliRunner().invoke(main, list(arguments))


def files() -> dict[str, tuple[bytes, int]]:
    """Everything in the working directory: content and time of change."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in Path().iterdir()}


def refused(*arguments: str) -> str:
    """What is said when a command fails, which it does with code 1, one line and everything left as it was."""
    before = files()
    result = run(*arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert len(result.output.splitlines()) == 1
    assert files() == before
    return result.output


def test_version() -> None:
    """The version is told."""
    assert __version__ in run("--version").output


def test_keys_make() -> None:
    """A pair is made, its public key printed, the secret for its owner only."""
    result = run("keys", "make")
    assert result.exit_code == 0
    assert Path("id_ed25519.pub").read_text("ascii").strip() in result.output
    assert Path("id_ed25519").read_text("ascii").strip() not in result.output
    assert stat.S_IMODE(Path("id_ed25519").stat().st_mode) == 0o600


def test_keys_make_in_another_folder() -> None:
    """--data names the folder, which must be there."""
    Path("data").mkdir()
    assert run("keys", "make", "--data", "data").exit_code == 0
    assert sorted(path.name for path in Path("data").iterdir()) == ["id_ed25519", "id_ed25519.pub"]
    missing = run("keys", "make", "--data", "missing")
    assert missing.exit_code != 0
    assert "missing" in missing.output
    assert not Path("missing").exists()


def test_keys_make_replaces_nothing() -> None:
    """Where there is a secret key, or a public one without its secret, none is made."""
    run("keys", "make")
    assert "id_ed25519" in refused("keys", "make")
    Path("id_ed25519").unlink()
    assert "id_ed25519.pub" in refused("keys", "make")


def test_keys_show() -> None:
    """The same key as was made is shown, and nothing is changed."""
    made = run("keys", "make").output
    before = files()
    assert run("keys", "show").output == made
    assert files() == before


def test_keys_as_json() -> None:
    """--json prints an object with the public key, for make and show alike."""
    made = json.loads(run("keys", "make", "--json").output)
    assert made["key"] == Path("id_ed25519.pub").read_text("ascii").strip()
    assert json.loads(run("keys", "show", "--json").output) == made


@pytest.mark.parametrize("command", ["show", "check"])
def test_keys_that_are_missing(command: str) -> None:
    """Without a key file that is said, and none is made."""
    assert "id_ed25519" in refused("keys", command)


@pytest.mark.parametrize("command", ["show", "check"])
def test_keys_that_are_damaged(command: str) -> None:
    """A secret that is none, or a public key of another pair, is told."""
    run("keys", "make")
    public = Path("id_ed25519.pub").read_text("ascii")
    Path("id_ed25519.pub").write_text(public[::-1], "ascii")
    assert "id_ed25519.pub" in refused("keys", command)
    Path("id_ed25519.pub").write_text(public, "ascii")
    Path("id_ed25519").write_text("c2hvcnQ=", "ascii")
    assert "id_ed25519" in refused("keys", command)


def test_keys_check() -> None:
    """A sound pair passes; a secret that others may read does not."""
    run("keys", "make")
    assert run("keys", "check").exit_code == 0
    for mode in (0o640, 0o604):
        Path("id_ed25519").chmod(mode)
        assert f"{mode:04o}" in refused("keys", "check")


def made_certificate(folder: Path = Path()) -> x509.Certificate:
    """What was made."""
    return x509.load_pem_x509_certificate((folder / "certificate.pem").read_bytes())


def test_certificate() -> None:
    """For the names given, of a server and no authority, valid from now on, with a key for its owner only."""
    old = os.umask(0)
    try:
        result = run("certificate", "rd.example.org", "*.example.org", "192.0.2.7", "2001:db8::7", "--days", "7")
    finally:
        os.umask(old)
    assert result.exit_code == 0
    assert (
        result.output == f"--certificate {Path.cwd()}/certificate.pem --private-key {Path.cwd()}/private-key.pem\n"
    )
    assert stat.S_IMODE(Path("private-key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(Path("certificate.pem").stat().st_mode) == 0o644
    assert b"PRIVATE" not in Path("certificate.pem").read_bytes()
    certificate = made_certificate()
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["rd.example.org", "*.example.org"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.7", "2001:db8::7"]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    now = datetime.now(UTC)
    assert certificate.not_valid_before_utc < now
    assert timedelta(days=6) < certificate.not_valid_after_utc - now < timedelta(days=8)
    key = serialization.load_pem_private_key(Path("private-key.pem").read_bytes(), None)
    assert key.public_key() == certificate.public_key()


def test_certificate_with_a_long_name() -> None:
    """A name that is longer than a common name may be is one of the others all the same."""
    name = f"{'x' * 60}.{'y' * 60}.example.org"
    assert run("certificate", name).exit_code == 0
    alternatives = made_certificate().extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert alternatives.get_values_for_type(x509.DNSName) == [name]


@pytest.mark.parametrize("name", ["certificate.pem", "private-key.pem"])
@pytest.mark.parametrize("kind", ["file", "folder", "dangling"])
def test_certificate_replaces_nothing(name: str, kind: str) -> None:
    """Where there is one of the files, none is made."""
    Path("data").mkdir()
    file = Path("data", name)
    if kind == "file":
        file.write_bytes(b"here")
    elif kind == "folder":
        file.mkdir()
    else:
        file.symlink_to("nowhere")
    result = run("certificate", "rd.example.org", "--folder", "data")
    assert (result.exit_code, len(result.output.splitlines())) == (1, 1)
    assert name in result.output
    assert [path.name for path in Path("data").iterdir()] == [name]
    assert kind != "file" or file.read_bytes() == b"here"


@pytest.mark.parametrize(
    "name", ["", " ", "b\xfccher.example", "a b", "https://x", "x:443", "-", "*", "x..y", "*.*.x", "."]
)
def test_certificate_for_no_name(name: str) -> None:
    """What no client can ask for is refused."""
    assert repr(name) in refused("certificate", "--", "rd.example.org", name)


def test_certificate_that_cannot_be_written() -> None:
    """That is one line."""
    result = run("certificate", "rd.example.org", "--folder", "/proc")
    assert (result.exit_code, len(result.output.splitlines())) == (1, 1)
    assert "/proc" in result.output
