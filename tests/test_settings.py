"""Limits of connections against the system's limit of descriptors."""

from dataclasses import replace
from pathlib import Path

import pytest

from rendezvous.config import load
from rendezvous.descriptors import fit_to_descriptors
from rendezvous.setting import Server


@pytest.mark.parametrize("server", ["both", "hbbs", "hbbr"])
def test_enough_descriptors_change_nothing(server: Server, tmp_path: Path) -> None:
    """Where the system gives enough, the limits are those that were set."""
    settings = load(server, {"data": str(tmp_path)}, directory=tmp_path, environ={})
    assert fit_to_descriptors(settings, 20000) == settings


@pytest.mark.parametrize("http", ["0", "20080"])
@pytest.mark.parametrize("descriptors", [300, 1024, 4096])
@pytest.mark.parametrize("server", ["both", "hbbs", "hbbr"])
def test_few_descriptors_lower_the_limits(server: Server, descriptors: int, http: str, tmp_path: Path) -> None:
    """Connections and their pipes never take more descriptors than there are, and a warning says so."""
    settings = load(server, {"data": str(tmp_path), "http": http}, directory=tmp_path, environ={})
    fitted = fit_to_descriptors(settings, descriptors)
    used = fitted.max_connections * fitted.has_hbbs + 3 * fitted.max_relay_connections * fitted.has_hbbr
    used += 2 * fitted.max_web_connections * fitted.has_web
    assert 0 < used <= descriptors - 100
    assert fitted.max_waiting == fitted.max_relay_connections // 2
    assert str(descriptors) in fitted.warnings[-1]
    assert (
        replace(
            fitted,
            max_connections=settings.max_connections,
            max_relay_connections=settings.max_relay_connections,
            max_web_connections=settings.max_web_connections,
            max_waiting=settings.max_waiting,
            warnings=(),
        )
        == settings
    )


@pytest.mark.parametrize(("waiting", "most"), [("4000", 5), ("6", 5), ("5", 5), ("4", 4)])
def test_those_who_wait_leave_half_of_the_relay_connections(waiting: str, most: int, tmp_path: Path) -> None:
    """However many may wait by the settings, there is room for as many others."""
    given = {"data": str(tmp_path), "max_relay_connections": "10", "max_waiting": waiting}
    settings = load("hbbr", given, directory=tmp_path, environ={})
    assert fit_to_descriptors(settings, 20000).max_waiting == most
