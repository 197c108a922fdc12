"""Which certificate is shown to whom, and what a TLS client may and may not speak."""

from __future__ import annotations

import shlex
import socket
import ssl
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.client.links import connected_socket
from tests.integration.certificates import Issued, serial_shown
from tests.integration.server import free_port, run_to_end
from tests.integration.support import StartServer, unique_source
from tests.integration.web import DOMAIN, TRUST, Http, WebServer, secure, start_web

EXACT, WILD, LIVE, RSA = "exact.example", "*.wild.example", "live.example", "rsa.example"
SHOWN_FOR = {
    EXACT: EXACT,
    "EXACT.Example": EXACT,
    "second.example": EXACT,
    "one.wild.example": WILD,
    "own.wild.example": EXACT,
    LIVE: LIVE,
    RSA: RSA,
    DOMAIN: DOMAIN,
    "unknown.example": DOMAIN,
    "wild.example": DOMAIN,
    "two.one.wild.example": DOMAIN,
    "": DOMAIN,
}
TRUE_NAMES = [name for name in SHOWN_FOR if SHOWN_FOR[name] != DOMAIN] + [DOMAIN]


@dataclass(frozen=True)
class Shown:
    """A server with several certificates."""

    web: WebServer
    issued: dict[str, Issued]

    def ports(self) -> Iterator[int]:
        """Every port that speaks TLS."""
        yield from (self.web.https, self.web.view.websocket[1], self.web.view.relay_websocket[1])


@pytest.fixture(scope="module")
def shown(start_module_server: StartServer, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """A default certificate and a folder with others in every layout."""
    folder = tmp_path_factory.mktemp("tls")
    several = folder / "live"
    issued = {
        EXACT: TRUST.issue(EXACT, "second.example", "own.wild.example"),
        WILD: TRUST.issue(WILD),
        LIVE: TRUST.issue(LIVE),
        RSA: TRUST.issue(RSA, key=rsa.generate_private_key(65537, 2048)),
    }
    issued[EXACT].write(several / "exact.example.crt", several / "exact.example.key")
    issued[WILD].write(several / "wild.pem", several / "wild.key")
    issued[RSA].write(several / "rsa" / "fullchain.pem", several / "rsa" / "privkey.pem")
    archive = folder / "archive" / LIVE
    issued[LIVE].write(archive / "fullchain1.pem", archive / "privkey1.pem")
    (several / LIVE).mkdir()
    for name in ("fullchain", "privkey"):
        (several / LIVE / f"{name}.pem").symlink_to(f"../../archive/{LIVE}/{name}1.pem")
    (several / "README").write_text("This directory contains your keys and certificates.\n")
    web = start_web(start_module_server, folder / "default", "--certificates", str(several))
    return Shown(web, issued | {DOMAIN: web.issued})


def unverified() -> ssl.SSLContext:
    """A client that takes any certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.mark.parametrize("name", SHOWN_FOR)
def test_certificate_by_name(shown: Shown, name: str) -> None:
    """The certificate that holds the name, an exact one before a wildcard, else the default."""
    for port in shown.ports():
        plain = connected_socket(("127.0.0.1", port), (unique_source(), 0))
        with unverified().wrap_socket(plain, server_hostname=name or None) as tls:
            assert serial_shown(tls) == shown.issued[SHOWN_FOR[name]].serial


@pytest.mark.parametrize("name", TRUE_NAMES)
def test_chain_is_shown(shown: Shown, name: str) -> None:
    """A client that trusts the root alone verifies chain and name, and is served."""
    with Http(secure(shown.web.https, name)) as http:
        assert http.ask(b"GET /").status == 404


@pytest.mark.parametrize("offered", [["http/1.1"], ["h2", "http/1.1"], ["h2"], ["h2", "spdy/3", "\x1a\x1a"], []])
@pytest.mark.parametrize("name", [DOMAIN, EXACT])
def test_alpn(shown: Shown, offered: list[str], name: str) -> None:
    """Of what a client offers http/1.1 is chosen; where it offers only others it is served all the same."""
    context = TRUST.trust()
    if offered:
        context.set_alpn_protocols(offered)
    for port in shown.ports():
        with secure(port, name, context) as tls:
            assert tls.selected_alpn_protocol() == ("http/1.1" if "http/1.1" in offered else None)
    with Http(secure(shown.web.https, name, context)) as http:
        assert http.ask(b"GET /").status == 404


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", [DOMAIN, RSA])
def test_versions(shown: Shown, version: ssl.TLSVersion, name: str) -> None:
    """TLS 1.2 and 1.3, with keys of both kinds."""
    context = TRUST.trust()
    context.minimum_version = context.maximum_version = version
    for port in shown.ports():
        with secure(port, name, context) as tls:
            assert tls.version() == version.name.replace("_", ".")
            cipher = tls.cipher()
            assert cipher is not None
            assert "GCM" in cipher[0] or "CHACHA20" in cipher[0]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_are_refused(shown: Shown) -> None:
    """Nothing older than TLS 1.2: the server says so."""
    context = TRUST.trust()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    for port in shown.ports():
        with pytest.raises(ssl.SSLError) as refused:
            secure(port, context=context)
        assert refused.value.reason == "TLSV1_ALERT_PROTOCOL_VERSION"


@pytest.mark.parametrize(
    ("cipher", "name"),
    [
        ("AES128-GCM-SHA256", RSA),
        ("AES256-SHA", RSA),
        ("ECDHE-RSA-AES128-SHA", RSA),
        ("ECDHE-RSA-AES256-SHA384", RSA),
        ("ECDHE-ECDSA-AES128-SHA256", DOMAIN),
        ("ECDHE-ECDSA-NULL-SHA", DOMAIN),
        ("AECDH-AES128-SHA", DOMAIN),
    ],
)
def test_weak_ciphers_are_refused(shown: Shown, cipher: str, name: str) -> None:
    """No key exchange without forward secrecy or without a certificate, no CBC, no clear text."""
    context = TRUST.trust()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{cipher}:@SECLEVEL=0")
    for port in shown.ports():
        with pytest.raises(ssl.SSLError) as refused:
            secure(port, name, context)
        assert refused.value.reason == "SSLV3_ALERT_HANDSHAKE_FAILURE"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", [DOMAIN, EXACT])
def test_returning_client(shown: Shown, version: ssl.TLSVersion, name: str) -> None:
    """A client that brings the ticket of an earlier session is served, resumed or not."""
    context = TRUST.trust()
    context.minimum_version = context.maximum_version = version
    with Http(secure(shown.web.https, name, context)) as http:
        assert http.ask(b"GET /").status == 404
        assert isinstance(http.socket, ssl.SSLSocket)
        session = http.socket.session
    plain = connected_socket(("127.0.0.1", shown.web.https), (unique_source(), 0))
    with Http(context.wrap_socket(plain, server_hostname=name, session=session)) as http:
        assert http.ask(b"GET /").status == 404


def test_a_client_that_does_not_trust(shown: Shown) -> None:
    """It goes, and nobody else notices."""
    with pytest.raises(ssl.SSLCertVerificationError):
        secure(shown.web.https, context=ssl.create_default_context())
    with pytest.raises(ssl.SSLCertVerificationError):
        secure(shown.web.https, "unknown.example")
    with Http.secure(shown.web.https) as http:
        assert http.ask(b"GET /").status == 404


def test_shutdown_in_order(shown: Shown) -> None:
    """A client that ends TLS properly is answered in kind."""
    with secure(shown.web.https) as tls:
        tls.settimeout(10)
        assert isinstance(tls.unwrap(), socket.socket)


def test_folder_alone(start_server: StartServer, tmp_path: Path) -> None:
    """Without --certificate the first of the folder, by name, is the default."""
    folder = tmp_path / "several"
    first = TRUST.issue("first.example").write(folder / "a.crt", folder / "a.key")
    TRUST.issue("second.example").write(folder / "b.crt", folder / "b.key")
    server = start_server("--certificates", str(folder))
    with secure(server.view().websocket[1], "unknown.example", unverified()) as tls:
        assert serial_shown(tls) == first.serial


def test_certificate_of_the_command(start_server: StartServer, tmp_path: Path) -> None:
    """What ``rendezvous certificate`` has made works right away, with the options that it prints."""
    command = [
        str(Path(sys.executable).with_name("rendezvous")),
        "certificate",
        DOMAIN,
        "127.0.0.1",
        "--folder",
        "new",
    ]
    (tmp_path / "new").mkdir()
    made = run_to_end(command, tmp_path)
    assert made.code == 0, made.output
    port = free_port()
    start_server("--https", str(port + 4), *shlex.split(made.output), port=port)
    context = ssl.create_default_context(cafile=str(tmp_path / "new" / "certificate.pem"))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    for name in (DOMAIN, "127.0.0.1"):
        with Http(secure(port + 4, name, context)) as http:
            assert http.ask(b"GET /").status == 404
    with pytest.raises(ssl.SSLCertVerificationError):
        secure(port + 4, "other.example", context)
