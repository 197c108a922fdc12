"""Where settings are taken from: the first place that has it.

Flag, ``--config`` INI file, ``.env`` in the working directory, environment. Names ignore case there, and
``-`` equals ``_`` (docs/configuration.md).
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rendezvous.config_files import by_name, read_dotenv, read_ini
from rendezvous.config_values import ConfigError, HostPort
from rendezvous.setting import Server, Setting
from rendezvous.settings import HBBS_DEFAULT_KEY, SETTINGS, Settings
from rendezvous.wire.address import is_ipv6, is_loopback


def load(
    server: Server,
    flags: Mapping[str, str],
    *,
    directory: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """The settings of `server`. Raises ConfigError.

    `flags` are those given, by setting name, with ``config`` for the INI file; relative paths and ``.env``
    count from `directory` (default: the working directory).
    """
    directory = directory or Path.cwd()
    places: list[tuple[str, Mapping[str, str]]] = [("the command line", flags)]
    warnings: list[str] = []
    if "config" in flags:
        path = directory / flags["config"]
        lines = read_ini(path, warnings)
        warnings += [f"{path}: there is no setting {name!r}." for name in lines if name not in SETTINGS]
        if server == "hbbr" and "port" in lines:
            lines["relay_port"] = lines.pop("port")
        places.append((str(path), lines))
    shared = [(".env", read_dotenv(directory / ".env"))]
    shared.append(("the environment", by_name(os.environ if environ is None else environ)))
    places += [(place, _shared_port(server, given, place)) for place, given in shared]

    return _settle(server, places, directory, warnings)


def from_arguments(server: Server, given: Mapping[str, str]) -> Settings:
    """The settings of `server` that a program has `given`, and nobody else. Raises ConfigError."""
    return _settle(server, [("the arguments", given)], Path.cwd(), [])


def _settle(
    server: Server, places: Sequence[tuple[str, Mapping[str, str]]], directory: Path, warnings: Sequence[str]
) -> Settings:
    """Each setting from the first of `places` that has it, else its default."""
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for setting in SETTINGS.values():
        values[setting.name] = _parse(setting, _default(setting, server, values), "the default", server)
        if server not in setting.servers:
            continue
        for place, given in places:
            if setting.name in given and (given[setting.name] or setting.keeps_empty):
                values[setting.name] = _parse(setting, given[setting.name].strip(), place, server)
                sources[setting.name] = place
                break
    values["data"] = str(directory / values["data"])
    settings = Settings(server=server, sources=sources, warnings=tuple(warnings), **values)
    _check_together(settings)
    return settings


def _shared_port(server: Server, given: dict[str, str], place: str) -> dict[str, str]:
    """PORT in the environment is hbbs's; a relay alone listens on the next one."""
    if server == "hbbr" and given.get("port"):
        port = _parse(SETTINGS["port"], given["port"].strip(), place, server)
        given.setdefault("relay_port", str(port + 1))
    return given


def _default(setting: Setting, server: Server, values: Mapping[str, Any]) -> str:
    if setting.name == "relay_port":
        return str(values["port"] + 1)
    if setting.name == "key" and server != "hbbr":
        return HBBS_DEFAULT_KEY
    return setting.default


def _parse(setting: Setting, text: str, place: str, server: Server) -> Any:
    try:
        if "\0" in text:
            raise ValueError("text without a NUL")
        return setting.parse(text)
    except ValueError as error:
        shown = "what was given" if setting.secret else repr(text)
        raise ConfigError(
            f"{setting.flag_name(server)}: {shown} from {place} is not allowed; it takes {error}."
        ) from None


def _check_together(settings: Settings) -> None:
    if not os.path.isdir(settings.data):  # which answers also where looking is forbidden, or the name too long
        raise ConfigError(f"data: {settings.data!r} is not a folder; make it, or name one that exists.")
    if settings.server == "both":
        ports = [settings.nat_port, settings.port, settings.websocket_port]
        for port in (settings.relay_port, settings.relay_websocket_port):
            if port in ports:
                raise ConfigError(
                    f"relay-port: {settings.relay_port} would use port {port} of the ID server; "
                    f"it takes a port whose number and number plus 2 are not among {ports}."
                )
    _check_tls(settings)
    _check_listeners(settings)
    for name, where in (("status", settings.status), ("metrics", settings.metrics)):
        if where == "https" and not (settings.https and settings.status_password):
            raise ConfigError(f"{name}: 'https' takes a port for --https and a status-password as well.")
    if isinstance(settings.status, HostPort) and not (
        settings.status_password or is_loopback(settings.status.host)
    ):
        raise ConfigError(
            f"status: {settings.status.host} is no loopback address, so it takes a status-password as well."
        )
    if settings.must_login and not settings.token_secret:
        raise ConfigError("must-login: 'yes' takes a token-secret as well: the file with the tokens' secret.")


def _check_tls(settings: Settings) -> None:
    if settings.https and not settings.has_tls:
        raise ConfigError(
            f"https: {settings.https} takes a certificate as well: --certificate and --private-key, or "
            "--certificates; rendezvous certificate makes one for trying out."
        )
    if settings.private_key and not settings.certificate:
        raise ConfigError("private-key: it takes a certificate as well, the file that belongs to the key.")
    used = {settings.https, settings.http} - {0}
    if settings.https and settings.https == settings.http:
        raise ConfigError(f"http: {settings.http} is the port of https already; it takes another one.")
    taken = _ports_of_the_servers(settings)
    for port in used & set(taken):
        raise ConfigError(
            f"https, http: port {port} is used otherwise; they take ports that are not among {taken}."
        )


def _ports_of_the_servers(settings: Settings) -> list[int]:
    ports = [settings.nat_port, settings.port, settings.websocket_port] * settings.has_hbbs
    return ports + [settings.relay_port, settings.relay_websocket_port] * settings.has_hbbr


def _check_listeners(settings: Settings) -> None:
    """The administrator's ports are no others of this server's, also where the addresses differ only in words."""
    ports = [*_ports_of_the_servers(settings), settings.https, settings.http]
    taken = [HostPort(settings.bind, port) for port in ports]
    for name, own in (("metrics", settings.metrics), ("status", settings.status)):
        if not isinstance(own, HostPort):
            continue
        if any(own.port == other.port and _overlap(own.host, other.host) for other in taken):
            raise ConfigError(f"{name}: port {own.port} is one of this server's already; it takes another one.")
        taken.append(own)


def _overlap(one: str, other: str) -> bool:
    """Whether two addresses to listen on, empty for all, have one in common."""
    if not one or not other:
        return True
    return is_ipv6(one) == is_ipv6(other) and (one == other or not {one, other}.isdisjoint(("0.0.0.0", "::")))
