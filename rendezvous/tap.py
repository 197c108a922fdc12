"""``twistd rendezvous``: the options, and the one place where everything is wired."""

import os
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from twisted.application.service import IService
from twisted.python import usage

from rendezvous import __version__, process
from rendezvous.admin.control import ControlService
from rendezvous.admin.operations import Operations
from rendezvous.admin.pages.logins import Logins
from rendezvous.admin.pages.private import Private
from rendezvous.composed import Composed
from rendezvous.config import load
from rendezvous.config_values import ConfigError
from rendezvous.descriptors import fit_to_descriptors, raise_descriptor_limit
from rendezvous.handover import Predecessor
from rendezvous.hbbr.service import HbbrService
from rendezvous.hbbr.usage import IUsageRecorder
from rendezvous.hbbs.service import HbbsService
from rendezvous.identity import PUBLIC_FILE, SECRET_FILE, load_identity
from rendezvous.inherited import inherited
from rendezvous.log_output import Logged, open_output, twistd_options
from rendezvous.logs import gate
from rendezvous.metrics import DropReport, Drops, LoopLag
from rendezvous.notify import Notifier
from rendezvous.own_address import own_address_in
from rendezvous.ownership import made_for
from rendezvous.patience import Patience
from rendezvous.peers.store import SQLitePeerStore, Stored, StoreError, prepare
from rendezvous.running import Running
from rendezvous.setting import Server
from rendezvous.settings import SETTINGS, Settings, settings_of
from rendezvous.start_report import StartReport
from rendezvous.tls import Certificates, Pair
from rendezvous.web.service import WebService
from rendezvous.web.site import Besides
from rendezvous.websocket import WebSocketFactory


def _parameters(server: Server) -> list[list[str | None]]:
    parameters: list[list[str | None]] = [["config", "c", None, "INI file with settings"]]
    for setting in settings_of(server):
        if setting.flag and not setting.repeatable:
            parameters.append([setting.flag_name(server), setting.short_name(server), None, setting.help])
    return parameters


class _ServerOptions(usage.Options):
    """The options of one server; `settings` holds what they mean, once parsed."""

    server: ClassVar[Server]
    settings: Settings

    def opt_version(self) -> None:
        """Display the version and exit."""
        print(f"rendezvous {__version__}")
        raise SystemExit(0)

    def parseOptions(self, options: Any = None) -> None:
        """Parses. What is wrong ends the process with one sentence, and exit code 1."""
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            raise _ended(f"{error}; --help lists what there is.") from None

    def postOptions(self) -> None:
        """Validates."""
        flags = {"config": self["config"]} | {
            setting.name: self.get(setting.flag_name(self.server))
            for setting in settings_of(self.server)
            if setting.flag
        }
        given = {name: value for name, value in flags.items() if value is not None}
        subOptions = getattr(self, "subOptions", None)
        if isinstance(subOptions, _ServerOptions):
            if given:
                raise SystemExit(f"Options go behind {subOptions.server}: rendezvous {subOptions.server} OPTIONS.")
            self.settings = subOptions.settings
            return
        try:
            self.settings = load(self.server, given)
        except ConfigError as error:
            raise _ended(str(error)) from None


class _Repeatable(_ServerOptions):
    """Options that may be given several times; elsewhere their values are separated by commas."""

    def opt_relay_for(self, value: str) -> None:
        self._add("relay-for", value)

    def opt_relay_places(self, value: str) -> None:
        self._add("relay-places", value)

    opt_relay_for.__doc__ = SETTINGS["relay_for"].help
    opt_relay_places.__doc__ = SETTINGS["relay_places"].help

    def _add(self, name: str, value: str) -> None:
        self[name] = f"{self[name]},{value}" if name in self else value


class HbbsOptions(_Repeatable):
    """``rendezvous hbbs``: the ID server alone."""

    server = "hbbs"
    synopsis = "[options]"
    optParameters = _parameters("hbbs")


class HbbrOptions(_ServerOptions):
    """``rendezvous hbbr``: the relay alone."""

    server = "hbbr"
    synopsis = "[options]"
    optParameters = _parameters("hbbr")


class Options(_Repeatable):
    """``rendezvous``: both servers in one process, with one key and one data folder."""

    server = "both"
    synopsis = "[options] | hbbs [options] | hbbr [options]"
    optParameters = _parameters("both")
    subCommands = [
        ["hbbs", None, HbbsOptions, "the ID/rendezvous server alone"],
        ["hbbr", None, HbbrOptions, "the relay server alone"],
    ]


def makeService(options: _ServerOptions) -> IService:
    """The service that `options` describe, its ports bound. Ends the process with one sentence on errors."""
    settings, twistd = options.settings, twistd_options(options)
    if twistd is None and "log_format" in settings.sources:
        warning = "log-format has no effect: it is for twistd rendezvous, and something else writes this log."
        settings = replace(settings, warnings=(*settings.warnings, warning))
    try:
        from twisted.internet import reactor  # twistd's --reactor decides which one this is

        process.prepare(reactor)
        inherited.receive(os.environ, reactor)
        user, group = (twistd["uid"], twistd["gid"]) if twistd is not None else (None, None)
        with made_for(user, group, _made_at_first(settings)):
            service = compose(settings, reactor, raise_descriptor_limit())
        predecessor = Predecessor.of(os.environ)
        running = Running(service, Notifier(os.environ), reactor, settings.restart_timeout, predecessor)
        return Logged(running, lambda: open_output(twistd, settings.log_format) if twistd else None, reactor)
    except (ConfigError, StoreError) as error:
        raise _ended(str(error)) from None
    except MemoryError:
        raise _ended("There is not enough memory to start; give it more.") from None


def _made_at_first(settings: Settings) -> list[Path]:
    """The files that a first start makes."""
    names = [SECRET_FILE, PUBLIC_FILE, settings.db_url, *([settings.usage_db] if settings.usage_db else [])]
    return [Path(settings.data, name) for name in names]


def _ended(why: str) -> SystemExit:
    """The end of the process with one sentence, which one that waits for it to take over is told as well."""
    predecessor = Predecessor.of(os.environ)
    if predecessor is not None:
        predecessor.refuse(why)
    return SystemExit(why)


def compose(
    settings: Settings, reactor: Any, descriptors: int, recorders: Sequence[IUsageRecorder] = ()
) -> Composed:
    """The service that `settings` describe, in a process that may have so many `descriptors`.

    `recorders` are told of the relay's sessions. Its ports are bound. Raises ConfigError or StoreError.
    """
    if "log_level" in settings.sources:
        gate.set_levels(settings.log_level)
    if "log_privacy" in settings.sources:
        gate.private = settings.log_privacy
    settings = fit_to_descriptors(settings, descriptors)
    if settings.mask is not None and not settings.local_ip:
        settings = replace(settings, local_ip=own_address_in(settings.mask))
    identity = load_identity(settings.key, Path(settings.data), signs=settings.has_hbbs)
    drops = Drops()
    services = Composed(settings.database, Patience(reactor))
    certificates = _certificates(settings, reactor)
    if certificates is not None:
        services.addService(certificates)
    servers: dict[str, HbbsService | HbbrService | WebService] = {}
    websockets: dict[bytes, WebSocketFactory] = {}
    stored: Stored | None = None
    hbbs: HbbsService | None = None
    hbbr: HbbrService | None = None
    if settings.has_hbbs:
        stored = prepare(settings.database)
        store = SQLitePeerStore(settings.database, reactor)
        hbbs = HbbsService(settings, identity, store, stored, drops, reactor, certificates)
        services.addService(hbbs)
        services.hbbs = hbbs
        servers["hbbs"] = hbbs
        websockets[b"/ws/id"] = hbbs.websocket
    if settings.has_hbbr:
        hbbr = HbbrService(settings, identity.licence_key, drops, reactor, certificates, recorders)
        services.addService(hbbr)
        services.hbbr = hbbr
        servers["hbbr"] = hbbr
        websockets[b"/ws/relay"] = hbbr.websocket
    operations = Operations(settings, identity, hbbs, hbbr, drops, reactor)
    besides = _besides(settings, services, servers, operations, drops, reactor)
    if settings.has_web:
        denied: Container[str] = hbbs.denylist.entries if hbbs is not None else ()
        services.web = WebService(settings, websockets, certificates, besides, denied, drops, reactor)
        services.addService(services.web)
        servers["web"] = services.web
    if settings.control:
        services.control = ControlService(settings, operations, drops, reactor)
        services.addService(services.control)
    services.addService(DropReport(drops, reactor))
    settings = replace(settings, warnings=(*settings.warnings, *inherited.close_rest()))
    services.addService(StartReport(settings, identity, stored))
    return services


def _besides(
    settings: Settings,
    services: Composed,
    servers: Mapping[str, HbbsService | HbbrService | WebService],
    operations: Operations,
    drops: Drops,
    reactor: Any,
) -> Besides:
    """Adds the figures for Prometheus and the status page, and returns what of them the port with TLS serves."""
    besides = Besides()
    logins = Logins(settings.status_password, reactor)
    if settings.metrics is not None:
        from rendezvous.exposition.figures import Figures  # takes a library that only this needs
        from rendezvous.exposition.service import Metrics, MetricsService

        lag = LoopLag(reactor)
        services.addService(lag)
        relay = services.hbbr.relay if services.hbbr is not None else None
        metrics = Metrics(Figures(services.hbbs, relay, servers, drops, lag))
        if settings.metrics == "https":
            besides = besides._replace(metrics=Private(metrics, logins, drops))
        else:
            services.addService(MetricsService(settings.metrics, metrics, drops, reactor))
    if settings.status is not None:
        from rendezvous.admin.pages.service import PagesService  # takes libraries that only this needs

        port = settings.https if settings.status == "https" else settings.status.port
        pages = PagesService(settings, port, operations, logins, reactor)
        services.addService(pages)
        if settings.status == "https":
            besides = besides._replace(pages=pages.resource, ended=pages.ended)
        else:
            pages.listen(settings.status, drops, reactor)
    return besides


def _certificates(settings: Settings, reactor: Any) -> Certificates | None:
    if not settings.has_tls:
        return None
    data, pair = Path(settings.data), None
    if settings.certificate:
        certificate = data / settings.certificate
        pair = Pair(certificate, data / settings.private_key if settings.private_key else certificate)
    return Certificates(pair, data / settings.certificates if settings.certificates else None, reactor)
