"""`rendezvous certificate`."""

import json
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.cli.running import refused, run


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


def test_certificate_as_json() -> None:
    """--json tells the files."""
    made = json.loads(run("certificate", "rd.example.org", "--json").output)
    assert made == {
        "certificate": f"{Path.cwd()}/certificate.pem",
        "private_key": f"{Path.cwd()}/private-key.pem",
    }


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
