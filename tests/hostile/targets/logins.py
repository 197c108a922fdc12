"""Tokens of an API server, and the calls that are forwarded to it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import posixpath
from typing import Any
from urllib.parse import unquote

from google.protobuf.message import DecodeError

from rendezvous.api_paths import api_path
from rendezvous.hbbs.http_proxy import _request_headers
from rendezvous.hbbs.tokens import JWTChecker
from rendezvous.wire.rendezvous_pb2 import HeaderEntry, HttpProxyRequest
from tests.hostile.targets import Source, Target, as_text

_SECRET = b"a secret of the API server, 40 bytes long"
_CHECKER = JWTChecker(_SECRET)
_HEADER = b'{"alg":"HS256","typ":"JWT"}'
_PAYLOAD = b'{"sub":"somebody","exp":99999999999}'


def tokens(data: bytes) -> None:
    """Good is only what was signed with the secret, whatever the token claims to be; nothing is an error."""
    source = Source(data)
    kind = source.byte() % 4
    if kind == 0:
        token = as_text(source.rest())
    elif kind == 1:
        token = signed(_HEADER, source.rest(), _SECRET)
    else:
        header = source.piece()
        token = signed(header, source.rest(), _SECRET if kind == 2 else b"guess")
    results: list[bool] = []
    _CHECKER.check(token).addCallback(results.append)
    [good] = results
    assert not good or _is_signed(token)


def signed(header: bytes, payload: bytes, secret: bytes) -> str:
    """A token with any header and payload, and an HS256 signature."""
    content = f"{_encoded(header)}.{_encoded(payload)}"
    return f"{content}.{_encoded(hmac.digest(secret, content.encode(), hashlib.sha256))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _is_signed(token: str) -> bool:
    """Whether a token is one by the secret's owner, not expired, found out without a library."""
    content, _, signature = token.rpartition(".")
    header, _, payload = content.partition(".")
    try:
        right = hmac.compare_digest(_decoded(signature), hmac.digest(_SECRET, content.encode(), hashlib.sha256))
        claims: Any = json.loads(_decoded(payload))
        algorithm = json.loads(_decoded(header))["alg"]
    except (ValueError, binascii.Error, KeyError, TypeError):
        return False
    return right and algorithm == "HS256" and isinstance(claims, dict) and float(claims.get("exp", 9e9)) > 1.7e9


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def api_calls(data: bytes) -> None:
    """A call is refused, or stays below /api/ however often its path is resolved, with headers that are no more."""
    try:
        message = HttpProxyRequest.FromString(data)
    except DecodeError:
        message = HttpProxyRequest(path=as_text(data))
    path = api_path(message.path)
    if path is not None:
        check_path(path)
        assert api_path(path) == path
    try:
        headers = _request_headers(message.headers, "192.0.2.1")
    except ValueError:
        return
    for name, lines in headers.getAllRawHeaders():
        assert name.lower() not in (b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade")
        assert not any(control in line for line in [name, *lines] for control in (b"\r", b"\n", b"\0"))
    assert headers.getRawHeaders("x-forwarded-for") == ["192.0.2.1"]


def check_path(path: str) -> None:
    """Whether it stays below /api/ however often it is resolved."""
    plain = path.partition("?")[0]
    assert path.isascii()
    assert not any(c.isspace() or c in "#\\" for c in path.partition("?")[0])
    decoded = unquote(plain)
    assert decoded.startswith("/api/")
    assert not {".", ".."} & {segment.partition(";")[0] for segment in decoded.split("/")}
    assert posixpath.normpath(decoded) == decoded.rstrip("/")


TARGETS = {
    "tokens": Target(
        tokens,
        [
            b"\x00" + signed(_HEADER, _PAYLOAD, _SECRET).encode(),
            b"\x00" + signed(b'{"alg":"none"}', _PAYLOAD, b"")[:-43].encode(),
            b"\x00" + _encoded(b"[" * 3000).encode() + b".e30.e30",
            b"\x01" + _PAYLOAD,
            b'\x01{"exp":1e999}',
            b'\x01{"exp":[]}',
            b'\x01{"nbf":"x","iat":{}}',
            b'\x02\x0e{"alg":"none"}' + _PAYLOAD,
            b'\x02\x1e{"alg":"HS256","kid":[],"b64":' + _PAYLOAD,
            b'\x03\x1b{"alg":"HS256","typ":"JWT"}' + _PAYLOAD,
        ],
    ),
    "api_calls": Target(
        api_calls,
        [
            b"/api/../x",
            b"/api/%2e%2e/%61?q=1",
            b"/api/a%252e/b;c",
            HttpProxyRequest(
                method="GET",
                path="/api/login",
                headers=[
                    HeaderEntry(name="Connection", value="close, X-Own"),
                    HeaderEntry(name="X-Own", value="1"),
                    HeaderEntry(name="Host", value="evil"),
                    HeaderEntry(name="Authorization", value="Bearer t"),
                ],
            ).SerializeToString(),
        ],
    ),
}
