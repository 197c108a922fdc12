"""Decoders against models: what was written down, by whomever, is what is read.

The wire's own decoders have such tests in tests/wire; the promises about any bytes are in targets/.
RENDEZVOUS_EXAMPLES makes them try more.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from rendezvous.accepting import Proxies
from rendezvous.address_lists import read_list
from rendezvous.config_files import read_dotenv, read_ini
from rendezvous.settings import SETTINGS
from rendezvous.wire.address import Address
from rendezvous.wire.proxy_protocol import parse_proxy_header
from tests import commit
from tests.evidence import Evidence
from tests.hbbr.echo_fixture import EchoServer
from tests.hbbr.ws_wire import handshake
from tests.hostile.targets import NAMES, load, logins
from tests.hostile.targets.connections import without_port
from tests.wire.test_proxy_protocol import version_2

TRIES = int(os.environ.get("RENDEZVOUS_EXAMPLES", "100"))
EXAMPLES = settings(max_examples=TRIES, deadline=None, derandomize=True)

V4 = st.ip_addresses(v=4, network="198.51.100.0/28").map(str)
V6 = st.ip_addresses(v=6, network="2001:db8::/124").map(str)
PLAIN = V4 | V6
SPELLED = V4 | V4.map("::ffff:{}".format) | V6.map(str.upper) | V6.map(lambda host: ip_address(host).exploded)
NETWORKS = (
    st.builds("{}/{}".format, V4, st.integers(20, 32))
    | st.builds("::ffff:{}/{}".format, V4, st.integers(116, 128))
    | st.builds("{}/{}".format, V6, st.integers(116, 128))
)
PROMISE = "No input breaks what a decoder promises"
BLANKS = st.sampled_from(["", " ", "\t", "  "])
TAILS = st.sampled_from(["", " since spring", "#", " # 198.51.100.1", "\t2001:db8::1"])
WORDS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), max_size=20)
"""Texts without blanks and control characters."""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder for files that each example writes anew."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.mark.parametrize("name", NAMES)
def test_any_bytes(name: str, evidence: Evidence) -> None:
    """Bytes without a plan, and seeds with some bytes changed, keep every promise without a fuzzer, too.

    They are others for each commit.
    """
    target = load(name)
    tried = 0

    @given(st.binary(max_size=200) | st.builds(changed, st.sampled_from(target.seeds), st.lists(st.binary())))
    @settings(max_examples=TRIES, deadline=None, database=None)
    @seed(commit.seed())
    def check(data: bytes) -> None:
        nonlocal tried
        tried += 1
        target.run(data)

    check()
    evidence(PROMISE, "", **{name: tried})


def changed(seed: bytes, changes: list[bytes]) -> bytes:
    """`seed` with each of the changes put into it, over as many bytes, at a place that the change tells."""
    data = bytearray(seed)
    for change in changes[:4]:
        at = sum(change) % (len(data) + 1)
        data[at : at + len(change)] = change
    return bytes(data)


# Address lists -----------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(BLANKS, SPELLED | NETWORKS, TAILS), max_size=6),
    st.lists(PLAIN, min_size=1),
    st.booleans(),
    st.sampled_from(["\n", "\r\n", "\n\n"]),
    st.booleans(),
)
@EXAMPLES
def test_address_lists(
    folder: Path, lines: list[tuple[str, str, str]], asked: list[str], ids: bool, end: str, mark: bool
) -> None:
    """An address is listed exactly when one of the networks and addresses, in whatever spelling, has it."""
    path = folder / "list.txt"
    path.write_text("".join(f"{b}{word}{t}{end}" for b, word, t in lines), "utf-8-sig" if mark else "utf-8")
    listed = read_list(path, ids=ids)
    for host in asked:
        expected = any(as_v6(host) in as_v6_network(word) for _, word, _ in lines)
        assert (host in listed) == listed.has(host) == expected


def as_v6(host: str) -> Any:
    """An address as IPv6 has it."""
    return ip_address(host if ":" in host else f"::ffff:{host}")


def as_v6_network(word: str) -> Any:
    """A network, or a single address, as IPv6 has it."""
    host, _, prefix = word.partition("/")
    if ":" not in host:
        prefix = str(int(prefix or 32) + 96)
    return ip_network(f"{as_v6(host)}/{prefix or 128}", strict=False)


# Configuration files -----------------------------------------------------------------------------


@st.composite
def spelled_names(draw: st.DrawFn) -> str:
    """The name of a setting, in any case, with hyphens or underscores."""
    name = draw(st.sampled_from(list(SETTINGS)))
    return "".join(draw(st.sampled_from([c, c.upper(), "-" if c == "_" else c])) for c in name)


def normal(name: str) -> str:
    """The one spelling of a setting's name."""
    return name.lower().replace("-", "_")


def settings_lines(names: st.SearchStrategy[str]) -> st.SearchStrategy[list[tuple[str, str]]]:
    """Names and values, each setting once."""
    return st.lists(st.tuples(names, WORDS), max_size=6, unique_by=lambda line: normal(line[0]))


@given(settings_lines(spelled_names()), st.sampled_from([" = ", "=", ":"]), st.booleans())
@EXAMPLES
def test_ini_files(folder: Path, lines: list[tuple[str, str]], equals: str, quoted: bool) -> None:
    """What stands before and behind the sign is what is read; quotes around all of it go."""
    path = folder / "server.ini"
    quote = '"' if quoted else ""
    text = "".join(f"# comment\n  {name}{equals}{quote}{value}{quote}  \n" for name, value in lines)
    path.write_text(f"{text}[section]\nport=1\n", "utf-8")
    expected = {normal(name): value if quoted else unquoted(value) for name, value in lines}
    warnings: list[str] = []
    assert read_ini(path, warnings) == expected
    assert len(warnings) == 1


def unquoted(value: str) -> str:
    """A value whose quotes, if it begins and ends with the same, are no part of it."""
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value


@given(settings_lines(spelled_names().map(lambda name: name.replace("-", "_"))), st.booleans())
@EXAMPLES
def test_dotenv_files(folder: Path, lines: list[tuple[str, str]], export: bool) -> None:
    """What stands in single quotes is what is read, nothing in it means anything else."""
    path = folder / ".env"
    escaped = [(name, value.replace("\\", "\\\\").replace("'", "\\'")) for name, value in lines]
    text = "".join(f"{'export ' * export}{name}='{value}' # comment\n" for name, value in escaped)
    path.write_text(text, "utf-8")
    assert read_dotenv(path) == {normal(name): value for name, value in lines}


# Proxies -----------------------------------------------------------------------------------------


@given(PLAIN, st.integers(1, 65535), st.integers(0, 300).map(bytes), st.binary(max_size=20), st.booleans())
@EXAMPLES
def test_proxy_headers(host: str, port: int, extensions: bytes, behind: bytes, readable: bool) -> None:
    """The address in a header of either version is the client's, and what follows it is left."""
    header = version_2(host, port, extensions=extensions)
    if readable:
        family = "TCP6" if ":" in host else "TCP4"
        header = f"PROXY {family} {host} {host} {port} 443\r\n".encode()
    assert parse_proxy_header(header + behind) == (Address(host, port), len(header))


PORTS = st.integers(0, 65535)
TRUSTED = ("192.0.2.1/32", "198.51.100.0/29", "2001:db8::/125")
WITH_PORT = st.builds(lambda host, port: f"[{host}]:{port}" if ":" in host else f"{host}:{port}", SPELLED, PORTS)
NAMED = SPELLED | WITH_PORT | st.sampled_from(["", "unknown", "192.0.2.1", "198.51.100.300"])
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["X-Forwarded-For", "x-forwarded-for", "X-Real-IP"]),
        st.lists(NAMED, min_size=1, max_size=4),
    ),
    max_size=3,
)


@given(HEADERS, st.booleans())
@EXAMPLES
def test_forwarded_addresses(headers: list[tuple[str, list[str]]], trusted: bool) -> None:
    """Who connects through a trusted proxy is the last address that is none; a stranger's headers say nothing."""
    server = EchoServer(proxies=Proxies([ip_network(n) for n in TRUSTED] if trusted else ()))
    lines = "".join(f"{name}: {', '.join(words)}\r\n" for name, words in headers)
    client = server.connect(handshake()[:-2] + lines.encode() + b"\r\n")
    [found] = server.sources
    assert found.port == client.source.port
    assert found.host == (expected_client(headers) if trusted else client.source.host)


def expected_client(headers: list[tuple[str, list[str]]]) -> str:
    """The rule of docs/operations.md, by hand."""
    words = [word for name, words in headers if name.lower() == "x-forwarded-for" for word in words if word]
    if not words:
        words = next((words for name, words in headers if name == "X-Real-IP"), [""])
        words = [", ".join(words)]
    for word in reversed(words):
        try:
            address = as_v6(without_port(word))
        except ValueError:
            break
        if not any(address in as_v6_network(network) for network in TRUSTED):
            return str(address.ipv4_mapped or address)
    return "192.0.2.1"


# Tokens ------------------------------------------------------------------------------------------

CLAIMS = st.dictionaries(
    st.sampled_from(["exp", "nbf", "iat", "aud", "sub", "iss", "jti", "x"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=4,
    ),
    max_size=4,
)


def is_good(token: str) -> bool:
    """What the checker says at once."""
    results: list[bool] = []
    logins._CHECKER.check(token).addCallback(results.append)
    return results == [True]


@given(CLAIMS)
@EXAMPLES
def test_claims(claims: dict[str, Any]) -> None:
    """Signed claims of any types are good or not, never an error; one that is over is not."""
    payload = json.dumps(claims).encode()
    good = is_good(logins.signed(logins._HEADER, payload, logins._SECRET))
    expires = claims.get("exp")
    if isinstance(expires, int | float) and not isinstance(expires, bool) and expires < time.time() - 1:
        assert not good
    assert not is_good(logins.signed(logins._HEADER, payload, b"another secret, as long as the right one is"))


@given(st.integers(0, 10**6), st.characters(codec="ascii"))
@EXAMPLES
def test_changed_tokens(position: int, character: str) -> None:
    """A good token with a character of its header or claims changed is not good."""
    token = logins.signed(logins._HEADER, b'{"sub":"somebody"}', logins._SECRET)
    assert is_good(token)
    at = position % token.rindex(".")
    assert is_good(token[:at] + character + token[at + 1 :]) == (character == token[at])
