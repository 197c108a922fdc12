"""Tokens of an API server: what a stranger sends in their place is never an error of this program."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from rendezvous.hbbs.tokens import JWTChecker

pytest.importorskip("jwt", reason="tokens take the extra rendezvous[login]")

SECRET = b"a secret of the API server, 40 bytes long"
HEADER = b'{"alg":"HS256","typ":"JWT"}'
FOREVER = b'{"exp":99999999999}'


def encoded(data: bytes) -> str:
    """The form of a token's parts."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def token(header: bytes, payload: bytes, secret: bytes = SECRET) -> str:
    """A token whose signature is right for `secret`, whatever its parts are."""
    content = f"{encoded(header)}.{encoded(payload)}"
    return f"{content}.{encoded(hmac.digest(secret, content.encode(), hashlib.sha256))}"


def is_good(text: str) -> bool:
    """What the checker says, which must be at once."""
    results: list[bool] = []
    JWTChecker(SECRET).check(text).addCallback(results.append)
    [good] = results
    return good


def test_signed_token() -> None:
    """A token with the right signature is good, with any audience and without an end, too."""
    for payload in (FOREVER, b'{"aud":"x","exp":99999999999}', b"{}"):
        assert is_good(token(HEADER, payload))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "..",
        "é.é.é",
        token(HEADER, FOREVER, b"another secret, also of 40 bytes and more"),
        token(HEADER, FOREVER)[:-1],
        token(HEADER, FOREVER).rpartition(".")[0] + ".",
        token(b'{"alg":"none"}', FOREVER, b""),
        token(b'{"alg":"none"}', FOREVER).rpartition(".")[0] + ".",
        token(b'{"alg":"HS512"}', FOREVER),
        token(b'{"alg":["HS256"]}', FOREVER),
        token(b"[]", FOREVER),
        pytest.param(f"{encoded(b'[' * 40_000)}.e30.e30", id="deep header"),
        token(HEADER, b"[]"),
        token(HEADER, b"5"),
        token(HEADER, b'{"exp":1}'),
        token(HEADER, b'{"exp":1e999}'),
        token(HEADER, b'{"exp":[]}'),
        token(HEADER, b'{"nbf":99999999999}'),
        token(HEADER, b'{"nbf":{}}'),
        pytest.param(token(HEADER, b"[" * 40_000), id="deep payload"),
    ],
)
def test_anything_else(text: str) -> None:
    """What was not signed, not so, or is out of its time is not good, and no more than that."""
    assert not is_good(text)
