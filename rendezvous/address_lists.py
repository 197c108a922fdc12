"""Lists of addresses, networks and ids: one at the beginning of each line of a file, or edited at run time."""

import encodings.utf_8_sig  # noqa: F401 - a list may come when --uid keeps Python's files from being read
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Any, NamedTuple

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

    def lists(self, spelling: str) -> bool:
        """Whether the entry of this spelling was added as such."""
        return spelling in self._words or spelling in self._networks

    def covering(self, spelling: str) -> str:
        """The smallest listed network around an address or a network; empty when there is none."""
        try:
            inner: Any = plain_network(spelling)
        except ValueError:
            return ""
        around = [net for net in self._networks.values() if net.version == inner.version and inner.subnet_of(net)]
        return str(max(around, key=lambda network: network.prefixlen, default=""))

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


class Edit(NamedTuple):
    """An entry that was added or removed, in its one spelling, and whether that changed the file."""

    spelling: str
    changed: bool


def add_entry(path: Path, word: str, *, ids: bool = False) -> Edit:
    """Adds an address, a network or an id to the file of a list, once.

    Blocks. Raises ValueError when it is none, and OSError.
    """
    spelling = _entry(word, ids)
    lines = _lines_of(path)
    changed = not any(_is_entry(line, spelling, ids) for line in lines)
    if changed:
        _rewrite(path, [*lines, spelling])
    return Edit(spelling, changed)


def remove_entry(path: Path, word: str, *, ids: bool = False) -> Edit:
    """Removes the lines that begin with it from the file of a list. Blocks, and raises the same."""
    spelling = _entry(word, ids)
    lines = _lines_of(path)
    kept = [line for line in lines if not _is_entry(line, spelling, ids)]
    if len(kept) < len(lines):
        _rewrite(path, kept)
    return Edit(spelling, len(kept) < len(lines))


def _entry(word: str, ids: bool) -> str:
    if "#" in word or not word.isprintable() or word.split() != [word]:
        raise ValueError(f"{word!r} is no single word")
    return AddressList(ids=ids).add(word)


def _is_entry(line: str, spelling: str, ids: bool) -> bool:
    words = line.partition("#")[0].split()
    try:
        return bool(words) and _entry(words[0], ids) == spelling
    except ValueError:
        return False


def _lines_of(path: Path) -> list[str]:
    return path.read_text("utf-8-sig").splitlines() if path.exists() else []


def _rewrite(path: Path, lines: list[str]) -> None:
    """The whole file anew, or the old one, whenever the process ends."""
    path = path.resolve()
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), path.stat().st_mode & 0o777 if path.exists() else 0o644)
            file.write("".join(f"{line}\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


class ListFile(Service):
    """A list that follows its file: read again when that has changed, kept as it is while it is broken."""

    log = logger("lists")
    interval = 0.5
    """Seconds between two looks at the file: what it asks for is done within a second."""

    def __init__(
        self, path: Path, clock: IReactorTime, changed: Callable[[], None] = lambda: None, *, ids: bool = False
    ) -> None:
        self.path = path
        self.ids = ids
        self._changed = changed
        self._seen = self._stamp()
        self.wrong = ""
        """Why the file is not in force as it is; empty when it is."""
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
            self.entries.replace(read_list(self.path, ids=self.ids))
        except ConfigError as error:  # looked at again, since a file that can't be read now may be soon
            if str(error) != self.wrong:
                self.wrong = str(error)
                self.log.warn("the list stays as it was: {reason}", reason=self.wrong)
            return
        self._seen, self.wrong = stamp, ""
        self.log.info("{path} was read again: {n} entries", path=str(self.path), n=len(self.entries))
        self._changed()

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            stat = self.path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino
