"""Lists of addresses, networks and ids: one at the beginning of each line of a file, or edited at run time."""

from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from rendezvous.config_values import ConfigError
from rendezvous.logs import logger
from rendezvous.wire.address import plain_host, plain_network


class AddressList:
    """Addresses, each in its one spelling, and networks; where `ids` are allowed, any other word is one.

    Changes at run time are not written to the file that the list was read from.
    """

    def __init__(self, words: Iterable[str] = (), *, ids: bool = False) -> None:
        self._ids_allowed = ids
        self._words: set[str] = set()
        self._networks: dict[str, IPv4Network | IPv6Network] = {}
        self.any = False
        """Whether anything is listed; cheaper than asking for one word."""
        for word in words:
            self.add(word)

    def __contains__(self, word: object) -> bool:
        if word in self._words:
            return True
        if not self._networks or not isinstance(word, str):
            return False
        try:
            address = ip_address(word)
        except ValueError:
            return False
        return any(address in network for network in self._networks.values())

    def __len__(self) -> int:
        return len(self._words) + len(self._networks)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted((*self._words, *self._networks)))

    def has(self, text: str) -> bool:
        """Whether an address in any spelling is listed, or inside a listed network. Raises ValueError."""
        return self._spelling(text) in self

    def add(self, text: str) -> str:
        """Adds an address, a network or an id; returns its one spelling. Raises ValueError when it is none."""
        spelling = self._spelling(text)
        if "/" in spelling:
            self._networks[spelling] = plain_network(spelling)
        else:
            self._words.add(spelling)
        self.any = True
        return spelling

    def remove(self, text: str) -> None:
        """Removes what was added, or with ``all`` everything. Raises ValueError."""
        if text == "all":
            self._words.clear()
            self._networks.clear()
        else:
            spelling = self._spelling(text)
            self._words.discard(spelling)
            self._networks.pop(spelling, None)
        self.any = bool(self)

    def replace(self, other: "AddressList") -> None:
        """Takes over what `other` lists."""
        self._words, self._networks, self.any = other._words, other._networks, other.any

    def _spelling(self, text: str) -> str:
        try:
            return str(plain_network(text)) if "/" in text else plain_host(text)
        except ValueError:
            if self._ids_allowed and "/" not in text:
                return text
            raise


def read_list(path: Path, *, ids: bool = False) -> AddressList:
    """What `path` lists; nothing when there is no such file. ``#`` begins a comment. Raises ConfigError."""
    listed = AddressList(ids=ids)
    try:
        lines = path.read_text("utf-8-sig").splitlines() if path.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path.name}: {str(path)!r} can't be read: {error}.") from None
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            listed.add(words[0])
        except ValueError:
            raise ConfigError(
                f"{path.name}: {words[0]!r} in line {number} of {str(path)!r} is not allowed; "
                "each line begins with an address or a network."
            ) from None
    return listed


class ListFile(Service):
    """A list that follows its file: read again when that has changed, kept as it is while it is broken."""

    log = logger("lists")
    interval = 1.0
    """Seconds between two looks at the file."""

    def __init__(
        self, path: Path, clock: IReactorTime, changed: Callable[[], None] = lambda: None, *, ids: bool = False
    ) -> None:
        self._path = path
        self._ids = ids
        self._changed = changed
        self._seen = self._stamp()
        self._wrong = ""
        self.entries = read_list(path, ids=ids)
        self._watch = LoopingCall(self.look)
        self._watch.clock = clock

    def startService(self) -> None:
        """Begins to look."""
        super().startService()
        self._watch.start(self.interval, now=False)

    def stopService(self) -> None:
        """Ends looking."""
        super().stopService()
        self._watch.stop()

    def look(self) -> None:
        """Reads the file again when it has changed."""
        stamp = self._stamp()
        if stamp == self._seen:
            return
        try:
            self.entries.replace(read_list(self._path, ids=self._ids))
        except ConfigError as error:  # looked at again, since a file that can't be read now may be soon
            if str(error) != self._wrong:
                self._wrong = str(error)
                self.log.warn("the list stays as it was: {reason}", reason=self._wrong)
            return
        self._seen, self._wrong = stamp, ""
        self.log.info("{path} was read again: {n} entries", path=str(self._path), n=len(self.entries))
        self._changed()

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino
