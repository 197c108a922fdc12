"""What clients are handed: host, relay, key, and the import string that holds them."""

import base64
import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from rendezvous.client_config import ClientConfig, client_config
from rendezvous.config import load
from rendezvous.identity import Identity, encode_public

NO_SETTINGS = Path(__file__).parent / "vectors"
PAIR = SigningKey(bytes(32))
IDENTITY = Identity(PAIR, encode_public(PAIR))


def imported(string: str) -> dict[str, str]:
    """What a client reads in an import string: reversed, base64url without padding, JSON."""
    text = string[::-1]
    config: dict[str, str] = json.loads(
        base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    )
    return config


def of(host: str, *, port: int = 21116, relay_port: int | None = None, key: Identity = IDENTITY) -> ClientConfig:
    """What clients of a server on these ports are handed."""
    flags = {"port": str(port)} | ({"relay_port": str(relay_port)} if relay_port else {})
    return client_config(load("both", flags, directory=NO_SETTINGS, environ={}), key, host)


@settings(deadline=None, max_examples=300)
@given(st.text(), st.text(), st.text(), st.text())
@example("\u00fb\u00ef\u00be" * 3, "~~~>>>???", "\u07be\uffff\U0010ffff", '"\\')
def test_import_string(host: str, key: str, relay: str, api: str) -> None:
    """It holds all four values, whatever they are, in letters, digits, - and _, and never --."""
    string = ClientConfig(host, key, relay, api).import_string()
    assert imported(string) == {"host": host, "key": key, "relay": relay, "api": api}
    assert "--" not in string
    assert "=" not in string


def test_json() -> None:
    """The plain JSON has the names that clients know."""
    config = ClientConfig("a.example", "key", "b.example", "https://c.example")
    expected = {"host": "a.example", "relay": "b.example", "api": "https://c.example", "key": "key"}
    assert json.loads(config.json()) == expected


@pytest.mark.parametrize(
    ("host", "port", "told"),
    [
        ("id.example.org", 21116, "id.example.org"),
        ("id.example.org", 22000, "id.example.org:22000"),
        ("192.0.2.7", 21116, "192.0.2.7"),
        ("192.0.2.7", 22000, "192.0.2.7:22000"),
        ("2001:db8::1", 22000, "[2001:db8::1]:22000"),
    ],
)
def test_host(host: str, port: int, told: str) -> None:
    """The port is told where it is not the usual one; an IPv6 address stands in brackets before it."""
    config = of(host, port=port)
    assert config.host == told
    assert imported(config.import_string())["host"] == told


def test_ipv6_host_on_the_usual_port() -> None:
    """Without a port an IPv6 address can't be mistaken for a host and a port."""
    assert of("2001:db8::1").host in ("2001:db8::1", "[2001:db8::1]")


@pytest.mark.parametrize(
    ("flags", "host", "told"),
    [
        (
            {"api_server": "http://127.0.0.1:21114", "https": "443", "host": "rd.example.org"},
            "rd.example.org",
            True,
        ),
        (
            {"api_server": "http://127.0.0.1:21114", "https": "8443", "host": "rd.example.org"},
            "rd.example.org",
            True,
        ),
        ({"api_server": "http://127.0.0.1:21114", "https": "443"}, "192.0.2.7", False),
        ({"api_server": "http://127.0.0.1:21114", "host": "rd.example.org"}, "rd.example.org", False),
        ({"https": "443", "host": "rd.example.org"}, "rd.example.org", False),
    ],
)
def test_api(flags: dict[str, str], host: str, told: bool) -> None:
    """Clients are told of the API where `https` forwards it, by the name of the server."""
    flags = flags | ({"certificate": "fullchain.pem", "private_key": "privkey.pem"} if "https" in flags else {})
    settings = load("both", flags, directory=NO_SETTINGS, environ={})
    port = "" if flags.get("https") == "443" else f":{flags.get('https')}"
    assert client_config(settings, IDENTITY, host).api == (f"https://{host}{port}" if told else "")


@pytest.mark.parametrize(
    ("host", "port", "relay_port", "told"),
    [
        ("id.example.org", 21116, None, ""),
        ("id.example.org", 22000, None, ""),
        ("id.example.org", 21116, 23000, "id.example.org:23000"),
        ("2001:db8::1", 21116, 23000, "[2001:db8::1]:23000"),
        ("id.example.org", 22000, 21117, "id.example.org:21117"),
    ],
)
def test_relay(host: str, port: int, relay_port: int | None, told: str) -> None:
    """The relay is told where it is not on the next port of the same host, where clients look by themselves."""
    assert of(host, port=port, relay_port=relay_port).relay == told


def test_key() -> None:
    """The key is the public one, or the text that clients must send."""
    assert of("a.example").key == encode_public(PAIR)
    assert of("a.example", key=Identity(PAIR, "")).key == encode_public(PAIR)
    assert of("a.example", key=Identity(None, "text")).key == "text"
