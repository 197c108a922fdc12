"""What a setting is: what is to be known about it besides its value."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

Server = Literal["both", "hbbs", "hbbr"]

T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """What is to be known about a setting besides its value."""

    name: str
    default: str
    parse: Callable[[str], Any]
    help: str
    servers: frozenset[str]
    short: str | None
    flag: bool
    keeps_empty: bool
    repeatable: bool
    secret: bool
    """Whether the value is not told."""

    def flag_name(self, server: Server) -> str:
        """The long option of this setting in the sub-command of `server`."""
        name = "port" if server == "hbbr" and self.name == "relay_port" else self.name
        return name.replace("_", "-")

    def short_name(self, server: Server) -> str | None:
        """The short option; the relay's port has it only where the ID server's does not."""
        return None if server == "both" and self.name == "relay_port" else self.short


def declared(
    default: str,
    parse: Callable[[str], T],
    help: str,
    *,
    servers: str = "hbbs hbbr",
    short: str | None = None,
    flag: bool = True,
    keeps_empty: bool = False,
    repeatable: bool = False,
    secret: bool = False,
) -> T:
    """A field of a dataclass of settings, and what is to be known of it; `default` is text, as anybody gives it."""
    both = frozenset(servers.split()) | {"both"}
    metadata = {"setting": (default, parse, help, both, short, flag, keeps_empty, repeatable, secret)}
    value: T = field(metadata=metadata)
    return value
