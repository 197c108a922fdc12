"""What values of settings may be."""

from __future__ import annotations

import pytest

from rendezvous.config_values import own_listener


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
