"""Starting by twistd, twist and the tac files: what is said, and what is refused."""

from __future__ import annotations

import base64
import os
import re
import socket
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from tests.client.controlled import Identity
from tests.client.controlling import Controlling, RefusedError
from tests.client.links import PlainLink, Server, connected_socket
from tests.client.udp import UdpLink
from tests.integration.server import ROOT, Ended, free_port, run_to_end, twistd
from tests.integration.support import NewControlled, StartServer, unique_source

TWISTD = [*twistd(), "-n", "--pidfile=", "rendezvous"]
TWIST = [sys.executable, "-m", "twisted", "rendezvous"]


def tac(name: str) -> list[str]:
    """The command that runs one of the tac files."""
    return [*twistd(), "-n", "--pidfile=", "-y", str(ROOT / "tac" / f"{name}.tac")]


STARTS: dict[str, list[str]] = {
    "twistd": TWISTD,
    "twist": TWIST,
    "twistd-hbbs": [*TWISTD, "hbbs"],
    "twistd-hbbr": [*TWISTD, "hbbr"],
    "rendezvous.tac": tac("rendezvous"),
    "hbbs.tac": tac("hbbs"),
    "hbbr.tac": tac("hbbr"),
}


def refused(command: Sequence[str], folder: Path, *named: str, env: Mapping[str, str] | None = None) -> Ended:
    """The command ends with 1 and one sentence that names everything asked for."""
    ended = run_to_end(command, folder, {"PORT": str(free_port()), **(env or {})})
    assert ended.code == 1, ended.output
    assert "Traceback" not in ended.output
    assert len(ended.statements) == 1, ended.output
    for text in named:
        assert text.lower() in ended.statements[0].lower(), ended.output
    return ended


def assert_serves(view: Server, new_controlled: NewControlled) -> None:
    """A peer registers and is reached over the relay."""
    peer = new_controlled(view)
    with Controlling(view, source=unique_source()).connect_by_relay(peer.id) as session:
        assert session.round_trip(b"hello") == b"hello"


# What is refused


@pytest.mark.parametrize(
    ("start", "flags", "named"),
    [
        ("twistd", ["-p", "70000"], ["port", "70000"]),
        ("twist", ["-p", "70000"], ["port", "70000"]),
        ("twistd-hbbs", ["-p", "abc"], ["port", "abc"]),
        ("twistd-hbbr", ["-p", "0x10"], ["port", "0x10"]),
        ("twistd-hbbs", ["--serial", "x1"], ["serial", "x1"]),
        ("twistd", ["--mask", "300.1.2.3/99"], ["mask", "300.1.2.3/99"]),
        ("twistd", ["-k", base64.b64encode(b"\1" * 64).decode()], ["key"]),
        ("twist", ["-c", "missing.ini"], ["missing.ini"]),
    ],
)
def test_wrong_flags(tmp_path: Path, start: str, flags: list[str], named: list[str]) -> None:
    """A wrong value ends the start with one sentence naming setting and value."""
    refused([*STARTS[start], *flags], tmp_path, *named)


@pytest.mark.parametrize("start", STARTS)
def test_wrong_port_in_the_environment(tmp_path: Path, start: str) -> None:
    """A PORT that is no number is refused however the server is started."""
    refused(STARTS[start], tmp_path, "port", "no-number", env={"PORT": "no-number"})


@pytest.mark.parametrize("start", ["twist", "twistd-hbbs", "rendezvous.tac", "hbbr.tac"])
def test_wrong_port_in_the_environment_file(tmp_path: Path, start: str) -> None:
    """The same from `.env` in the working directory."""
    (tmp_path / ".env").write_text("PORT=no-number\n", encoding="ascii")
    refused(STARTS[start], tmp_path, "port", "no-number")


@pytest.mark.parametrize(
    ("start", "name"),
    [
        ("twistd", "SINGLE_BANDWIDTH"),
        ("twistd-hbbr", "TOTAL_BANDWIDTH"),
        ("hbbr.tac", "LIMIT_SPEED"),
        ("rendezvous.tac", "DOWNGRADE_THRESHOLD"),
        ("twistd-hbbr", "DOWNGRADE_START_CHECK"),
    ],
)
def test_wrong_relay_limits(tmp_path: Path, start: str, name: str) -> None:
    """A limit that is no number is refused and named."""
    named = name.replace("_", "-")
    ended = refused(STARTS[start], tmp_path, "plenty", env={name: "plenty"})
    assert named.lower() in ended.statements[0].lower().replace("_", "-")


@pytest.mark.parametrize(
    ("start", "content"),
    [
        ("twistd", b""),
        ("twistd", b"not base64!"),
        ("twist", b"c2hvcnQ="),
        ("hbbs.tac", base64.b64encode(bytes(range(64)))),
    ],
)
def test_malformed_secret_key(tmp_path: Path, start: str, content: bytes) -> None:
    """A key file that holds no key pair is refused and left as it is."""
    path = tmp_path / "id_ed25519"
    path.write_bytes(content)
    refused(STARTS[start], tmp_path, "id_ed25519")
    assert path.read_bytes() == content


def test_public_key_without_its_secret(tmp_path: Path) -> None:
    """A lone public key isn't overwritten by a new pair."""
    path = tmp_path / "id_ed25519.pub"
    path.write_bytes(base64.b64encode(b"\5" * 32))
    refused(TWISTD, tmp_path, "id_ed25519")
    assert path.read_bytes() == base64.b64encode(b"\5" * 32)
    assert not (tmp_path / "id_ed25519").exists()


def test_unwritable_data_folder(tmp_path: Path) -> None:
    """A data folder that can't be one is named."""
    (tmp_path / "file").write_text("", encoding="ascii")
    refused([*TWISTD, "--data", str(tmp_path / "file")], tmp_path, str(tmp_path / "file"))


@pytest.mark.parametrize("start", ["twistd", "twist", "hbbs.tac"])
def test_malformed_database(tmp_path: Path, start: str) -> None:
    """A file that is no database is refused and left as it is."""
    path = tmp_path / "db_v2.sqlite3"
    path.write_bytes(b"this is no database " * 400)
    refused(STARTS[start], tmp_path, "db_v2.sqlite3")
    assert path.read_bytes() == b"this is no database " * 400


@pytest.mark.parametrize("start", ["twistd", "twist", "twistd-hbbr", "hbbs.tac"])
def test_second_server_on_the_same_ports(
    tmp_path: Path, start_server: StartServer, new_controlled: NewControlled, start: str
) -> None:
    """It ends with 1 and names the port; the first one goes on serving."""
    first = start_server()
    folder = tmp_path / "second"
    folder.mkdir()
    ended = refused(STARTS[start], folder, env={"PORT": str(first.port)})
    ports = {str(first.port + offset) for offset in range(-1, 4)}
    assert ports & set(re.findall(r"\d+", ended.statements[0])), ended.output
    assert_serves(first.view(), new_controlled)


@pytest.mark.parametrize(
    ("offset", "family"),
    [(-1, "tcp4"), (0, "tcp6"), (0, "udp4"), (1, "tcp4"), (2, "tcp6"), (3, "tcp4")],
)
def test_any_port_in_use_is_named(tmp_path: Path, offset: int, family: str) -> None:
    """Whichever of the ports somebody else has, it is the one that is named."""
    kind = socket.SOCK_DGRAM if family == "udp4" else socket.SOCK_STREAM
    port = free_port()
    with socket.socket(socket.AF_INET6 if family == "tcp6" else socket.AF_INET, kind) as made:
        if family == "tcp6":
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(("::" if family == "tcp6" else "0.0.0.0", port + offset))
        if family != "udp4":
            made.listen()
        refused([*TWISTD, "-p", str(port)], tmp_path, str(port + offset))


# What works


@pytest.mark.parametrize("start", ["rendezvous.tac", "twist"])
@pytest.mark.parametrize("where", ["environment", "file"])
def test_both_servers_by_variables(
    start_server: StartServer, new_controlled: NewControlled, start: str, where: str
) -> None:
    """PORT from the environment or from `.env` moves all ports; the data is in the folder."""
    server = start_server(ready=False, command=STARTS[start])
    server.folder.mkdir()
    if where == "file":
        (server.folder / ".env").write_text(f"PORT={server.port}\n", encoding="ascii")
    else:
        server.env = {"PORT": str(server.port)}
    server.start()
    text = (server.folder / "id_ed25519.pub").read_text(encoding="ascii").strip()
    view = replace(server.view(), key=text, public_key=base64.b64decode(text))
    assert_serves(view, new_controlled)


def test_each_server_by_its_tac_file(start_server: StartServer, tmp_path: Path) -> None:
    """hbbs and hbbr side by side from one folder: with PORT set, hbbr listens one above."""
    port = free_port()
    folder = tmp_path / "both"
    folder.mkdir()
    for name in ("hbbs.tac", "hbbr.tac"):
        start_server(folder=folder, command=STARTS[name], port=port, env={"PORT": str(port)})
    text = (folder / "id_ed25519.pub").read_text(encoding="ascii").strip()
    view = Server("127.0.0.1", port, 0, text, base64.b64decode(text))
    assert Controlling(view).online(["nobody"]) == [False]
    with PlainLink(connected_socket(view.relay)) as link:
        link.send_payload(b"\xff\xff not a message")
        link.wait_closed(15)


def test_hbbs_alone(start_server: StartServer, source: str) -> None:
    """The ID server by itself serves its ports and no relay."""
    server = start_server(part="hbbs")
    peer = Identity.make()
    with UdpLink(server.view().main, (source, 0)) as udp:
        assert udp.ask(peer.register_pk()).register_pk_response.result == 0
    assert Controlling(server.view()).online([peer.id]) == [True]
    with pytest.raises(ConnectionRefusedError):
        connected_socket(server.view().relay)


def test_files_are_made_for_the_owner_only(start_server: StartServer) -> None:
    """The secret key is readable by its owner alone, and the pair belongs together."""
    data = start_server().data
    assert stat.S_IMODE(os.stat(data / "id_ed25519").st_mode) == 0o600
    secret = base64.b64decode((data / "id_ed25519").read_bytes())
    public = base64.b64decode((data / "id_ed25519.pub").read_bytes())
    assert bytes(SigningKey(secret[:32]).verify_key) == public == secret[32:]
    text = (data / "id_ed25519.pub").read_text(encoding="ascii")
    assert not set("/:") & set(text)


def test_start_says_what_to_paste_into_a_client(start_server: StartServer) -> None:
    """Ports, public key and data folder are told, and an import string that a client takes."""
    server = start_server()
    view = server.view()
    for text in (str(view.port), str(view.relay[1]), view.key, str(server.data)):
        assert text in server.output
    words = re.findall(r"[A-Za-z0-9_-]{40,}", server.output)
    decoded = [decode_import(word) for word in words]
    assert any('"key"' in text and view.key in text for text in decoded), server.output


def decode_import(word: str) -> str:
    """The JSON in an import string: reversed base64url without padding; empty when it is none."""
    text = word[::-1]
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError:
        return ""


def test_key_given_as_a_secret_key(start_server: StartServer, new_controlled: NewControlled) -> None:
    """`-k` with a secret key is used for signing, and its public half is what clients send."""
    key = SigningKey.generate()
    public = bytes(key.verify_key)
    secret = base64.b64encode(bytes(key) + public).decode()
    server = start_server("-k", secret)
    text = base64.b64encode(public).decode()
    view = replace(server.view(), key=text, public_key=public)
    peer = new_controlled(view)
    asker = Controlling(view, source=unique_source())
    assert asker.punch(peer.id).pk == peer.identity.pk
    with pytest.raises(RefusedError, match="LICENSE_MISMATCH"):
        Controlling(replace(view, key=secret), source=unique_source()).punch(peer.id)


def test_relay_port_moves_the_relay_alone(start_server: StartServer, new_controlled: NewControlled) -> None:
    """With `--relay-port` everything else stays where it was."""
    server = start_server(ready=False)
    server.relay_port = server.port + 4
    view = server.start().view()
    peer = new_controlled(view)
    for kind in ("tcp", "websocket"):
        asker = Controlling(view, relay_transport="tcp" if kind == "tcp" else "websocket", source=unique_source())
        with asker.connect_by_relay(peer.id) as session:
            assert session.round_trip(b"hello") == b"hello"


def test_output_has_no_secrets(start_server: StartServer) -> None:
    """The secret key isn't in the log."""
    server = start_server()
    secret = (server.data / "id_ed25519").read_text(encoding="ascii").strip()
    assert secret not in server.output
    assert secret[:20] not in server.output
