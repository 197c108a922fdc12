"""RustDesk's ID/rendezvous server (hbbs) and relay server (hbbr) as a Twisted application plugin.

One way through, the same for every message:

    bytes -> wire -> dispatch -> one function named after what it does -> peers -> replies -> transport

Begin with tap.py (how everything is wired), then hbbs/dispatch.py (what is spoken), then
hbbs/registration.py (one conversation whole); on the relay side hbbr/pairing.py.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.application.service import IService

    from rendezvous.hbbr.usage import IUsageRecorder

__version__ = "0.1.0"


def makeHbbs(*, reactor: Any = None, **settings: Any) -> "IService":
    """The ID server as a service for an application of one's own (docs/embedding.md).

    `settings` are those of docs/configuration.md by name. Its ports are bound at once: raises TypeError for
    names that are no settings, ConfigError for values that are not allowed, ports in use and the like.
    """
    from rendezvous.embedding import make  # not before it is needed: this package is imported for less

    return make("hbbs", settings, reactor)


def makeHbbr(*, reactor: Any = None, recorders: "Sequence[IUsageRecorder]" = (), **settings: Any) -> "IService":
    """The same for the relay. `recorders` are told of every session that has ended."""
    from rendezvous.embedding import make

    return make("hbbr", settings, reactor, recorders)
