"""What administrators write: address lists, configuration files, values of settings, key files."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

from rendezvous.address_lists import AddressList, read_list
from rendezvous.config import load
from rendezvous.config_files import read_dotenv, read_ini
from rendezvous.config_values import ConfigError
from rendezvous.identity import PUBLIC_FILE, SECRET_FILE, generate
from rendezvous.identity import load as load_key
from rendezvous.settings import SETTINGS
from tests.hostile.targets import Source, Target, as_text

_FOLDER = Path(tempfile.mkdtemp(prefix="rendezvous-fuzz-"))
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
_NAMES = tuple(SETTINGS)


def address_lists(data: bytes) -> None:
    """A file is refused in one sentence, or lists what can be listed again, and an address in any spelling."""
    source = Source(data)
    ids = bool(source.byte() % 2)
    path = _FOLDER / "list.txt"
    path.write_bytes(source.rest())
    try:
        listed = read_list(path, ids=ids)
    except ConfigError as error:
        check_sentence(error)
        return
    words = list(listed)
    assert list(AddressList(words, ids=ids)) == words
    assert bool(words) == listed.any
    for word in words:
        assert word in listed or "/" in word
    for line in path.read_text("utf-8-sig").splitlines():
        first = line.partition("#")[0].split()[:1]
        assert all("/" in word or listed.has(word) for word in first)
    for word in words:
        listed.remove(word)
    assert not listed.any


def config_files(data: bytes) -> None:
    """An INI or .env file is refused in one sentence, or gives names and texts that settings are made of."""
    source = Source(data)
    dotenv = source.byte() % 2
    path = _FOLDER / (".env" if dotenv else "rendezvous.ini")
    path.write_bytes(source.rest())
    warnings: list[str] = []
    try:
        found = read_dotenv(path) if dotenv else read_ini(path, warnings)
        assert all(name == name.lower() and "-" not in name for name in found)
        assert all(isinstance(value, str) for value in found.values())
        load("both", {} if dotenv else {"config": path.name}, directory=_FOLDER, environ={})
    except ConfigError as error:
        check_sentence(error)
    finally:
        path.unlink()


def values(data: bytes) -> None:
    """Whatever a setting is given, it takes it or says what is allowed, in one line."""
    source = Source(data)
    setting = SETTINGS[_NAMES[source.byte() % len(_NAMES)]]
    text = as_text(source.rest())
    try:
        setting.parse(text)
    except ValueError as error:
        check_sentence(ConfigError(f"{setting.name}: {text!r} is not allowed; it takes {error}."))


def key_file(data: bytes) -> None:
    """A key file is refused in one sentence, and left alone, or it is the pair that was written."""
    source = Source(data)
    name = SECRET_FILE if source.byte() % 2 else PUBLIC_FILE
    folder = _FOLDER / "keys"
    if not folder.exists():
        folder.mkdir()
        generate(folder)
    path = folder / name
    before, content = path.read_bytes(), source.rest()
    path.write_bytes(content)
    try:
        load_key(folder)
        assert content.strip() == before.strip()
    except ConfigError as error:
        check_sentence(error)
    assert path.read_bytes() == content
    path.write_bytes(before)


def check_sentence(error: Exception) -> None:
    """Whether an error for people is one."""
    text = str(error)
    assert text.endswith(".")
    assert "\n" not in text
    assert len(text) < 20_000


TARGETS = {
    "address_lists": Target(
        address_lists,
        [
            b"\x00203.0.113.7 why\n# comment\n10.0.0.0/8\n2001:DB8::/32\n::ffff:1.2.3.4\n",
            b"\x01123456789\nfe80::1%eth0\n198.51.100.0/255.255.255.0",
            b"\x01\xef\xbb\xbf203.0.113.7\r\n",
            b"\x00::ffff:10.0.0.0/104",
        ],
    ),
    "config_files": Target(
        config_files,
        [
            b"\x00port = 22116\nkey=-\nRelay-Servers: a.example, b.example:22\n; comment\n[section]\nx=1\n",
            b"\x00data = /nowhere\nmask = 10.0.0.0/8\ntrusted_proxies='127.0.0.1'",
            b"\x01PORT=22116\nexport KEY='a b'\nRELAY_FOR=\"10.0.0.0/8=a\\n\"\nHOST=${HOME}",
            b"\x01DATA=\nDB_URL=sqlite://x\nMUST_LOGIN=yes",
        ],
    ),
    "values": Target(
        values,
        [
            bytes([number]) + text.encode()
            for number, name in enumerate(_NAMES)
            for text in [SETTINGS[name].default or "192.0.2.0/24=a.example:21117,relay=52.5/13.4"]
        ],
    ),
    "key_file": Target(key_file, [b"\x01" + b"QUJD" * 22, b"\x00QUJD", b"\x01\xff"]),
}
