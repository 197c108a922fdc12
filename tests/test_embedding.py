"""Settings given by a program."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from rendezvous import embedding
from rendezvous.config import from_arguments, load
from rendezvous.setting import Server
from rendezvous.settings import Settings


def given(monkeypatch: pytest.MonkeyPatch, server: Server, **arguments: object) -> Settings:
    """The settings that arguments mean; nothing is opened."""
    seen: list[Settings] = []
    monkeypatch.setattr(embedding, "compose", lambda settings, *others: seen.append(settings))
    embedding.make(server, arguments, object())
    return seen[0]


def test_python_values(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Values of Python mean what their texts mean."""
    values = {
        "data": tmp_path,
        "port": 22116,
        "consoles": False,
        "relay_servers": ["a.example", "b.example:1"],
        "trusted_proxies": (ip_network("10.0.0.0/8"), "192.0.2.1"),
        "metrics": None,
    }
    texts = {
        "data": str(tmp_path),
        "port": "22116",
        "consoles": "no",
        "relay_servers": "a.example,b.example:1",
        "trusted_proxies": "10.0.0.0/8,192.0.2.1",
    }
    settings = given(monkeypatch, "hbbs", **values)
    assert settings == from_arguments("hbbs", texts)
    assert settings.relay_servers == ("a.example", "b.example:1")
    assert set(settings.sources) == set(texts)


@pytest.mark.parametrize("server", ["hbbs", "hbbr"])
def test_defaults(monkeypatch: pytest.MonkeyPatch, server: Server, tmp_path: Path) -> None:
    """Without any they are those of the command line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PORT", "1")
    assert given(monkeypatch, server) == load(server, {}, directory=tmp_path, environ={})
