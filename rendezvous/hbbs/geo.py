"""Where addresses are, by a MaxMind DB, and how far places are apart."""

from collections.abc import Mapping
from math import asin, cos, radians, sin, sqrt
from pathlib import Path
from typing import TYPE_CHECKING

from rendezvous.config_values import ConfigError, Place
from rendezvous.logs import logger

if TYPE_CHECKING:
    from maxminddb import Reader

_EARTH = 6371.0
"""Kilometers."""


def distance(a: Place, b: Place) -> float:
    """Kilometers along the great circle."""
    dlat, dlon = radians(b.latitude - a.latitude), radians(b.longitude - a.longitude)
    h = sin(dlat / 2) ** 2 + cos(radians(a.latitude)) * cos(radians(b.latitude)) * sin(dlon / 2) ** 2
    return 2 * _EARTH * asin(min(1.0, sqrt(h)))


class Geography:
    """Looks places up; knows none without a file."""

    log = logger("hbbs.relays")

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._reader = None if path is None else _read(path)

    def reload(self) -> None:
        """Reads the file again; keeps what it had when the new one is broken."""
        if self._path is None:
            return
        try:
            self._reader = _read(self._path)
        except ConfigError as error:
            self.log.warn("the places stay as they were: {reason}", reason=str(error))

    def place_of(self, host: str) -> Place | None:
        """Where the numeric `host` is; None when that is unknown."""
        if self._reader is None:
            return None
        try:
            found = self._reader.get(host)
        except Exception:  # a damaged file fails anywhere in the reader, in any way
            return None
        location = found.get("location") if isinstance(found, Mapping) else None
        if not isinstance(location, Mapping):
            return None
        latitude, longitude = location.get("latitude"), location.get("longitude")
        if not isinstance(latitude, (int, float)) or not isinstance(longitude, (int, float)):
            return None
        return Place(latitude, longitude)


def _read(path: Path) -> "Reader":
    """The whole file in memory, so that no look-up waits for a disk. Raises ConfigError."""
    try:
        import maxminddb
    except ImportError:
        raise ConfigError("geoip: this takes the extra: pip install 'rendezvous[geoip]'.") from None
    try:
        return maxminddb.open_database(path, maxminddb.MODE_MEMORY)
    except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
        raise ConfigError(f"geoip: {str(path)!r} can't be read: {error}; it takes a MaxMind DB file.") from None
