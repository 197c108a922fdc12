"""Values that an administrator is shown."""

import base64
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from nacl.signing import SigningKey
from twisted.internet.task import Clock

from rendezvous.admin.operations import Operations, in_words
from rendezvous.cli.files import settings_told
from rendezvous.config import load
from rendezvous.identity import Identity
from rendezvous.metrics import Drops
from rendezvous.setting import Server, Setting
from rendezvous.settings import SETTINGS
from tests.test_docs import entry_of


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.name)
def test_settings_in_words(setting: Setting, tmp_path: Path) -> None:
    """A value is shown as it may be given: read again it is the same, for defaults and documented examples."""
    example = entry_of(setting).lines["Example"].strip("`").replace("=", " ", not setting.flag).split(" ", 1)[1]
    defaults = load("both", {}, directory=tmp_path, environ={})
    for value in (setting.parse(example), getattr(defaults, setting.name)):
        shown = in_words(value)
        assert setting.parse(shown) == value
        assert json.loads(json.dumps(shown)) == shown


SECRET = base64.b64encode(bytes(SigningKey(bytes(32))) + bytes(SigningKey(bytes(32)).verify_key)).decode()


@pytest.mark.parametrize(("key", "shown"), [("-", "-"), ("", ""), ("a plain text", None), (SECRET, None)])
def test_keys_are_never_told(key: str, shown: str | None, tmp_path: Path) -> None:
    """A key that was given as a setting is hidden."""
    settings = load("both", {"key": key}, directory=tmp_path, environ={})
    told = Operations(settings, Identity(None, ""), None, None, Drops(), Clock()).settings()
    (setting,) = [setting for setting in told if setting.name == "key"]
    assert (setting.value, setting.hidden) == (shown or "", shown is None)
    assert not key or shown is not None or key not in json.dumps([asdict(value) for value in told])


def test_settings_that_were_told(tmp_path: Path) -> None:
    """What a server tells of its settings are these settings, to whom it tells them."""
    servers: list[Server] = ["both", "hbbs", "hbbr"]
    for server in servers:
        flags = {"data": str(tmp_path), "bind": "127.0.0.1", "relay_port": "23000", "single_bandwidth": "0.5"}
        settings = load(server, flags, directory=tmp_path, environ={})
        told = Operations(settings, Identity(None, ""), None, None, Drops(), Clock()).settings()
        assert replace(settings_told([asdict(value) for value in told], server), sources={}) == replace(
            settings, sources={}
        )
