"""``blocklist.txt`` and ``blacklist.txt``: addresses that are refused, and addresses that are slow."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from rendezvous.config_values import ConfigError
from rendezvous.wire.address import plain_host


class AddressList:
    """A set of addresses, each in its one spelling. Changes are not written to the file it was read from."""

    def __init__(self, hosts: Iterable[str] = ()) -> None:
        self._hosts = {plain_host(host) for host in hosts}

    @classmethod
    def read(cls, path: Path) -> "AddressList":
        """The first word of each line of `path`; empty when there is no such file. Raises ConfigError."""
        try:
            lines = path.read_text("utf-8").splitlines() if path.exists() else []
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path.name}: {str(path)!r} can't be read: {error}.") from None
        words = [(number, line.split()[0]) for number, line in enumerate(lines, 1) if line.strip()]
        hosts = []
        for number, word in words:
            if word.startswith("#"):
                continue
            try:
                hosts.append(plain_host(word))
            except ValueError:
                raise ConfigError(
                    f"{path.name}: {word!r} in line {number} of {str(path)!r} is no address; "
                    "each line begins with an IP address."
                ) from None
        return cls(hosts)

    def __contains__(self, host: str) -> bool:
        return host in self._hosts

    def __len__(self) -> int:
        return len(self._hosts)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._hosts))

    def has(self, host: str) -> bool:
        """Whether an address, in any spelling, is in the list. Raises ValueError when it is none."""
        return plain_host(host) in self._hosts

    def add(self, host: str) -> str:
        """Adds an address; returns its one spelling. Raises ValueError when it is none."""
        plain = plain_host(host)
        self._hosts.add(plain)
        return plain

    def remove(self, host: str) -> None:
        """Removes an address, or with ``all`` every one."""
        if host == "all":
            self._hosts.clear()
        else:
            self._hosts.discard(plain_host(host))
