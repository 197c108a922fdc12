"""What an administrator sees and does, in plain values: no text for people, no HTTP.

Whoever shows or asks for them (the control socket, a web page) adds nothing but its form.
"""

import os
import resource
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

from twisted.internet.defer import Deferred, DeferredLock
from twisted.python.failure import Failure

from rendezvous import __version__
from rendezvous.address_lists import Edit, ListFile, add_entry, remove_entry
from rendezvous.admin.audit import Audit, By
from rendezvous.admin.peers import PeerOperations
from rendezvous.admin.relay import RelayOperations
from rendezvous.admin.threads import in_thread
from rendezvous.admin.values import (
    ClientStrings,
    DropCount,
    EntryList,
    IdServerStatus,
    LogLevels,
    NotPossible,
    NotThere,
    RecentPunch,
    RelayHealth,
    SettingValue,
    Status,
    client_strings,
    listening,
)
from rendezvous.client_config import client_config
from rendezvous.config_values import HostPort, Place, host_name, log_levels
from rendezvous.hbbr.service import HbbrService
from rendezvous.hbbs.service import HbbsService
from rendezvous.identity import Identity
from rendezvous.logs import gate
from rendezvous.metrics import Drops
from rendezvous.own_address import own_address
from rendezvous.setting import Setting
from rendezvous.settings import Settings, settings_of
from rendezvous.wire.address import Address

WAYS = ("udp", "tcp", "websocket")
"""How peers can be online."""
MOST_PUNCHES = 1000
"""Requests that are told at a time."""
MOST_COUNTED = 50_000
"""Peers in memory that are counted when somebody asks; of more, those over UDP were counted some seconds ago."""


class Operations:
    """All of them, on the servers of this process; `reactor` provides what Twisted's own reactors do.

    They raise, or their Deferreds fail with, NotPossible. Changes are noted in the `audit`, with who asks.
    """

    def __init__(
        self,
        settings: Settings,
        identity: Identity,
        hbbs: HbbsService | None,
        hbbr: HbbrService | None,
        drops: Drops,
        reactor: Any,
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._hbbs = hbbs
        self._drops = drops
        self._reactor = reactor
        self._started = reactor.seconds()
        self._editing = DeferredLock()
        self.audit = Audit(Path(settings.data), reactor)
        self._lists: dict[str, ListFile] = {}
        if hbbs is not None:
            self._lists["denylist"] = hbbs.denylist
        if hbbr is not None:
            self._lists |= {"blocklist": hbbr.blocklist, "blacklist": hbbr.blacklist}
        self._peers = (
            PeerOperations(settings.database, hbbs.directory, self.audit, reactor) if hbbs is not None else None
        )
        self._relay = RelayOperations(hbbr, self.audit, reactor) if hbbr is not None else None

    @property
    def peers(self) -> PeerOperations:
        """What there is to see and do about peers. Raises NotPossible where there is no ID server."""
        if self._peers is None:
            raise NotPossible("This process is no ID server.")
        return self._peers

    @property
    def relay(self) -> RelayOperations:
        """What there is to see and do at the relay. Raises NotPossible where there is none."""
        if self._relay is None:
            raise NotPossible("This process is no relay.")
        return self._relay

    # What is -----------------------------------------------------------------------------------------

    def status(self) -> "Deferred[Status]":
        """The process at this moment."""
        peers: list[Any] = []
        ways: Counter[str] = Counter()
        directory = self._hbbs.directory if self._hbbs is not None else None
        if directory is not None and len(directory) > MOST_COUNTED:
            ways = directory.online_by_connection + Counter(udp=directory.online_by_datagrams)
        elif directory is not None:
            peers = list(directory)
        return in_thread(self._reactor, self._count, peers, ways).addCallback(self._status)

    def _count(self, peers: list[Any], ways: Counter[str]) -> tuple[Counter[str], int]:
        """In a thread: many peers take a while."""
        if self._hbbs is not None:
            ways = ways + self._hbbs.directory.ways(peers)
        return ways, len(os.listdir("/proc/self/fd"))

    def _status(self, counted: tuple[Counter[str], int]) -> Status:
        ways, descriptors = counted
        return Status(
            version=__version__,
            server=self._settings.server,
            pid=os.getpid(),
            uptime=self._reactor.seconds() - self._started,
            data=self._settings.data,
            fingerprint=self._identity.fingerprint if self._identity.public_key else "",
            id_server=self._id_server(ways),
            relay=self._relay.status() if self._relay is not None else None,
            listening=tuple(listening(self._settings)),
            descriptors=descriptors,
            max_descriptors=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            drops=tuple(DropCount(*at, count) for at, count in sorted(self._drops.counts.items())),
            warnings=self._settings.warnings,
        )

    def _id_server(self, ways: Counter[str]) -> IdServerStatus | None:
        hbbs = self._hbbs
        if hbbs is None:
            return None
        relays = hbbs.relays
        return IdServerStatus(
            peers=hbbs.directory.stored,
            online={way: ways[way] for way in WAYS},
            connections=hbbs.admission.connections,
            pending=len(hbbs.exchanges),
            relays=tuple(
                RelayHealth(name, relays.answers(name), relays.place_of(name)) for name in relays.configured
            ),
        )

    def punches(self, limit: int = 100) -> tuple[RecentPunch, ...]:
        """The punch and relay requests that ended last, newest first. Raises NotPossible."""
        if limit > MOST_PUNCHES:
            raise NotPossible(f"limit: {limit} is not allowed; it takes at most {MOST_PUNCHES}.")
        if self._hbbs is None:
            raise NotPossible("This process is no ID server.")
        newest = islice(reversed(self._hbbs.exchanges.recent), limit)
        return tuple(RecentPunch(p.time, str(p.asker), p.id, p.outcome, p.seconds, p.kind) for p in newest)

    def settings(self) -> tuple[SettingValue, ...]:
        """Every setting of this server, as it is in force."""
        return tuple(map(self._told, settings_of(self._settings.server)))

    def _told(self, setting: Setting) -> SettingValue:
        value = getattr(self._settings, setting.name)
        hidden = bool(value) and (setting.secret or (setting.name == "key" and value not in ("-", "_")))
        return SettingValue(
            name=setting.flag_name(self._settings.server),
            value="" if hidden else in_words(value),
            source=self._settings.sources.get(setting.name, "default"),
            hidden=hidden,
            help=setting.help,
        )

    @property
    def host(self) -> str:
        """The name or address by which clients are told to reach the server."""
        return self._settings.host or own_address()

    def client(self, host: str = "") -> ClientStrings:
        """What clients have to know that reach the server as `host`, the configured one when empty."""
        if not self._settings.has_hbbs:
            raise NotPossible("This process is no ID server; clients are given the settings of one.")
        try:
            named = host_name(host.strip())
        except ValueError as error:
            raise NotPossible(f"host: {host!r} is not allowed; it takes {error}.") from None
        return client_strings(client_config(self._settings, self._identity, named or self.host))

    # The log -----------------------------------------------------------------------------------------

    def log_levels(self) -> LogLevels:
        """What is logged now."""
        return LogLevels(self._settings.server, gate.levels)

    def set_log_levels(self, text: str, by: By) -> LogLevels:
        """Changes what is logged, until the process ends."""
        try:
            levels = log_levels(text)
        except ValueError as error:
            raise NotPossible(f"log-level: {text!r} is not allowed; it takes {error}.") from None
        before = gate.levels
        gate.set_levels(levels)
        self.audit.note(by, "set the log level to {new} from {old}", new=gate.levels, old=before)
        return self.log_levels()

    # Address lists -----------------------------------------------------------------------------------

    def lists(self) -> tuple[EntryList, ...]:
        """The address lists of the servers in this process."""
        return tuple(EntryList(name, str(file.path), tuple(file.entries)) for name, file in self._lists.items())

    def add_to_list(self, name: str, word: str, by: By) -> "Deferred[EntryList]":
        """Adds an address, a network, or an id where ids are allowed, to a list and its file."""
        return self._edit(name, word, add_entry, by)

    def remove_from_list(self, name: str, word: str, by: By) -> "Deferred[EntryList]":
        """Removes an entry from a list and its file."""
        return self._edit(name, word, remove_entry, by)

    def _edit(self, name: str, word: str, change: Any, by: By) -> "Deferred[EntryList]":
        file = self._lists.get(name)
        if file is None:
            raise NotThere(f"There is no list {name!r} here; there are {', '.join(self._lists)}.")
        edited = self._editing.run(in_thread, self._reactor, lambda: change(file.path, word, ids=file.ids))
        return edited.addCallbacks(
            self._edited, _not_edited, callbackArgs=(name, file, change, by), errbackArgs=(file, word)
        )

    def _edited(self, edit: Edit, name: str, file: ListFile, change: Any, by: By) -> EntryList:
        spelling = edit.spelling
        if change is remove_entry and not edit.changed and not file.entries.lists(spelling):
            network = file.entries.covering(spelling)
            covered = f" itself, but in its network {network}, which can be removed" if network else ""
            raise NotThere(f"{spelling} is not in {name}{covered}.")
        what = "added {entry} to {list}" if change is add_entry else "removed {entry} from {list}"
        self.audit.note(by, what, entry=spelling, list=name)
        file.look()
        if change is remove_entry:
            file.entries.remove(spelling)  # which the console may have added
        if file.wrong:
            raise NotPossible(f"The file was changed, but the list stays as it was: {file.wrong}")
        return EntryList(name, str(file.path), tuple(file.entries))


def _not_edited(reason: Failure, file: ListFile, word: str) -> NoReturn:
    reason.trap(ValueError, OSError)
    if isinstance(reason.value, OSError | UnicodeDecodeError):
        why = reason.value.strerror if isinstance(reason.value, OSError) else "it is no UTF-8"
        raise NotPossible(f"{str(file.path)!r} can't be changed: {why}.")
    allowed = "an address, a network or an id" if file.ids else "an address or a network"
    raise NotPossible(f"{word!r} is not allowed in {file.path.name}; it takes {allowed}.")


def in_words(value: Any) -> str:
    """A setting's value as it is written on a command line."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, HostPort):
        return str(Address(*value))
    if isinstance(value, tuple):
        return ",".join(_item(item) for item in value)
    return str(value)


def _item(item: Any) -> str:
    if not isinstance(item, tuple):
        return str(item)
    left, right = item
    if not left:  # what counts for all that is not named
        return str(right)
    return f"{left}={right.latitude!r}/{right.longitude!r}" if isinstance(right, Place) else f"{left}={right}"
