"""Settings that clients are told of: ConfigUpdate and SoftwareUpdate (docs/protocol.md)."""

from collections.abc import Sequence

from rendezvous.admission import Refused
from rendezvous.hbbs.request import NOTHING, Answer, Replies, Request
from rendezvous.logs import logger
from rendezvous.peers.limits import Burst, Recent
from rendezvous.peers.store import IPeerStore
from rendezvous.wire.address import is_loopback
from rendezvous.wire.rendezvous_pb2 import ConfigUpdate, SoftwareUpdate

_UPDATES_PER_ADDRESS = 3
_SETTINGS_PER_ADDRESS = 60
_UPDATES_PAUSE = 60.0
"""Seconds after which an address is sent a SoftwareUpdate, or settings by datagram, again."""


class ClientSettings:
    """The serial and the ID servers that clients with an older serial are told of."""

    log = logger("hbbs.settings")

    def __init__(
        self,
        serial: int,
        rendezvous_servers: Sequence[str],
        store: IPeerStore,
        max_tracked: int,
        *,
        from_loopback: bool,
    ) -> None:
        self._update = ConfigUpdate(serial=serial, rendezvous_servers=rendezvous_servers)
        self.serial = serial
        """The serial in force."""
        self._store = store
        self._from_loopback = from_loopback
        self._told: Recent[str, Burst] = Recent(max_tracked, Burst)

    def newer_than(self, serial: int) -> tuple[ConfigUpdate, ...]:
        """The update for a client whose serial is `serial`; none when it has this one."""
        return (self._update,) if self.serial > serial else ()

    def newer_by_datagram(self, serial: int, host: str, now: float) -> tuple[ConfigUpdate, ...]:
        """The same over UDP for a client at `host`, now and then: a forged registration is one, too."""
        if self.serial <= serial:
            return ()
        told = self._told.use(host)
        if told.at(now, _UPDATES_PAUSE) >= _SETTINGS_PER_ADDRESS:
            return ()
        told.accept(now, _UPDATES_PAUSE)
        return (self._update,)

    def restore(self, serial: int, rendezvous_servers: Sequence[str]) -> None:
        """What was stored meanwhile, if it is newer."""
        if serial > self.serial:
            self.serial = serial
            self._update = ConfigUpdate(serial=serial, rendezvous_servers=rendezvous_servers)

    def configure_update(self, request: Request[ConfigUpdate]) -> Answer:
        """An administrator's update: from loopback only, and only upwards. It outlasts a restart."""
        update = request.message
        if not self._from_loopback or not is_loopback(request.source.host):
            raise Refused("not_from_loopback")
        if update.serial <= self.serial:
            return NOTHING
        self.serial = update.serial
        self._update = ConfigUpdate(serial=update.serial, rendezvous_servers=update.rendezvous_servers)
        self.log.info(
            "clients are told of serial {serial}, ID servers {servers}",
            serial=update.serial,
            servers=", ".join(update.rendezvous_servers) or "(none)",
        )
        saved = self._store.save_client_settings(update.serial, list(update.rendezvous_servers))
        saved.addErrback(lambda reason: self.log.error("not stored: {reason}", reason=reason.getErrorMessage()))
        return saved.addCallback(lambda _: NOTHING)


class SoftwareUpdates:
    """Tells clients of long ago where a newer version is."""

    def __init__(self, url: str, max_tracked: int) -> None:
        self._url = url
        self._version = version_in(url)
        self._asked: Recent[str, Burst] = Recent(max_tracked, Burst)

    def software_update(self, request: Request[SoftwareUpdate]) -> Answer:
        """Answers a client whose version, in its `url`, is not the one offered."""
        if not self._version or request.message.url == self._version:
            return NOTHING
        asked = self._asked.use(request.source.host)
        if asked.at(request.arrival, _UPDATES_PAUSE) >= _UPDATES_PER_ADDRESS:
            raise Refused("too_frequent")
        asked.accept(request.arrival, _UPDATES_PAUSE)
        replies: Replies = (SoftwareUpdate(url=self._url),)
        return replies


def version_in(url: str) -> str:
    """What follows the last ``-`` of `url`, without a non-numeric extension; empty without ``-`` or ``.``."""
    _, dash, version = url.rpartition("-")
    if not dash or "." not in version:
        return ""
    stem, _, extension = version.rpartition(".")
    return version if extension.isdecimal() else stem
