"""The ID server's text console, with the Rust server's commands (docs/protocol.md, "Consoles")."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

from rendezvous.config_values import split_host_port
from rendezvous.hbbs.history import CHANGES_WINDOW, AddressChanges, PunchRequests
from rendezvous.hbbs.relays import DEFAULT_RELAY_PORT, RelayServers
from rendezvous.hbbs.routes import Routes
from rendezvous.peers.limits import AddressUse, RegistrationLimits
from rendezvous.text_console import Command, Console
from rendezvous.wire.address import plain_host

_PAGE = 10


class HbbsCommands:
    """What the commands do; `seconds` is the monotonic clock that the histories use."""

    def __init__(
        self,
        relays: RelayServers,
        routes: Routes,
        limits: RegistrationLimits,
        changes: AddressChanges,
        punch_requests: PunchRequests,
        seconds: Callable[[], float],
    ) -> None:
        self._relays = relays
        self._routes = routes
        self._limits = limits
        self._changes = changes
        self._punch_requests = punch_requests
        self._seconds = seconds

    def console(self) -> Console:
        """The console with these commands."""
        return Console(
            [
                Command("relay-servers", "rs", "<relay server,...>", self.relay_servers),
                Command("reload-geo", "rg", "", self.reload_geo),
                Command("ip-blocker", "ib", "[<ip>|<number>] [-]", self.ip_blocker),
                Command("ip-changes", "ic", "[<id>|<number>] [-]", self.ip_changes),
                Command("punch-requests", "pr", "[<start>] [<count>] | -", self.punch_requests),
                Command("always-use-relay", "aur", "[Y|N]", self.always_use_relay),
                Command("test-geo", "tg", "<ip1> [<ip2>]", self.test_geo),
            ]
        )

    def relay_servers(self, arguments: list[str]) -> str:
        """The healthy relays, or sets the list."""
        if not arguments:
            return "".join(f"{name}\n" for name in self._relays.healthy)
        names = [name for name in arguments[0].split(",") if name]
        for name in names:
            split_host_port(name, DEFAULT_RELAY_PORT)
        self._relays.configure(names)
        return ""

    def reload_geo(self, arguments: list[str]) -> str:
        """Reads the GeoIP database again."""
        self._relays.reload_places()
        return ""

    def test_geo(self, arguments: list[str]) -> str:
        """The relay that two addresses would be sent to."""
        hosts = [plain_host(argument) for argument in arguments[:2]]
        return f"{self._relays.pick(*hosts)}\n" if hosts else ""

    def ip_blocker(self, arguments: list[str]) -> str:
        """Which addresses registered how often, and how many ids."""
        addresses = self._limits.addresses
        if not arguments or arguments[0].isdecimal():
            start = int(arguments[0]) if arguments else 0
            entries = list(addresses.items())[start : start + _PAGE]
            lines = [f"{ip}: {self._use(use)}\n" for ip, use in entries]
            return f"{len(addresses)}\n" + "".join(lines)
        host = plain_host(arguments[0])
        if arguments[1:] == ["-"]:
            addresses.pop(host)
            return ""
        use = addresses.get(host)
        return f"{self._use(use)}\n" if use else ""

    def _use(self, use: AddressUse) -> str:
        now = self._seconds()
        burst, ids = now - use.burst.first, now - use.ids_since
        return f"{use.burst.accepted}/{burst:.0f}s {len(use.ids)}/{ids:.0f}s"

    def ip_changes(self, arguments: list[str]) -> str:
        """Which ids have lately come from several addresses."""
        now = self._seconds()
        changed = {id: e for id, e in self._changes.ids.items() if now - e.since <= CHANGES_WINDOW}
        if not arguments or (arguments[0].isdecimal() and arguments[0] not in changed):
            start = int(arguments[0]) if arguments else 0
            lines = [
                f"{id}: {now - entry.since:.0f}s {json.dumps(entry.counts)}\n"
                for id, entry in list(changed.items())[start : start + _PAGE]
            ]
            return f"{len(changed)}\n" + "".join(lines)
        id = arguments[0]
        if arguments[1:] == ["-"]:
            self._changes.ids.pop(id)
            return ""
        if id not in changed:
            return ""
        return f"{now - changed[id].since:.0f}s {json.dumps(changed[id].counts)}\n"

    def punch_requests(self, arguments: list[str]) -> str:
        """Who asked for whom, oldest first."""
        if arguments == ["-"]:
            self._punch_requests.clear()
            return ""
        start = int(arguments[0]) if arguments else 0
        count = int(arguments[1]) if len(arguments) > 1 else _PAGE
        if start < 0 or count < 0:
            return ""
        chosen = list(self._punch_requests.requests)[start : start + count]
        return "".join(
            f"{datetime.fromtimestamp(r.time, UTC):%Y-%m-%dT%H:%M:%SZ} {r.asker} -> {r.id}@{r.target}\n"
            for r in chosen
        )

    def always_use_relay(self, arguments: list[str]) -> str:
        """Whether punching is off, or turns it off or on."""
        if arguments:
            self._routes.always_use_relay = {"Y": True, "N": False}.get(
                arguments[0].upper(), self._routes.always_use_relay
            )
            return ""
        return f"ALWAYS_USE_RELAY: {str(self._routes.always_use_relay).lower()}\n"
