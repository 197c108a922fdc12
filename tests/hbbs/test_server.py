"""The server under test: its ports are its own."""

from __future__ import annotations

from itertools import count
from unittest.mock import patch

from tests.hbbs.server import reserve_ports


def test_two_processes_get_different_ports() -> None:
    """Who looks for ports at the same place before the first one listens gets others."""
    with patch("tests.hbbs.server._numbers", count(7)):
        first, reserved = reserve_ports()
    with patch("tests.hbbs.server._numbers", count(7)):
        second, also_reserved = reserve_ports()
    with reserved, also_reserved:
        assert abs(first - second) >= 4
