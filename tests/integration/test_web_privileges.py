"""A server that is started by root and goes on as another user."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rendezvous.peers.store import prepare
from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import Identity
from tests.client.links import dial
from tests.client.threads import wait_until
from tests.integration.certificates import Issued, serial_shown
from tests.integration.server import free_port, twistd
from tests.integration.support import StartServer
from tests.integration.web import DOMAIN, TRUST, WebServer, certificate_flags, secure

NOBODY = 65534
SEEN_WITHIN = 20.0
KEPT = "stays as it was"
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may change to another user")


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody may enter; those of pytest are for its user alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def write(folder: Path, mode: int, *names: str) -> Issued:
    """A new certificate for names in files of a mode."""
    return TRUST.issue(*names).write(folder / "fullchain.pem", folder / "privkey.pem", mode)


def root_only(folder: Path, *names: str) -> None:
    """A certificate for names that only root may read, in a folder that only root may enter."""
    write(folder, 0o600, *names)
    folder.chmod(0o700)


def start_as_nobody(start: StartServer, public: Path, mode: int, *flags: str) -> WebServer:
    """A server that root starts on a data folder of nobody's."""
    folder, port = public / "tls", free_port()
    data = public / "server" / "data"
    data.mkdir(parents=True)
    prepare(data / "db_v2.sqlite3")
    for path in (data, *data.iterdir()):
        os.chown(path, NOBODY, NOBODY)
    command = [*twistd(), "-n", "--pidfile=", "--uid", str(NOBODY), "--gid", str(NOBODY), "rendezvous"]
    command += ["--data", str(data), "-p", str(port), "--https", str(port + 4), *certificate_flags(folder), *flags]
    issued = write(folder, mode, DOMAIN)
    process = start(folder=public / "server", port=port, command=command, ready=False)
    return WebServer(process, folder, issued)


def wait_followed(web: WebServer, new: Issued) -> None:
    """Return when new connections get the new certificate."""

    def followed() -> bool:
        with secure(web.https) as tls:
            return serial_shown(tls) == new.serial

    wait_until(followed, SEEN_WITHIN, "the new certificate")


def test_files_that_only_root_may_read(public: Path, start_server: StartServer) -> None:
    """It serves, and says at start what it can't read again; once it can, it follows the files."""
    several = public / "several"
    root_only(several / "other", "other.example")
    several.chmod(0o700)
    web = start_as_nobody(start_server, public, 0o600, "--certificates", str(several))
    server = web.process.start()
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text("ascii")
    assert f"Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}" in status
    warnings = [line for line in server.lines if "can't be read again" in line]
    for path in (web.tls / "fullchain.pem", web.tls / "privkey.pem", several):
        assert sum(str(path) in line and "Permission denied" in line for line in warnings) == 1, server.output
    with dial("websocket", web.wss) as link:
        assert link.ask(Identity.make().register_pk()).register_pk_response.result == pb.RegisterPkResponse.OK
    with secure(web.https, "other.example"):
        pass

    new = write(web.tls, 0o644, DOMAIN)
    for folder in (several, several / "other"):
        folder.chmod(0o755)
        for file in folder.glob("*.pem"):
            file.chmod(0o644)
    wait_followed(web, new)


def test_new_files_that_only_root_may_read(public: Path, start_server: StartServer) -> None:
    """They change nothing and are one line in the log; once they may be read they are taken."""
    web = start_as_nobody(start_server, public, 0o644)
    web.process.start()
    assert "can't be read" not in web.process.output
    new = write(web.tls, 0o600, DOMAIN)
    line = web.process.wait_line(KEPT, SEEN_WITHIN)
    assert "Permission denied" in line
    assert str(web.tls) in line
    with secure(web.https) as tls:
        assert serial_shown(tls) == web.issued.serial
    for file in web.tls.iterdir():
        file.chmod(0o644)
    wait_followed(web, new)
    assert web.process.output.count(KEPT) == 1


@pytest.mark.parametrize("closed", ["folder", "subfolder"])
def test_a_folder_that_only_root_may_enter(public: Path, start_server: StartServer, closed: str) -> None:
    """It stays closed, as certbot's is: a certificate beside it is renewed, the one inside stays in use."""
    several = public / "several"
    root_only(several / "other", "other.example")
    if closed == "folder":
        several.chmod(0o700)
    web = start_as_nobody(start_server, public, 0o644, "--certificates", str(several))
    web.process.start()
    for _ in range(2):
        wait_followed(web, write(web.tls, 0o644, DOMAIN))
    with secure(web.https, "other.example"):
        pass
    assert "as they were" not in web.process.output
    assert KEPT not in web.process.output


def test_first_start(public: Path, start_server: StartServer) -> None:
    """What root makes in the user's folder is the user's; a key that is there already stays root's."""
    port, data = free_port(), public / "data"
    data.mkdir()
    os.chown(data, NOBODY, NOBODY)
    command = [*twistd(), "-n", "--pidfile=", "--uid", str(NOBODY), "--gid", str(NOBODY), "rendezvous"]
    command += ["--data", str(data), "-p", str(port), "--usage-db", "usage.sqlite3"]
    for _ in range(2):
        server = start_server(folder=public, port=port, command=command)
        with dial("secured", server.view()) as link:
            answer = link.ask(Identity.make().register_pk())
            assert answer.register_pk_response.result == pb.RegisterPkResponse.OK
        owners = {(path.name, path.stat().st_uid, path.stat().st_gid) for path in data.iterdir()}
        made = ("id_ed25519", "id_ed25519.pub", "db_v2.sqlite3", "usage.sqlite3")
        assert owners >= {(name, NOBODY, NOBODY) for name in made}
        server.stop()
    os.chown(data / "id_ed25519", 0, 0)
    start_server(folder=public, port=port, command=command)
    assert (data / "id_ed25519").stat().st_uid == 0
