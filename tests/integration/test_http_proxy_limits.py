"""Calls through the ID server to API servers that answer too much, too slowly, or with a certificate."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.integration.support import StartServer
from tests.integration.test_http_proxy import ask

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
TOO_LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + bytes(5000)
UNFINISHED = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello"
SILENT = b""


@contextmanager
def api_server(answer: bytes, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server that gives every connection `answer` and leaves it open; yields its port."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.05)

        def serve() -> None:
            kept = []
            while not stop.is_set():
                try:
                    connection = listening.accept()[0]
                    connection.settimeout(5)
                    if context is not None:
                        connection = context.wrap_socket(connection, server_side=True)
                    connection.recv(65536)
                    connection.sendall(answer)
                    kept.append(connection)
                except OSError:
                    continue
            for connection in kept:
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield int(listening.getsockname()[1])
        finally:
            stop.set()
            thread.join()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for localhost, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + secret)
    return path


@pytest.mark.parametrize("answer", [TOO_LONG, UNFINISHED, SILENT], ids=["too long", "unfinished", "silent"])
def test_limits_of_size_and_time(start_server: StartServer, answer: bytes) -> None:
    """An answer that is too long or too late is an error, and soon."""
    with api_server(answer) as port:
        limits = ("--api-timeout", "1", "--max-api-message", "4000")
        view = start_server("--api-server", f"http://127.0.0.1:{port}", *limits).view()
        begin = monotonic()
        response = ask(view, "GET", "/api/x")
        assert response.error
        assert not response.body
        assert monotonic() - begin < 5


@pytest.mark.parametrize("trusted", [True, False])
def test_certificates_are_verified(start_server: StartServer, certificate: Path, trusted: bool) -> None:
    """Over https a call is forwarded only where the certificate is trusted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with api_server(WHOLE, context) as port:
        env = {"SSL_CERT_FILE": str(certificate)} if trusted else {}
        view = start_server("--api-server", f"https://localhost:{port}", env=env).view()
        response = ask(view, "GET", "/api/x")
        assert (response.body, bool(response.error)) == ((b"hello", False) if trusted else (b"", True))


def test_certificates_are_for_the_name(start_server: StartServer, certificate: Path) -> None:
    """A trusted certificate for another name does not do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with api_server(WHOLE, context) as port:
        env = {"SSL_CERT_FILE": str(certificate)}
        view = start_server("--api-server", f"https://127.0.0.1:{port}", env=env).view()
        assert ask(view, "GET", "/api/x").error
