"""A certificate authority of the tests' own, and what it issues."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | dsa.DSAPrivateKey
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Issued:
    """A certificate with its chain, and its private key, both in PEM."""

    certificate: bytes
    private_key: bytes
    serial: int

    def write(self, certificate: Path, private_key: Path, mode: int = 0o644) -> Issued:
        """Put both into files, each at once."""
        for path, content in ((certificate, self.certificate), (private_key, self.private_key)):
            replace(path, content, mode)
        return self


def replace(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Put `content` into a file that is never seen half-written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(content)
    new.chmod(mode)
    new.rename(path)


class Authority:
    """Signs certificates through an intermediate one, as public authorities do."""

    def __init__(self) -> None:
        self._root_key = ec.generate_private_key(ec.SECP256R1())
        self._root = _signed(_name("Test root"), self._root_key, _name("Test root"), self._root_key, [], ca=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._issuing = _signed(_name("Issuing"), self._key, self._root.subject, self._root_key, [], ca=True)

    @property
    def pem(self) -> bytes:
        """The root certificate, which clients trust."""
        return self._root.public_bytes(serialization.Encoding.PEM)

    def issue(self, *names: str, key: PrivateKey | None = None) -> Issued:
        """A certificate for names or addresses, with a new key unless one is given."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        certificate = _signed(_name(names[0]), key, self._issuing.subject, self._key, names)
        chain = [made.public_bytes(serialization.Encoding.PEM) for made in (certificate, self._issuing)]
        return Issued(b"".join(chain), pem_of(key), certificate.serial_number)

    def trust(self) -> ssl.SSLContext:
        """A client's context that trusts this authority alone, and verifies names."""
        return ssl.create_default_context(cadata=self.pem.decode("ascii"))


def pem_of(key: PrivateKey) -> bytes:
    """A private key in PEM, without a password."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def serial_shown(tls: ssl.SSLSocket) -> int:
    """The serial number of the certificate that the server has shown."""
    shown = tls.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown).serial_number


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _signed(
    subject: x509.Name,
    key: PrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    names: tuple[str, ...] | list[str],
    *,
    ca: bool = False,
) -> x509.Certificate:
    now = datetime.now(UTC)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    usage = x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=isinstance(key, rsa.RSAPrivateKey),
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + 30 * _DAY)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(authority, critical=False)
    )
    if names:
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())
