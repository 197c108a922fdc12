"""The relay's text console, with the Rust server's commands (docs/protocol.md, "Consoles")."""

from collections.abc import Callable
from functools import partial

from rendezvous.address_lists import AddressList
from rendezvous.hbbr.bandwidth import BandwidthLimits
from rendezvous.hbbr.relay import Relay
from rendezvous.text_console import Command, Console


def console(relay: Relay) -> Console:
    """The console of `relay`."""
    limits = relay.limits
    block = _ListCommands(relay.blocklist, relay.cut_blocked)
    black = _ListCommands(relay.blacklist, relay.look_up_listed)
    return Console(
        [
            Command("blacklist-add", "ba", "<ip>|<ip>", black.add),
            Command("blacklist-remove", "br", "<ip>|all", black.remove),
            Command("blacklist", "b", "[<ip>]", black.show),
            Command("blocklist-add", "Ba", "<ip>|<ip>", block.add),
            Command("blocklist-remove", "Br", "<ip>|all", block.remove),
            Command("blocklist", "B", "[<ip>]", block.show),
            Command("downgrade-threshold", "dt", "[value]", _number(limits, "downgrade_threshold")),
            Command("downgrade-start-check", "t", "[seconds]", _number(limits, "downgrade_start_check", "s")),
            Command("limit-speed", "ls", "[Mb/s]", _number(limits, "limited", "Mb/s")),
            Command("total-bandwidth", "tb", "[Mb/s]", _number(limits, "total", "Mb/s", relay.set_total)),
            Command("single-bandwidth", "sb", "[Mb/s]", _number(limits, "single", "Mb/s")),
            Command("usage", "u", "", lambda arguments: _usage(relay)),
        ]
    )


def _number(
    limits: BandwidthLimits, name: str, unit: str = "", set: Callable[[float], None] | None = None
) -> Callable[[list[str]], str]:
    """Shows the limit that has this name, or sets it: by `set`, where more has to be done."""
    change = set or partial(setattr, limits, name)

    def run(arguments: list[str]) -> str:
        if not arguments:
            return f"{getattr(limits, name):.12g}{unit}\n"
        value = float(arguments[0])
        if 0 < value < 1e9:
            change(value)
        return ""

    return run


class _ListCommands:
    def __init__(self, addresses: AddressList, changed: Callable[[], None]) -> None:
        self._addresses = addresses
        self._changed = changed

    def add(self, arguments: list[str]) -> str:
        return self._each(arguments, self._addresses.add)

    def remove(self, arguments: list[str]) -> str:
        return self._each(arguments, self._addresses.remove)

    def _each(self, arguments: list[str], change: Callable[[str], object]) -> str:
        try:
            for host in arguments[0].split("|"):
                change(host)
        finally:  # those before one that is no address count
            self._changed()
        return ""

    def show(self, arguments: list[str]) -> str:
        if arguments:
            return f"{str(self._addresses.has(arguments[0])).lower()}\n"
        return "".join(f"{host}\n" for host in self._addresses)


def _usage(relay: Relay) -> str:
    now = relay.clock.seconds()
    lines = []
    for session in sorted(relay.sessions, key=lambda s: s.usage.transferred, reverse=True):
        usage = session.usage
        age = now - usage.started
        kilobits = [rate * 8 / 1024 for rate in (usage.peak, usage.transferred / max(age, 1.0), usage.now)]
        lines.append(
            f"{session.sides[0].source}: {age:.0f}s {usage.transferred / 1024 / 1024:.2f}MB"
            + "".join(f" {rate:.0f}kb/s" for rate in kilobits)
            + "\n"
        )
    return "".join(lines)
