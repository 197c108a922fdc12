"""What is read from the files of a data folder where no server runs."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from rendezvous.config import load
from rendezvous.config_values import ConfigError
from rendezvous.identity import SECRET_FILE, Identity, load_identity
from rendezvous.peers.browsing import opened
from rendezvous.setting import Server
from rendezvous.settings import SETTINGS, Settings, settings_of

DATABASE = "db_v2.sqlite3"
database_option = click.option(
    "--database", default=DATABASE, help=f"Database of a server that does not run, relative to --data; {DATABASE}."
)


config_option = click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="INI file of a server that does not run; its variables and .env count as well.",
)


def settings_here(data: Path, config: Path | None) -> Settings:
    """The settings of a server that would be started here and now. Raises ConfigError."""
    flags = {"data": str(data.resolve())} | ({"config": str(config.resolve())} if config is not None else {})
    return load("both", flags)


def identity_here(settings: Settings) -> Identity:
    """The identity of such a server, whose key files must be there. Raises ConfigError."""
    secret = Path(settings.data, SECRET_FILE)
    if settings.key in ("", "-", "_") and not secret.exists():
        raise ConfigError(f"There is no {secret}; rendezvous keys make makes one.")
    return load_identity(settings.key, Path(settings.data), signs=True)


def settings_told(values: Sequence[Mapping[str, Any]], server: Server) -> Settings:
    """The settings that a running server has told of itself; one that it hides is empty."""
    texts = {value["name"]: value["value"] for value in values}
    told = {setting.name: texts[setting.flag_name(server)] for setting in settings_of(server)}
    parsed: dict[str, Any] = {}
    for setting in SETTINGS.values():
        default = str(parsed["port"] + 1) if setting.name == "relay_port" else setting.default
        parsed[setting.name] = setting.parse(told.get(setting.name, default))
    return Settings(server=server, sources={}, warnings=(), **parsed)


@contextmanager
def database_of(data: Path, database: str) -> Iterator[sqlite3.Connection]:
    """The database of a server that does not run, to be read. Raises ClickException."""
    path = data.resolve() / database
    if not path.is_file():
        raise click.ClickException(f"No server runs on {data.resolve()}, and there is no {path}.")
    click.echo(f"No server runs; this is read from {path}.", err=True)
    try:
        with opened(path) as connection:
            yield connection
    except sqlite3.Error as error:
        raise click.ClickException(f"{path} can't be read: {error}.") from None
