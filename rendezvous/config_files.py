"""The files that settings are read from: INI and .env. Names ignore case, and ``-`` equals ``_``."""

import configparser
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

from rendezvous.config_values import ConfigError

_OUTSIDE = "outside any section"


def by_name(given: Mapping[str, str | None]) -> dict[str, str]:
    """`given` with every name in its one spelling, those without a value left out."""
    return {key.lower().replace("-", "_"): value for key, value in given.items() if value is not None}


def read_ini(path: Path, warnings: list[str]) -> dict[str, str]:
    """The settings in an INI file, which stand outside any section. Raises ConfigError."""
    parser = configparser.ConfigParser(interpolation=None, default_section="", strict=False)
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
        parser.read_string("\n".join([f"[{_OUTSIDE}]", *lines]), source=str(path))
    except OSError as error:
        raise ConfigError(f"config: {str(path)!r} can't be read: {error.strerror}; it takes an INI file.") from None
    except (configparser.Error, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"config: {str(path)!r} is no INI file of KEY=VALUE lines: {reason}.") from None
    for section in parser.sections()[1:]:
        warnings.append(f"{path}: settings stand outside any section; [{section}] is ignored.")
    return {name: _unquoted(value) for name, value in by_name(dict(parser[_OUTSIDE])).items()}


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value


def read_dotenv(path: Path) -> dict[str, str]:
    """The variables in a .env file; none when there is no such file. Raises ConfigError."""
    try:
        if not path.exists():
            return {}
        return by_name(dotenv_values(path, interpolate=False))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f".env: {str(path)!r} can't be read: {error}; it takes KEY=VALUE lines.") from None
