"""What values of settings may be."""

from __future__ import annotations

import pytest

from rendezvous.config_values import own_listener, password_hash


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ("9116", ("127.0.0.1", 9116)),
        ("0.0.0.0:9116", ("0.0.0.0", 9116)),
        ("[::]:1", ("::", 1)),
        ("[2001:DB8::1]:65535", ("2001:db8::1", 65535)),
        ("", None),
    ],
)
def test_listeners_of_our_own(given: str, where: tuple[str, int] | None) -> None:
    """A port is on loopback unless an address is given."""
    assert own_listener(given) == where


@pytest.mark.parametrize(
    "given",
    [
        "21114",
        "0.0.0.0:21114",
        "0",
        "65536",
        "localhost:9116",
        "::1:9116",
        "[127.0.0.1]:9116",
        "[::]",
        ":9116",
        "a",
    ],
)
def test_no_listeners_of_our_own(given: str) -> None:
    """Names, malformed addresses and the port of the API server are refused."""
    with pytest.raises(ValueError, match=r"not 21114, where clients look for an API server"):
        own_listener(given)


HASH = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXRoaW5nIHJhbmRvbQ$yGgFgOxKNhpkhHLvYhZ0rXwVYzXUqIDpCWKp2nJTQLI"


@pytest.mark.parametrize("given", ["", HASH, HASH.replace("argon2id", "argon2i"), HASH.replace("65536", "1048576")])
def test_password_hashes(given: str) -> None:
    """What argon2 makes, or none."""
    assert password_hash(given) == given


@pytest.mark.parametrize(
    "given",
    [
        "open sesame",
        HASH.replace("argon2id", "2b"),
        HASH.replace("65536", "1048577"),
        HASH.replace("t=3", "t=101"),
        HASH.rpartition("$")[0],
        HASH + "\n",
    ],
)
def test_no_password_hashes(given: str) -> None:
    """A password, another kind of hash, and what takes too long or too much memory are refused."""
    with pytest.raises(ValueError, match="argon2 hash"):
        password_hash(given)
