"""What values of settings may be."""

from __future__ import annotations

import pytest

from rendezvous.config_values import host_name, own_listener, password_hash


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("rd.example.org", "rd.example.org"),
        ("Rd-1.Example.ORG.", "Rd-1.Example.ORG."),
        ("my_machine", "my_machine"),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:DB8:0::1", "2001:db8::1"),
        (".".join(["x" * 60] * 4), ".".join(["x" * 60] * 4)),
        ("", ""),
    ],
)
def test_host_names(given: str, name: str) -> None:
    """A name or an IP address, which is put into its one spelling."""
    assert host_name(given) == name


@pytest.mark.parametrize(
    "given",
    [
        *("rd.example.org:21116", "192.0.2.7:21116", "[2001:db8::1]", "[2001:db8::1]:21116", "fe80::1%eth0"),
        *(
            "http://rd.example.org",
            "rd.example.org/",
            "a b",
            "a,b",
            "a..b",
            ".a",
            "-a.org",
            "a-.org",
            "münchen.example",
        ),
        *("1.2.3", "256.1.1.1", "1.2.3.4.5", "x" * 64, ".".join(["x" * 50] * 6), "a\n"),
    ],
)
def test_no_host_names(given: str) -> None:
    """A port, a scheme, blanks and what no resolver takes are refused in words."""
    with pytest.raises(ValueError, match="a name or an IP address, with no port"):
        host_name(given)


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
