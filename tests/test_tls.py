"""Certificates whose files change: good ones are taken, broken ones change nothing and are told once."""

from __future__ import annotations

import base64
import re
import shutil
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from rendezvous.config_values import ConfigError
from rendezvous.tls import Certificates, Pair
from tests.integration.certificates import Authority, Issued, pem_of

NAME, OTHER = "rd.example.org", "other.example.org"
TRUST = Authority()
READ = "certificates were read again: 2 names"


@implementer(ILogObserver)
class Server:
    """Certificates in files of the test's own, looked at by a clock, and what was logged."""

    def __init__(self, folder: Path) -> None:
        self.several = folder / "several"
        self.pair = Pair(folder / "fullchain.pem", folder / "privkey.pem")
        self.issued = TRUST.issue(NAME).write(*self.pair)
        self.other = TRUST.issue(OTHER).write(self.several / "a.crt", self.several / "a.key")
        self.clock = Clock()
        self.log: list[str] = []
        self.certificates = Certificates(self.pair, self.several, self.clock)
        self.certificates.startService()

    def __call__(self, event: LogEvent) -> None:
        """Remember a line of the log."""
        if event["log_namespace"].startswith("rendezvous.tls"):
            self.log.append(formatEvent(event))

    def looked(self) -> list[str]:
        """What was logged while the server looked twice."""
        self.log.clear()
        for _ in range(2):
            self.clock.advance(Certificates.interval)
        return self.log

    def serial(self, name: str = NAME) -> int:
        """Of the certificate that a client is shown who asks for a name."""
        client, server = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None), self._connection()
        client.set_connect_state()
        client.set_tlsext_host_name(name.encode("ascii"))
        for _ in range(3):
            for one, other in ((client, server), (server, client)):
                handshake(one)
                pass_on(one, other)
        shown = client.get_peer_certificate()
        assert shown is not None
        return shown.get_serial_number()

    def _connection(self) -> SSL.Connection:
        connection = self.certificates.serverConnectionForTLS(None)
        connection.set_accept_state()
        return connection


def handshake(connection: SSL.Connection) -> None:
    """Go on as far as what has come allows."""
    try:
        connection.do_handshake()
    except SSL.WantReadError:
        return


def pass_on(one: SSL.Connection, other: SSL.Connection) -> None:
    """Bring what `one` has to say to `other`."""
    try:
        other.bio_write(one.bio_read(1 << 16))
    except SSL.WantReadError:
        return


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server that looks at its files; what it logs is kept."""
    made = Server(tmp_path)
    globalLogPublisher.addObserver(made)
    try:
        yield made
    finally:
        globalLogPublisher.removeObserver(made)
        made.certificates.stopService()


def encrypted(issued: Issued) -> bytes:
    """The private key with a password."""
    key = serialization.load_pem_private_key(issued.private_key, None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


def folder_for_a_file(file: Path) -> None:
    """A folder where a file was."""
    file.unlink()
    file.mkdir()


def of_unknown_kind() -> bytes:
    """A well-formed private key for an algorithm that nobody knows."""
    key = bytes.fromhex("300d020100300506032a0304040178")
    return b"-----BEGIN PRIVATE KEY-----\n" + base64.b64encode(key) + b"\n-----END PRIVATE KEY-----\n"


def weak(server: Server) -> None:
    """A key too small for today."""
    TRUST.issue(NAME, key=rsa.generate_private_key(65537, 1024)).write(*server.pair)


def half_written_folder(server: Server) -> None:
    """A new folder that has a certificate and no key yet."""
    TRUST.issue("new.example").write(server.several / "new" / "fullchain.pem", server.several / "unused")


def odd(old: str, new: str) -> Callable[[Server], object]:
    """The certificate with other bytes in some place, in hexadecimal, as no authority of ours would issue it."""

    def write(server: Server) -> None:
        der = ssl.PEM_cert_to_DER_cert(server.issued.certificate.decode("ascii").partition("\n-----BEGIN")[0])
        changed = der.replace(bytes.fromhex(old), bytes.fromhex(new))
        assert changed != der
        server.pair.certificate.write_bytes(ssl.DER_cert_to_PEM_cert(changed).encode("ascii"))

    return write


BROKEN: dict[str, Callable[[Server], object]] = {
    "garbage": lambda server: server.pair.certificate.write_bytes(b"garbage\n"),
    "empty": lambda server: server.pair.certificate.write_bytes(b""),
    "cut off": lambda server: server.pair.certificate.write_bytes(server.issued.certificate[:300]),
    "key of another": lambda server: server.pair.private_key.write_bytes(server.other.private_key),
    "certificate of another": lambda server: server.pair.certificate.write_bytes(server.other.certificate),
    "no certificate": lambda server: server.pair.certificate.unlink(),
    "no key": lambda server: server.pair.private_key.unlink(),
    "a folder": lambda server: folder_for_a_file(server.pair.private_key),
    "password": lambda server: server.pair.private_key.write_bytes(encrypted(server.issued)),
    "DSA": lambda server: server.pair.private_key.write_bytes(pem_of(dsa.generate_private_key(1024))),
    "unknown kind": lambda server: server.pair.private_key.write_bytes(of_unknown_kind()),
    "swapped": lambda server: server.issued.write(server.pair.private_key, server.pair.certificate),
    "weak": weak,
    "SM2": odd("06082a8648ce3d030107", "06082a811ccf5501822d"),
    "X.400 address": odd("820e72642e", "a30e72642e"),
    "EDI party": odd("820e72642e", "a50e72642e"),
    "names twice": odd("0603551d0e", "0603551d11"),
    "no folder": lambda server: shutil.rmtree(server.several),
    "half a folder": half_written_folder,
}


def make_good(server: Server) -> tuple[Issued, Issued]:
    """New certificates in good files."""
    shutil.rmtree(server.several, ignore_errors=True)
    if server.pair.private_key.is_dir():
        server.pair.private_key.rmdir()
    new = TRUST.issue(NAME).write(*server.pair)
    return new, TRUST.issue(OTHER).write(server.several / "b.pem", server.several / "b.key")


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_change_nothing(server: Server, kind: str) -> None:
    """The old certificates stay, one line says why; good files are taken again."""
    BROKEN[kind](server)
    line, *others = server.looked()
    assert re.match("(the certificates stay as they were|a certificate stays as it was): certificate", line)
    assert str(server.pair.certificate.parent) in line
    assert others in ([], [READ])
    assert (server.serial(), server.serial(OTHER)) == (server.issued.serial, server.other.serial)
    new, other = make_good(server)
    assert server.looked() == [READ]
    assert (server.serial(), server.serial(OTHER)) == (new.serial, other.serial)


@pytest.mark.parametrize("kind", [kind for kind in BROKEN if kind not in ("no folder", "half a folder")])
def test_broken_files_at_start(server: Server, kind: str) -> None:
    """They are one sentence that names the file."""
    BROKEN[kind](server)
    with pytest.raises(ConfigError) as refused:
        Certificates(server.pair, server.several, server.clock)
    assert str(server.pair.certificate.parent) in str(refused.value)


def test_empty_folder(server: Server, tmp_path: Path) -> None:
    """Without any certificate there is no start."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"no certificate in .*/empty'"):
        Certificates(None, tmp_path / "empty", server.clock)


def test_nothing_is_read_while_nothing_changes(server: Server) -> None:
    """Looking leaves no trace."""
    assert server.looked() == []


def test_another_right_to_read_is_a_change(server: Server) -> None:
    """Files that were not to be read may be now, with the content that they had."""
    server.pair.private_key.chmod(0o600)
    assert server.looked() == [READ]


def test_half_a_renewal(server: Server) -> None:
    """Certificate and key are written one after the other, with a look in between."""
    new = TRUST.issue(NAME)
    server.pair.certificate.write_bytes(new.certificate)
    assert len(server.looked()) == 1
    assert server.serial() == server.issued.serial
    server.pair.private_key.write_bytes(new.private_key)
    assert server.looked() == [READ]
    assert server.serial() == new.serial


def test_a_broken_certificate_holds_back_no_other(server: Server) -> None:
    """Those beside it are renewed, and a broken one that is new is left out."""
    assert server.serial() == server.issued.serial
    server.pair.certificate.write_bytes(b"garbage\n")
    half_written_folder(server)
    new = TRUST.issue(OTHER).write(server.several / "a.crt", server.several / "a.key")
    lines = server.looked()
    assert [READ in line for line in lines] == [False, False, True]
    assert (server.serial(), server.serial(OTHER)) == (server.issued.serial, new.serial)


def test_one_file_for_both(tmp_path: Path) -> None:
    """Certificate and key may be in one file, in any order."""
    issued = TRUST.issue(NAME, key=ec.generate_private_key(ec.SECP384R1()))
    file = tmp_path / "both.pem"
    file.write_bytes(issued.private_key + issued.certificate)
    shown = Certificates(Pair(file, file), None, Clock()).serverConnectionForTLS(None).get_certificate()
    assert shown is not None
    assert shown.get_serial_number() == issued.serial


def test_another_kind_of_key(server: Server) -> None:
    """Ed25519 does as well."""
    key = ed25519.Ed25519PrivateKey.generate()
    new = TRUST.issue(NAME, key=key).write(*server.pair)
    assert server.looked() == [READ]
    assert server.serial() == new.serial


def replace_folder(server: Server) -> None:
    """The folder can't be listed any more; for root as well."""
    server.several.rename(server.several.with_name("away"))
    server.several.write_bytes(b"")


def close_subfolder(server: Server) -> None:
    """A folder in it can't be looked into any more; for root as well."""
    (server.several / "sub").rename(server.several.with_name("away"))
    (server.several / "sub").symlink_to("sub")


@pytest.mark.parametrize(
    ("close", "name"),
    [(replace_folder, "several'"), (close_subfolder, "several/sub'")],
    ids=["folder", "subfolder"],
)
def test_a_closed_folder_holds_back_no_other(server: Server, close: Callable[[Server], object], name: str) -> None:
    """What is outside is renewed, what is inside stays as it was, and this is told once."""
    folder = server.several / "sub"
    inside = TRUST.issue("sub.example").write(folder / "fullchain.pem", folder / "privkey.pem")
    assert server.looked() == ["certificates were read again: 3 names"]
    close(server)
    (line,) = server.looked()
    assert line.startswith("the certificates stay as they were: certificates: ")
    assert name in line
    for _ in range(2):
        new = TRUST.issue(NAME).write(*server.pair)
        assert server.looked() == ["certificates were read again: 3 names"]
        assert (server.serial(), server.serial("sub.example")) == (new.serial, inside.serial)
        assert server.serial(OTHER) == server.other.serial


def test_the_default_in_a_closed_folder(server: Server) -> None:
    """It stays the default, before the others that can be read."""
    first = server.several / "0"
    inside = TRUST.issue("sub.example").write(first / "fullchain.pem", first / "privkey.pem")
    server.certificates.stopService()
    server.certificates = Certificates(None, server.several, server.clock)
    server.certificates.startService()
    assert server.serial("unknown.example") == inside.serial
    first.rename(server.several.with_name("away"))
    first.symlink_to("0")
    assert len(server.looked()) == 1
    TRUST.issue(OTHER).write(server.several / "a.crt", server.several / "a.key")
    assert server.looked() == [READ]
    assert server.serial("unknown.example") == inside.serial


def test_a_folder_that_is_open_again(server: Server) -> None:
    """What was renewed in it meanwhile is taken, and that it is closed once more is told once more."""
    for _ in range(2):
        replace_folder(server)
        assert len(server.looked()) == 1
        server.several.unlink()
        new = TRUST.issue(OTHER).write(server.several / "a.crt", server.several / "a.key")
        assert server.looked() == [READ]
        assert server.serial(OTHER) == new.serial
        shutil.rmtree(server.several.with_name("away"))


def test_a_folder_is_closed_at_start(server: Server) -> None:
    """One sentence names it."""
    (server.several / "sub").symlink_to("sub")
    with pytest.raises(ConfigError, match=r"^certificates: '.*/several/sub' can't be read: .+\.$"):
        Certificates(server.pair, server.several, server.clock)


def test_a_certificate_that_is_gone(server: Server) -> None:
    """It is not shown any more."""
    (server.several / "a.crt").unlink()
    server.looked()
    assert server.serial(OTHER) == server.issued.serial


def test_a_certificate_that_comes_back(server: Server) -> None:
    """The same files in the same folder, which was away for a while, are shown again."""
    folder = server.several / "sub"
    inside = TRUST.issue("sub.example").write(folder / "fullchain.pem", folder / "privkey.pem")
    server.looked()
    folder.rename(server.several.with_name("away"))
    server.looked()
    assert server.serial("sub.example") == server.issued.serial
    server.several.with_name("away").rename(folder)
    assert server.looked() == ["certificates were read again: 3 names"]
    assert server.serial("sub.example") == inside.serial


def test_the_last_certificate_is_gone(server: Server) -> None:
    """It stays in use, which is told once."""
    for file in server.pair:
        file.unlink()
    certificates = Certificates(None, server.several, server.clock)
    (server.several / "a.crt").unlink()
    server.looked()
    server.log.clear()
    for _ in range(2):
        certificates.look()
    (line,) = server.log
    assert line.startswith("the certificates stay as they were: certificates: there is no certificate in")
    server.certificates = certificates
    assert server.serial() == server.other.serial


def test_a_change_repeats_no_line_of_another(server: Server) -> None:
    """A broken certificate is read, and told of, when its own files change."""
    (server.several / "a.crt").write_bytes(b"garbage\n")
    assert len(server.looked()) == 1
    new = TRUST.issue(NAME).write(*server.pair)
    assert server.looked() == [READ]
    assert (server.serial(), server.serial(OTHER)) == (new.serial, server.other.serial)
