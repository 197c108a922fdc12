"""The servers as services for an application of somebody's own (docs/embedding.md)."""

import difflib
from collections.abc import Sequence
from typing import Any

from twisted.application.service import IService

from rendezvous.config import from_arguments
from rendezvous.config_values import ConfigError
from rendezvous.descriptors import descriptor_limit
from rendezvous.hbbr.usage import IUsageRecorder
from rendezvous.peers.store import StoreError
from rendezvous.setting import Server
from rendezvous.settings import settings_of
from rendezvous.tap import compose


def make(server: Server, given: dict[str, Any], reactor: Any, recorders: Sequence[IUsageRecorder] = ()) -> IService:
    """The service of `server`, its ports bound; nothing of the process is changed.

    `given` are settings by name, as text or as Python values; those that are None count as not given. Raises
    TypeError for names that are no settings of this server, and ConfigError for everything else.
    """
    names = [setting.name for setting in settings_of(server)]
    for name in given:
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            meant = f"; is {close[0]!r} meant?" if close else ""
            raise TypeError(f"There is no setting {name!r} of {server}{meant}")
    if reactor is None:
        from twisted.internet import reactor
    texts = {name: _text(value) for name, value in given.items() if value is not None}
    try:
        return compose(from_arguments(server, texts), reactor, descriptor_limit(), recorders)
    except StoreError as error:
        raise ConfigError(str(error)) from None


def _text(value: Any) -> str:
    """`value` as one would write it on the command line."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple | set | frozenset):
        return ",".join(map(_text, value))
    return str(value)
